//! What a GPU does: an NVIDIA one through its driver, or the same kernels on this machine's processor.

#[cfg(feature = "emulation")]
mod emulated;
#[cfg(feature = "emulation")]
mod emulated_product;
#[cfg(feature = "emulation")]
mod emulated_stream;
#[cfg(feature = "cuda")]
mod nccl;
#[cfg(feature = "cuda")]
mod nvidia;
#[cfg(feature = "cuda")]
mod nvidia_plan;
#[cfg(feature = "cuda")]
mod nvidia_product;
#[cfg(feature = "cuda")]
mod nvidia_stream;
#[cfg(feature = "cuda")]
mod ptx;
#[cfg(feature = "cuda")]
mod staging;

use std::ffi::c_void;

use super::{Grid, Product};
use crate::Device;

/// Why a driver could not do something.
pub(crate) enum Fault {
    /// No memory of this size is left.
    OutOfMemory,
    /// Anything else, as the end of a sentence.
    Other(String),
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault::Other(message)
    }
}

/// How many graphs were run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphCounts {
    /// Launched in all.
    pub launched: u64,
    /// Of those, made for it; the others were made for one before them, and took over its work.
    pub instantiated: u64,
}

/// Memory, kernels and products of one GPU, all in the order of one stream.
///
/// While a graph is captured what is handed over does not run before its end. What must answer, such as a download, ends the
/// capture itself.
///
/// Addresses are those of the GPU's memory, also where they are this machine's.
pub(super) trait Driver: Send + Sync {
    fn allocate(&self, bytes: usize) -> Result<u64, Fault>;

    /// # Safety
    /// The address came from [`allocate`](Self::allocate) of the same number of bytes, and nobody uses it any more but what
    /// was handed to the stream before.
    unsafe fn free(&self, address: u64, bytes: usize);

    /// Copies into the GPU's memory; the values may change as soon as this returns.
    ///
    /// # Safety
    /// So many bytes lie at the address, and nobody else uses them.
    unsafe fn upload(&self, bytes: &[u8], address: u64) -> Result<(), Fault>;

    /// Copies out of the GPU's memory, after everything that was handed to the stream before.
    ///
    /// # Safety
    /// So many bytes lie at the address.
    unsafe fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault>;

    /// # Safety
    /// So many bytes lie at both addresses.
    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Fault>;

    /// # Safety
    /// So many bytes lie at the address.
    unsafe fn clear(&self, address: u64, bytes: usize) -> Result<(), Fault>;

    /// Runs kernel `name` of `kernels/{file}.cu`. Of an argument that is narrower in the kernel the first bytes count.
    ///
    /// # Safety
    /// The arguments are the kernel's, in number and type, and what they point to covers what it reads and writes.
    unsafe fn launch(
        &self,
        file: &'static str,
        name: &'static str,
        grid: Grid,
        arguments: &mut [u64],
    ) -> Result<(), Fault>;

    /// Whether it computes a product with this epilogue at these sizes and alignments. The answer stays the same, and is
    /// remembered where it takes long to find.
    fn can_multiply(&self, product: &Product) -> Result<bool, Fault>;

    /// # Safety
    /// The addresses cover the shapes, of which none is empty.
    unsafe fn multiply(&self, product: &Product) -> Result<(), Fault>;

    fn synchronize(&self) -> Result<(), Fault>;

    /// What is handed over from now on is captured; a capture that goes on ends before.
    fn begin_capture(&self) -> Result<(), Fault>;

    /// Runs what was captured, in order, as one graph. Where nothing is captured it does nothing.
    fn end_capture(&self) -> Result<(), Fault>;

    fn graph_counts(&self) -> GraphCounts;

    /// Whether GPUs of several processes can be joined.
    fn check_ranks(&self) -> Result<(), Fault>;

    /// What ranks join by.
    fn rank_id(&self) -> Result<Vec<u8>, Fault>;

    /// This GPU as one of several; waits for all.
    fn join(&self, rank: usize, size: usize, id: &[u8]) -> Result<Box<dyn Joined>, Fault>;
}

/// A GPU that is one of several, of a process each.
pub(crate) trait Joined: Send + Sync {
    /// Replaces arrays, given by address and number of f32, by their sums over the GPUs, in the order of the stream.
    ///
    /// # Safety
    /// So many values lie at each address.
    unsafe fn sum(&self, arrays: &[(u64, usize)]) -> Result<(), Fault>;
}

/// Where arguments lie, as drivers read them.
fn places(arguments: &mut [u64]) -> Vec<*mut c_void> {
    arguments.iter_mut().map(|argument| std::ptr::from_mut(argument).cast()).collect()
}

/// The driver of a device.
pub(super) fn open(device: Device) -> Result<Box<dyn Driver>, String> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => Ok(Box::new(nvidia::Nvidia::open(ordinal)?)),
        #[cfg(feature = "emulation")]
        Device::Emulated => Ok(Box::new(emulated_stream::EmulatedStream::default())),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err("this program was built without the feature `cuda`".into()),
        #[cfg(not(feature = "emulation"))]
        Device::Emulated => Err("this program was built without the feature `emulation`".into()),
        Device::Cpu => Err("is no GPU".into()),
    }
}
