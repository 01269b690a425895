//! The way of small arrays to the GPU, such as a batch's ids: through memory that stays where it is, so that nobody waits.

use std::ffi::c_void;

use cudarc::driver::CudaStream;
use cudarc::driver::result::{self, DriverError};

/// Bytes under way at most; what is longer goes without.
const BYTES: usize = 8 << 20;

/// A ring of pinned memory. What was copied from its beginning is long through when its end is reached; then one waits.
pub(super) struct Staging {
    first: *mut u8,
    used: usize,
}

// SAFETY: the memory is this ring's alone.
unsafe impl Send for Staging {}

impl Staging {
    /// The context must be bound to this thread, here and below.
    pub(super) fn new() -> Result<Self, DriverError> {
        // SAFETY: it is written before it is read.
        let first = unsafe { result::malloc_host(BYTES, 0) }?;
        Ok(Self { first: first.cast(), used: 0 })
    }

    /// Whether so many bytes can be copied without waiting for the stream.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.used + bytes <= BYTES
    }

    /// Copies bytes to an address of the GPU in the order of the stream; they may change as soon as this returns. Without
    /// room it waits, and all that was handed over before must be on its way.
    ///
    /// # Safety
    /// So many bytes lie at the address.
    pub(super) unsafe fn upload(
        &mut self,
        bytes: &[u8],
        address: u64,
        stream: &CudaStream,
    ) -> Result<(), DriverError> {
        if bytes.len() > BYTES {
            // SAFETY: as the caller says. From pageable memory this returns when all is read.
            unsafe { result::memcpy_htod_async(address, bytes, stream.cu_stream()) }?;
            return stream.synchronize();
        }
        if !self.has_room(bytes.len()) {
            stream.synchronize()?;
            self.used = 0;
        }
        // SAFETY: the ring has room, and nothing under way lies there.
        let staged = unsafe {
            let place = self.first.add(self.used);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            std::slice::from_raw_parts(place, bytes.len())
        };
        self.used += bytes.len();
        // SAFETY: as the caller says, and what is staged stays until the ring is empty.
        unsafe { result::memcpy_htod_async(address, staged, stream.cu_stream()) }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be freed is lost, and nobody can help it.
        // SAFETY: allocated by `malloc_host`.
        let _ = unsafe { result::free_host(self.first.cast::<c_void>()) };
    }
}
