//! One launch of a kernel.

use crate::registry::{self, Trampoline};
use crate::{Error, Result};
use std::ffi::{CStr, c_char, c_int, c_void};

/// The most threads that a block may have.
const MAX_BLOCK_THREADS: u64 = 1024;

/// What a block may opt in to on every GPU from compute capability 8.0; 8.6 has the least.
const MAX_SHARED_BYTES: u32 = 99 * 1024;

/// Which of those that could run goes first: threads between two barriers, and the blocks of a grid. A kernel whose
/// results depend on it has a race (or adds floats atomically).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Thread 0 first, block 0 first.
    Ascending,
    /// The last thread first, the last block first.
    Descending,
}

/// What the C++ side is asked for; `shim/block.h` declares the same.
#[repr(C)]
struct Launch {
    kernel: *const Trampoline,
    arguments: *mut *mut c_void,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    descending: bool,
}

unsafe extern "C" {
    fn polytask_emulation_launch(launch: *const Launch, message: *mut *const c_char) -> c_int;
}

/// Runs `kernel` for a grid of blocks, as `cuLaunchKernel` does, and returns when it has ended.
///
/// `grid` and `block` count blocks and threads along x, y and z. `arguments` are the addresses of the kernel's arguments,
/// in order: of a pointer to device memory, the address of a pointer to values in main memory. Threads of the operating
/// system may launch at the same time; each has shared memory and stacks of its own.
///
/// # Safety
/// Each argument must point to a value of its parameter's type, and the kernel, as it is launched, may only touch memory
/// that it may read or write: what lies behind its pointers is not checked.
///
/// # Errors
/// The kernel is unknown or takes another number of arguments; grid, block or shared memory are beyond what a GPU has; its
/// threads wait forever, meet at different barriers, or write behind the shared memory or their stacks. After the latter
/// three the results are those of a kernel that stopped halfway.
pub unsafe fn launch(
    kernel: &str,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    arguments: &mut [*mut c_void],
    order: Order,
) -> Result<()> {
    let trampoline = registry::find(kernel)?.trampoline;
    let name = || kernel.to_owned();
    check_sizes(kernel, grid, block, shared_bytes)?;
    let (expected, found) = (trampoline.parameters, arguments.len());
    if found != expected {
        return Err(Error::Arguments { kernel: name(), expected, found });
    }
    let descending = order == Order::Descending;
    let arguments = arguments.as_mut_ptr();
    let launch = Launch { kernel: trampoline, arguments, grid, block, shared_bytes, descending };
    let mut message = std::ptr::null();
    // SAFETY: the arguments are the caller's to vouch for; there are as many as the kernel reads.
    let outcome = unsafe { polytask_emulation_launch(&launch, &mut message) };
    if outcome == 0 {
        return Ok(());
    }
    // SAFETY: the message ends with a zero and stays until the next launch of this thread.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    Err(match outcome {
        1 => Error::Deadlock { kernel: name(), message },
        2 => Error::Divergence { kernel: name(), message },
        _ => Error::Overrun { kernel: name(), message },
    })
}

fn check_sizes(kernel: &str, grid: [u32; 3], block: [u32; 3], shared_bytes: u32) -> Result<()> {
    let kernel = || kernel.to_owned();
    let grid_limits = [i32::MAX as u32, 65535, 65535];
    if grid.iter().zip(grid_limits).any(|(size, limit)| !(1..=limit).contains(size)) {
        return Err(Error::Grid { kernel: kernel(), grid });
    }
    let threads = block.iter().map(|&size| u64::from(size)).fold(1, u64::saturating_mul);
    if !(1..=MAX_BLOCK_THREADS).contains(&threads) || block[2] > 64 {
        return Err(Error::Block { kernel: kernel(), block });
    }
    if shared_bytes > MAX_SHARED_BYTES {
        return Err(Error::SharedMemory { kernel: kernel(), bytes: shared_bytes, limit: MAX_SHARED_BYTES });
    }
    Ok(())
}
