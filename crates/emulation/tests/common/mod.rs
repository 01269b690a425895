//! Launches for tests: arguments as plain references.

use polytask_emulation::{Order, Result, launch};
use std::ffi::c_void;

/// Runs the kernel on a grid of `blocks` × `threads`.
///
/// # Safety
/// As of [`launch`]; `arguments` holds the addresses of the arguments' values.
pub(crate) unsafe fn run(
    kernel: &str,
    [blocks, threads]: [u32; 2],
    shared_bytes: u32,
    arguments: &mut [*mut c_void],
    order: Order,
) -> Result<()> {
    // SAFETY: as the caller says.
    unsafe { launch(kernel, [blocks, 1, 1], [threads, 1, 1], shared_bytes, arguments, order) }
}

/// The addresses of arguments: of values as they are, of slices through the pointers to them.
#[macro_export]
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { [$((&raw const $value).cast_mut().cast::<std::ffi::c_void>()),*] };
}

pub(crate) const ORDERS: [Order; 2] = [Order::Ascending, Order::Descending];
