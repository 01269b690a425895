//! The kernels of `kernels/*.cu`, compiled as C++, in this machine's memory.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;

use polytask_emulation::Order;

use super::{Driver, Fault, Joined};
use crate::cuda::{Grid, Numbers, Operand, Product};
use crate::matrix::{Matrix, product};

/// What CUDA promises of an address.
const ALIGNMENT: usize = 256;

pub(super) struct Emulated;

fn layout(bytes: usize) -> Result<Layout, Fault> {
    Layout::from_size_align(bytes.max(1), ALIGNMENT).map_err(|_| Fault::OutOfMemory)
}

/// Values at an address.
///
/// # Safety
/// So many lie there, and nobody changes them meanwhile.
unsafe fn values<'a, T>(address: u64, count: usize) -> &'a [T] {
    // SAFETY: as the caller says.
    unsafe { std::slice::from_raw_parts(address as *const T, count) }
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

    unsafe fn multiply(&self, shape: &Product) -> Result<(), Fault> {
        let Product { rows, inner, columns, .. } = *shape;
        let read = |operand: Operand, count: usize| -> Vec<f32> {
            let address = operand.address.address();
            match shape.numbers {
                // SAFETY: as the trait says.
                Numbers::F32 | Numbers::Tf32 => unsafe { values::<f32>(address, count) }.to_vec(),
                Numbers::Bf16 => {
                    // SAFETY: as the trait says.
                    let halves = unsafe { values::<u16>(address, count) };
                    halves.iter().map(|&half| f32::from_bits(u32::from(half) << 16)).collect()
                }
            }
        };
        let (left, right) = (read(shape.left, rows * inner), read(shape.right, inner * columns));
        let matrix = |values, operand: Operand, [rows, columns]: [usize; 2]| {
            if operand.is_transposed {
                Matrix::new(values, rows).transposed()
            } else {
                Matrix::new(values, columns)
            }
        };
        let left = matrix(&left, shape.left, [rows, inner]);
        let right = matrix(&right, shape.right, [inner, columns]);
        // SAFETY: as the trait says.
        let result =
            unsafe { std::slice::from_raw_parts_mut(shape.result.address() as *mut f32, rows * columns) };
        product(result, left, right, inner, columns);
        if let Some(bias) = shape.bias {
            // SAFETY: as the trait says.
            let bias = unsafe { values::<f32>(bias.address(), columns) };
            for row in result.chunks_mut(columns.max(1)) {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
        }
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
