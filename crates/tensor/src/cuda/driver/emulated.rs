//! What an emulated GPU does: the kernels of `kernels/*.cu`, compiled as C++, in this machine's memory.

use std::alloc::{Layout, alloc, dealloc};

use polytask_emulation::Order;

use super::{Fault, emulated_product, places};
use crate::cuda::{Grid, Product};

/// What CUDA promises of an address.
const ALIGNMENT: usize = 256;

/// Each of these ends before it returns; what must hold is as in [`Driver`](super::Driver).
pub(super) struct Emulated;

fn layout(bytes: usize) -> Result<Layout, Fault> {
    Layout::from_size_align(bytes.max(1), ALIGNMENT).map_err(|_| Fault::OutOfMemory)
}

impl Emulated {
    pub(super) fn allocate(bytes: usize) -> Result<u64, Fault> {
        // SAFETY: the layout is not empty.
        let place = unsafe { alloc(layout(bytes)?) };
        if place.is_null() {
            return Err(Fault::OutOfMemory);
        }
        // Something that nobody mistakes for a result: NaN.
        // SAFETY: it was just allocated.
        unsafe { place.write_bytes(0xff, bytes) };
        Ok(place as u64)
    }

    pub(super) unsafe fn free(address: u64, bytes: usize) {
        if let Ok(layout) = layout(bytes) {
            // SAFETY: allocated with the same layout.
            unsafe { dealloc(address as *mut u8, layout) };
        }
    }

    pub(super) unsafe fn upload(bytes: &[u8], address: u64) -> Result<(), Fault> {
        // SAFETY: as the driver's trait says.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }

    pub(super) unsafe fn download(address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        // SAFETY: as the driver's trait says.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    pub(super) unsafe fn copy(from: u64, to: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: as the driver's trait says.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    pub(super) unsafe fn clear(address: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: as the driver's trait says.
        unsafe { (address as *mut u8).write_bytes(0, bytes) };
        Ok(())
    }

    pub(super) unsafe fn launch(name: &str, grid: Grid, arguments: &mut [u64]) -> Result<(), Fault> {
        let shared_bytes = u32::try_from(grid.shared_bytes).unwrap_or(u32::MAX);
        let block = [grid.threads, 1, 1];
        // SAFETY: as the driver's trait says.
        unsafe {
            let places = &mut places(arguments);
            polytask_emulation::launch(name, grid.blocks, block, shared_bytes, places, Order::Ascending)
        }
        .map_err(|error| Fault::Other(error.to_string()))
    }

    pub(super) fn can_multiply(product: &Product) -> bool {
        emulated_product::can_multiply(product)
    }

    pub(super) unsafe fn multiply(product: &Product) -> Result<(), Fault> {
        if !Self::can_multiply(product) {
            return Err(Fault::Other(format!("the emulated GPU has no such product: {product:?}")));
        }
        // SAFETY: as the driver's trait says.
        unsafe { emulated_product::multiply(product) };
        Ok(())
    }
}
