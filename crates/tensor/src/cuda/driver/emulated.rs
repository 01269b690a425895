//! The kernels of `kernels/*.cu`, compiled as C++, in this machine's memory.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;

use polytask_emulation::Order;

use super::{Driver, Fault, Joined, emulated_product};
use crate::cuda::{Grid, Product};

/// What CUDA promises of an address.
const ALIGNMENT: usize = 256;

pub(super) struct Emulated;

fn layout(bytes: usize) -> Result<Layout, Fault> {
    Layout::from_size_align(bytes.max(1), ALIGNMENT).map_err(|_| Fault::OutOfMemory)
}

fn alone() -> Fault {
    Fault::Other("an emulated GPU cannot be joined with others".into())
}

impl Driver for Emulated {
    fn allocate(&self, bytes: usize) -> Result<u64, Fault> {
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

    unsafe fn free(&self, address: u64, bytes: usize) {
        if let Ok(layout) = layout(bytes) {
            // SAFETY: allocated with the same layout.
            unsafe { dealloc(address as *mut u8, layout) };
        }
    }

    unsafe fn upload(&self, bytes: &[u8], address: u64) -> Result<(), Fault> {
        // SAFETY: as the trait says.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }

    unsafe fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        // SAFETY: as the trait says.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: as the trait says.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    unsafe fn clear(&self, address: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: as the trait says.
        unsafe { (address as *mut u8).write_bytes(0, bytes) };
        Ok(())
    }

    unsafe fn launch(
        &self,
        _file: &'static str,
        name: &'static str,
        grid: Grid,
        arguments: &mut [*mut c_void],
    ) -> Result<(), Fault> {
        let shared_bytes = u32::try_from(grid.shared_bytes).unwrap_or(u32::MAX);
        let block = [grid.threads, 1, 1];
        // SAFETY: as the trait says.
        unsafe {
            polytask_emulation::launch(name, grid.blocks, block, shared_bytes, arguments, Order::Ascending)
        }
        .map_err(|error| Fault::Other(error.to_string()))
    }

    fn can_multiply(&self, product: &Product) -> Result<bool, Fault> {
        Ok(emulated_product::can_multiply(product))
    }

    unsafe fn multiply(&self, product: &Product) -> Result<(), Fault> {
        if !emulated_product::can_multiply(product) {
            return Err(Fault::Other(format!("the emulated GPU has no such product: {product:?}")));
        }
        // SAFETY: as the trait says.
        unsafe { emulated_product::multiply(product) };
        Ok(())
    }

    fn synchronize(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn check_ranks(&self) -> Result<(), Fault> {
        Err(alone())
    }

    fn rank_id(&self) -> Result<Vec<u8>, Fault> {
        Err(alone())
    }

    fn join(&self, _rank: usize, _size: usize, _id: &[u8]) -> Result<Box<dyn Joined>, Fault> {
        Err(alone())
    }
}
