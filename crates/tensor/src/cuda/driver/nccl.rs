//! Sums over the GPUs of several processes, by NCCL, which is looked for at run time.
//!
//! Its functions are loaded here and not by `cudarc`, which looks for the library under none of the names that it is
//! installed by without its headers, and panics where it or a function is missing.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock};

use cudarc::driver::CudaContext;
use libloading::Library;

use super::nvidia_stream::Stream;
use super::{Fault, Joined};

/// What Debian and pip install, and what the headers' package adds.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

const SUCCESS: c_int = 0;
/// `ncclFloat32`.
const F32: c_int = 7;
/// `ncclSum`.
const SUM: c_int = 0;

/// `ncclUniqueId`: where the ranks find the first one.
#[derive(Clone, Copy)]
#[repr(C)]
struct Id([u8; 128]);

/// `ncclComm_t`.
type Comm = *mut c_void;

/// NCCL's functions, as `nccl.h` declares them; the enumerations are numbers, since newer versions know more of them.
struct Functions {
    get_unique_id: unsafe extern "C" fn(*mut Id) -> c_int,
    init_rank: unsafe extern "C" fn(*mut Comm, c_int, Id, c_int) -> c_int,
    abort: unsafe extern "C" fn(Comm) -> c_int,
    group_start: unsafe extern "C" fn() -> c_int,
    group_end: unsafe extern "C" fn() -> c_int,
    all_reduce:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, *mut c_void) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    /// The functions live as long as it does.
    _library: Library,
}

impl Functions {
    /// The functions, loaded at the first call.
    fn loaded() -> Result<&'static Self, String> {
        static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();
        LOADED.get_or_init(Self::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Self, String> {
        // SAFETY: NCCL runs nothing when it is loaded that could go wrong here.
        let library = NAMES.into_iter().find_map(|name| unsafe { Library::new(name) }.ok()).ok_or(
            "NCCL was not found (libnccl.so.2): install it (Debian: libnccl2, or `pip install nvidia-nccl-cu12`) and name \
             its folder in LD_LIBRARY_PATH",
        )?;
        // SAFETY: the types are those of `nccl.h`.
        unsafe {
            Ok(Self {
                get_unique_id: function(&library, "ncclGetUniqueId")?,
                init_rank: function(&library, "ncclCommInitRank")?,
                abort: function(&library, "ncclCommAbort")?,
                group_start: function(&library, "ncclGroupStart")?,
                group_end: function(&library, "ncclGroupEnd")?,
                all_reduce: function(&library, "ncclAllReduce")?,
                error_string: function(&library, "ncclGetErrorString")?,
                _library: library,
            })
        }
    }

    fn checked(&self, result: c_int) -> Result<(), String> {
        if result == SUCCESS {
            return Ok(());
        }
        // SAFETY: NCCL knows a text for every number, which stays.
        let text = unsafe { CStr::from_ptr((self.error_string)(result)) };
        Err(format!("NCCL: {} (NCCL_DEBUG=WARN in the environment says more)", text.to_string_lossy()))
    }
}

/// # Safety
/// The type is the function's.
unsafe fn function<T: Copy>(library: &Library, name: &str) -> Result<T, String> {
    // SAFETY: as the caller says.
    let function = unsafe { library.get::<T>(name) };
    function.map(|function| *function).map_err(|_| format!("NCCL is too old: it has no `{name}`"))
}

/// Whether NCCL can be used.
pub(super) fn check() -> Result<(), String> {
    Functions::loaded().map(|_| ())
}

/// What one rank draws and gives to all.
pub(super) fn unique_id() -> Result<Vec<u8>, String> {
    let nccl = Functions::loaded()?;
    let mut id = Id([0; 128]);
    // SAFETY: there is place for it.
    nccl.checked(unsafe { (nccl.get_unique_id)(&raw mut id) })?;
    Ok(id.0.to_vec())
}

/// One rank's part of a communicator, on the stream of its GPU.
pub(super) struct Nccl {
    nccl: &'static Functions,
    comm: Comm,
    context: Arc<CudaContext>,
    stream: Arc<Stream>,
}

// SAFETY: a communicator may be used from any thread, by one at a time: training has one that sums.
unsafe impl Send for Nccl {}
// SAFETY: as above.
unsafe impl Sync for Nccl {}

impl Nccl {
    /// Waits for all ranks; the context is bound to this thread.
    pub(super) fn new(stream: &Arc<Stream>, rank: usize, size: usize, id: &[u8]) -> Result<Self, String> {
        let nccl = Functions::loaded()?;
        let id = Id(id.try_into().map_err(|_| format!("an id of NCCL has 128 bytes, not {}", id.len()))?);
        let number =
            |number: usize| c_int::try_from(number).map_err(|_| format!("{number} ranks are too many"));
        let mut comm = ptr::null_mut();
        // SAFETY: there is place for the communicator, and the GPU is that of the bound context.
        nccl.checked(unsafe { (nccl.init_rank)(&raw mut comm, number(size)?, id, number(rank)?) })?;
        Ok(Self { nccl, comm, context: stream.context().clone(), stream: stream.clone() })
    }
}

impl Joined for Nccl {
    unsafe fn sum(&self, arrays: &[(u64, usize)]) -> Result<(), Fault> {
        self.context.bind_to_thread().map_err(super::nvidia::fault)?;
        self.stream.directly(|stream| {
            let (nccl, stream) = (self.nccl, stream.cu_stream().cast());
            let sum = |&(address, values): &(u64, usize)| {
                let (from, to) = (address as *const c_void, address as *mut c_void);
                // SAFETY: as the trait says; the context is bound.
                nccl.checked(unsafe { (nccl.all_reduce)(from, to, values, F32, SUM, self.comm, stream) })
            };
            // SAFETY: these take nothing.
            nccl.checked(unsafe { (nccl.group_start)() })?;
            let handed_over = arrays.iter().try_for_each(sum);
            // A group that was begun is to be ended in any case.
            // SAFETY: as above.
            let ended = nccl.checked(unsafe { (nccl.group_end)() });
            Ok(handed_over.and(ended)?)
        })
    }
}

impl Drop for Nccl {
    /// Ends what still waits for a rank that is gone. Where all sums are done on all ranks, nothing is left to end.
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: nobody uses it any more.
            unsafe { (self.nccl.abort)(self.comm) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs the library alone: an id names an address of this machine, which needs no GPU.
    #[test]
    fn an_id_is_drawn_or_what_to_install_is_said() {
        match unique_id() {
            Ok(id) => assert!(id.len() == 128 && id != unique_id().unwrap(), "{id:?}"),
            Err(message) => {
                let is_missing = check().is_err();
                let part = if is_missing { "libnccl.so.2" } else { "NCCL: " };
                assert!(message.contains(part), "{message}");
            }
        }
    }
}
