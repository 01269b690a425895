//! An NVIDIA GPU through its driver, which is looked for at run time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{CString, c_int};
use std::sync::{Arc, Mutex};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUfunction, CUfunction_attribute_enum, CUmodule, CUresult};
use cudarc::driver::{CudaContext, CudaStream};

use super::nvidia_product::Products;
use super::nvidia_stream::Stream;
use super::staging::Staging;
use super::{Driver, Fault, GraphCounts, Joined, nccl, places, ptx};
use crate::cuda::gpu::locked;
use crate::cuda::{Grid, Product};

/// CUDA 12.2: the newest that the checked-in PTX and the functions called here need.
const DRIVER_NEEDED: c_int = 12020;
/// Ampere: what the checked-in PTX is made for.
const CAPABILITY_NEEDED: (i32, i32) = (8, 0);
/// Dynamic shared memory that a kernel has without asking for more.
const SHARED_BYTES_UNASKED: usize = 48 * 1024;

pub(super) struct Nvidia {
    context: Arc<CudaContext>,
    stream: Arc<Stream>,
    kernels: Mutex<Kernels>,
    products: Products,
    staging: Mutex<Staging>,
}

#[derive(Default)]
struct Kernels {
    modules: HashMap<&'static str, CUmodule>,
    functions: HashMap<&'static str, Function>,
}

struct Function {
    handle: CUfunction,
    /// Dynamic shared memory that it may have. It never falls: what was captured with more may still wait for its launch.
    shared_bytes: usize,
}

// SAFETY: handles of the driver may be used from any thread to which the context is bound.
unsafe impl Send for Kernels {}

impl Nvidia {
    pub(super) fn open(ordinal: usize) -> Result<Self, String> {
        // SAFETY: it only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(
                "no NVIDIA driver was found (libcuda.so.1): install it, or set device = \"cpu\"".into()
            );
        }
        check_driver_version()?;
        let count = CudaContext::device_count().map_err(|error| match error.0 {
            CUresult::CUDA_ERROR_NO_DEVICE => "the driver sees no NVIDIA GPU".into(),
            _ => said(&error),
        })?;
        if ordinal >= count.max(0) as usize {
            let last = match count {
                0 => "there is none".to_string(),
                1 => "the only one is cuda:0".to_string(),
                _ => format!("the last one is cuda:{}", count - 1),
            };
            return Err(format!("there is no GPU of this number: {last}"));
        }
        let context = CudaContext::new(ordinal).map_err(|error| said(&error))?;
        let (major, minor) = context.compute_capability().map_err(|error| said(&error))?;
        if (major, minor) < CAPABILITY_NEEDED {
            let name = context.name().unwrap_or_default();
            return Err(format!(
                "{name} has compute capability {major}.{minor}, 8.0 is needed (Ampere or newer)"
            ));
        }
        let stream = Arc::new(Stream::new(context.new_stream().map_err(|error| said(&error))?));
        let products = Products::new()?;
        let staging = Mutex::new(Staging::new().map_err(|error| said(&error))?);
        Ok(Self { context, stream, kernels: Mutex::default(), products, staging })
    }

    /// Binds the context to this thread, which every call of the driver needs.
    fn bind(&self) -> Result<(), Fault> {
        self.context.bind_to_thread().map_err(fault)
    }

    /// A kernel that may have so much dynamic shared memory.
    fn function(
        &self,
        file: &'static str,
        name: &'static str,
        shared_bytes: usize,
    ) -> Result<CUfunction, Fault> {
        let mut kernels = locked(&self.kernels);
        let Kernels { modules, functions } = &mut *kernels;
        let function = match functions.entry(name) {
            Entry::Occupied(function) => function.into_mut(),
            Entry::Vacant(place) => {
                let handle = load(modules, file, name)?;
                place.insert(Function { handle, shared_bytes: SHARED_BYTES_UNASKED })
            }
        };
        if shared_bytes > function.shared_bytes {
            let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is loaded.
            unsafe {
                result::function::set_function_attribute(function.handle, attribute, shared_bytes as c_int)
            }
            .map_err(fault)?;
            function.shared_bytes = shared_bytes;
        }
        Ok(function.handle)
    }
}

/// A kernel of a file, all of which the first one loads.
fn load(
    modules: &mut HashMap<&'static str, CUmodule>,
    file: &'static str,
    name: &'static str,
) -> Result<CUfunction, Fault> {
    let module = match modules.get(file) {
        Some(&module) => module,
        None => {
            let text = ptx::of(file).ok_or_else(|| format!("there is no kernel file `{file}`"))?;
            let text = CString::new(text).map_err(|_| format!("the PTX of `{file}` has a zero byte"))?;
            // SAFETY: it ends with a zero byte.
            let module = unsafe { result::module::load_data(text.as_ptr().cast()) }
                .map_err(|error| format!("the driver refuses the kernels of `{file}`: {}", said(&error)))?;
            modules.insert(file, module);
            module
        }
    };
    let name_in_c = CString::new(name).map_err(|_| format!("`{name}` is no name"))?;
    // SAFETY: the module is loaded and stays so.
    let function = unsafe { result::module::get_function(module, name_in_c) };
    Ok(function.map_err(|error| format!("there is no kernel `{name}` in `{file}`: {}", said(&error)))?)
}

/// Whether the driver knows CUDA 12.2; older ones lack functions, and cannot read the PTX.
fn check_driver_version() -> Result<(), String> {
    let mut version = 0;
    // SAFETY: the pointer is a number's.
    let answered = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    if answered == CUresult::CUDA_SUCCESS && version >= DRIVER_NEEDED {
        return Ok(());
    }
    let (major, minor) = (version / 1000, version % 1000 / 10);
    Err(format!(
        "the NVIDIA driver is too old: it knows CUDA {major}.{minor}, 12.2 is needed (driver 535 or newer)"
    ))
}

/// What the driver says of an error.
pub(super) fn said(error: &DriverError) -> String {
    let text = |text: Result<&std::ffi::CStr, DriverError>| {
        text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    };
    format!("{} ({})", text(error.error_string()), text(error.error_name()))
}

pub(super) fn fault(error: DriverError) -> Fault {
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Fault::OutOfMemory,
        _ => Fault::Other(said(&error)),
    }
}

impl Driver for Nvidia {
    fn allocate(&self, bytes: usize) -> Result<u64, Fault> {
        self.bind()?;
        // SAFETY: the context is bound.
        unsafe { result::malloc_sync(bytes) }.map_err(fault)
    }

    unsafe fn free(&self, address: u64, _bytes: usize) {
        // Freeing waits for the stream, which may still use it. What cannot be freed is lost, and nobody can help it.
        if self.bind().is_ok() {
            // SAFETY: as the trait says.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    unsafe fn upload(&self, bytes: &[u8], address: u64) -> Result<(), Fault> {
        self.bind()?;
        let mut staging = locked(&self.staging);
        let has_room = staging.has_room(bytes.len());
        // SAFETY: as the trait says.
        let upload =
            |stream: &Arc<CudaStream>| unsafe { staging.upload(bytes, address, stream) }.map_err(fault);
        // Where it must wait for the stream, what the ring holds must be launched.
        if has_room { self.stream.hand_over(upload) } else { self.stream.directly(upload) }
    }

    unsafe fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.bind()?;
        self.stream.directly(|stream| {
            // SAFETY: as the trait says; nobody sees the values before the stream has come to them.
            unsafe { result::memcpy_dtoh_async(bytes, address, stream.cu_stream()) }.map_err(fault)?;
            stream.synchronize().map_err(fault)
        })
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Fault> {
        self.bind()?;
        // SAFETY: as the trait says.
        let copy = |stream: &Arc<CudaStream>| unsafe {
            result::memcpy_dtod_async(to, from, bytes, stream.cu_stream())
        };
        self.stream.hand_over(copy).map_err(fault)
    }

    unsafe fn clear(&self, address: u64, bytes: usize) -> Result<(), Fault> {
        self.bind()?;
        // SAFETY: as the trait says.
        let clear = |stream: &Arc<CudaStream>| unsafe {
            result::memset_d8_async(address, 0, bytes, stream.cu_stream())
        };
        self.stream.hand_over(clear).map_err(fault)
    }

    unsafe fn launch(
        &self,
        file: &'static str,
        name: &'static str,
        grid: Grid,
        arguments: &mut [u64],
    ) -> Result<(), Fault> {
        self.bind()?;
        let function = self.function(file, name, grid.shared_bytes)?;
        let ([x, y, z], shared_bytes) = (grid.blocks, grid.shared_bytes as u32);
        let mut places = places(arguments);
        // SAFETY: as the trait says.
        let launch = |stream: &Arc<CudaStream>| unsafe {
            let (blocks, threads) = ((x, y, z), (grid.threads, 1, 1));
            result::launch_kernel(function, blocks, threads, shared_bytes, stream.cu_stream(), &mut places)
        };
        self.stream
            .hand_over(launch)
            .map_err(|error| Fault::Other(format!("kernel `{name}`: {}", said(&error))))
    }

    fn can_multiply(&self, product: &Product) -> Result<bool, Fault> {
        self.bind()?;
        Ok(self.products.can_multiply(product))
    }

    unsafe fn multiply(&self, product: &Product) -> Result<(), Fault> {
        self.bind()?;
        // SAFETY: as the trait says.
        let multiply = |stream: &Arc<CudaStream>| unsafe { self.products.multiply(product, stream) };
        self.stream.hand_over(multiply).map_err(Fault::Other)
    }

    fn synchronize(&self) -> Result<(), Fault> {
        self.bind()?;
        self.stream.directly(|stream| stream.synchronize().map_err(fault))
    }

    fn begin_capture(&self) -> Result<(), Fault> {
        self.bind()?;
        self.stream.begin_capture()
    }

    fn end_capture(&self) -> Result<(), Fault> {
        self.bind()?;
        self.stream.end_capture()
    }

    fn graph_counts(&self) -> GraphCounts {
        self.stream.graph_counts()
    }

    fn check_ranks(&self) -> Result<(), Fault> {
        Ok(nccl::check()?)
    }

    fn rank_id(&self) -> Result<Vec<u8>, Fault> {
        Ok(nccl::unique_id()?)
    }

    fn join(&self, rank: usize, size: usize, id: &[u8]) -> Result<Box<dyn Joined>, Fault> {
        self.bind()?;
        Ok(Box::new(nccl::Nccl::new(&self.stream, rank, size, id)?))
    }
}
