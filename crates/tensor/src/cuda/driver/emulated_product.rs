//! Matrix products in this machine's memory, with the epilogues that cuBLASLt has, in f32.

use half::bf16;

use crate::cuda::{Argument, Epilogue, Numbers, Operand, Product};
use crate::matrix::{Matrix, product};

/// As the real library does, it refuses epilogues of unaligned shapes: here those of an odd number of columns.
pub(super) fn can_multiply(product: &Product) -> bool {
    matches!(product.epilogue, Epilogue::Nothing) || product.columns.is_multiple_of(2)
}

/// # Safety
/// The addresses cover the shapes.
pub(super) unsafe fn multiply(described: &Product) {
    let Product { rows, inner, columns, numbers, epilogue, .. } = *described;
    let is_bf16 = numbers == Numbers::Bf16;
    // SAFETY: as the caller says, here and below.
    let left = unsafe { read(described.left.address, rows * inner, is_bf16) };
    // SAFETY: as above.
    let right = unsafe { read(described.right.address, inner * columns, is_bf16) };
    let mut result = vec![0.0; rows * columns];
    let of_left = matrix(&left, described.left, [rows, inner]);
    product(&mut result, of_left, matrix(&right, described.right, [inner, columns]), inner, columns);
    match epilogue {
        Epilogue::Nothing => {}
        Epilogue::Bias(bias) => {
            // SAFETY: as above.
            add(&mut result, &unsafe { read(bias, columns, false) });
        }
        Epilogue::BiasGelu { bias, sum } => {
            // SAFETY: as above.
            add(&mut result, &unsafe { read(bias, columns, true) });
            if let Some(sum) = sum {
                // SAFETY: as above.
                unsafe { write(sum, &result, true) };
            }
            result.iter_mut().for_each(|value| *value = gelu(*value)[0]);
        }
        Epilogue::GeluGradient { sum } => {
            // SAFETY: as above.
            let sum = unsafe { read(sum, rows * columns, true) };
            result.iter_mut().zip(sum).for_each(|(value, sum)| *value *= gelu(sum)[1]);
        }
        Epilogue::RightSums(to) => {
            let mut sums = vec![0.0; columns];
            right.chunks(columns).for_each(|row| add(&mut sums, row));
            // SAFETY: as above.
            unsafe { write(to, &sums, false) };
        }
    }
    // SAFETY: as above.
    unsafe { write(described.result, &result, epilogue.rounds()) };
}

fn matrix(values: &[f32], operand: Operand, [rows, columns]: [usize; 2]) -> Matrix<'_> {
    if operand.is_transposed { Matrix::new(values, rows).transposed() } else { Matrix::new(values, columns) }
}

/// Adds a vector to each row of its length.
fn add(rows: &mut [f32], vector: &[f32]) {
    for row in rows.chunks_mut(vector.len()) {
        row.iter_mut().zip(vector).for_each(|(value, other)| *value += other);
    }
}

/// GELU by tanh, and its derivative.
fn gelu(z: f32) -> [f32; 2] {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    const CUBIC: f32 = 0.044_715;
    let tanh = (SQRT_2_OVER_PI * (z + CUBIC * z * z * z)).tanh();
    let slope = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * z * z);
    [0.5 * z * (1.0 + tanh), 0.5 * (1.0 + tanh) + 0.5 * z * (1.0 - tanh * tanh) * slope]
}

/// # Safety
/// So many values lie at the address, and nobody changes them meanwhile.
unsafe fn read(from: Argument, count: usize, is_bf16: bool) -> Vec<f32> {
    let address = from.address();
    // SAFETY: as the caller says.
    unsafe {
        match is_bf16 {
            true => values::<bf16>(address, count).iter().map(|value| value.to_f32()).collect(),
            false => values::<f32>(address, count).to_vec(),
        }
    }
}

unsafe fn values<'a, T>(address: u64, count: usize) -> &'a [T] {
    // SAFETY: as the caller says.
    unsafe { std::slice::from_raw_parts(address as *const T, count) }
}

/// # Safety
/// There is room for the values, which nobody else uses.
unsafe fn write(to: Argument, values: &[f32], is_bf16: bool) {
    let bytes: Vec<u8> = match is_bf16 {
        true => values.iter().flat_map(|&value| bf16::from_f32(value).to_ne_bytes()).collect(),
        false => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
    };
    // SAFETY: as the caller says.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.address() as *mut u8, bytes.len()) };
}
