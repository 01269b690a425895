//! Matrix products for fixed blocks of the result: in f32 by the `gemm` crate, called on one thread, or by AMX in parts that
//! are bf16; of bf16, of 8-bit integers, and of few rows with a kept matrix by a kernel of our own.
//!
//! In which order a value is summed depends on the shape alone, so it is the same at any thread count.

mod bf16;
mod blocks;
mod by_gemm;
mod grouped;
mod int8;
mod kernel;
mod packing;
mod rounded;
mod single;
mod split;
mod turned;

pub(crate) use bf16::{Bf16Right, product_bf16_then};
use by_gemm::gemm_product_then;
pub(crate) use int8::{Int8Matrix, Int8Right, LONGEST_SUM, product_int8_then};
pub(crate) use single::{F32Right, product_of_kept_then};
use split::split_product_then;

use crate::Precision;

/// A matrix to be read: values, and whether to read it transposed.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    /// Distance between neighbours in a column and in a row.
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major values with `columns` a row.
    pub(crate) fn new(values: &'a [f32], columns: usize) -> Self {
        Self { values, row_stride: columns, column_stride: 1 }
    }

    /// The same values read with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self { values: self.values, row_stride: self.column_stride, column_stride: self.row_stride }
    }

    /// The same without its first rows and columns.
    pub(crate) fn beginning_at(self, row: usize, column: usize) -> Self {
        let first = row * self.row_stride + column * self.column_stride;
        Self { values: self.values.get(first..).unwrap_or_default(), ..self }
    }

    /// Whether the values of a row, rather than of a column, lie side by side.
    fn is_row_major(&self) -> bool {
        self.column_stride == 1
    }

    /// Values that lie side by side: the first of a row, or of a column where the matrix is read transposed.
    fn line(&self, index: usize, length: usize) -> &'a [f32] {
        let first = index * self.line_stride();
        &self.values[first..first + length]
    }

    /// Distance between neighbouring lines.
    fn line_stride(&self) -> usize {
        if self.is_row_major() { self.row_stride } else { self.column_stride }
    }

    #[cfg(test)]
    fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.row_stride + column * self.column_stride]
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.values.len()
    }
}

/// `result = left · right`, with left [rows, inner], right [inner, columns], result [rows, columns] row-major.
pub(crate) fn product(result: &mut [f32], left: Matrix<'_>, right: Matrix<'_>, inner: usize, columns: usize) {
    product_then(result, left, right, inner, columns, |_, _, _| {});
}

/// The same in either precision.
pub(crate) fn product_in(
    precision: Precision,
    result: &mut [f32],
    left: Matrix<'_>,
    right: Matrix<'_>,
    inner: usize,
    columns: usize,
) {
    match precision {
        Precision::F32 | Precision::Tf32 => product(result, left, right, inner, columns),
        Precision::Bf16 => {
            product_bf16_then(result, left, &Bf16Right::new(right, inner, columns), |_, _, _| {});
        }
    }
}

/// The same in f32, and then `finish(row, first column, values)` for each part of a row of the result, each value once, while
/// it is still near.
pub(crate) fn product_then(
    result: &mut [f32],
    left: Matrix<'_>,
    right: Matrix<'_>,
    inner: usize,
    columns: usize,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    if result.is_empty() {
        return;
    }
    let rows = result.len() / columns;
    if let Some(kernel) = split::kernel_for([rows, inner, columns]) {
        // SAFETY: it is a kernel of this processor.
        return unsafe { split_product_then(kernel, result, left, right, [inner, columns], finish) };
    }
    gemm_product_then(result, left, right, [inner, columns], finish);
}

/// The rows of a result `[rows, columns]`, checked to be covered by both sides.
fn rows_of(result: &[f32], left: Matrix<'_>, right: Matrix<'_>, [inner, columns]: [usize; 2]) -> usize {
    let rows = result.len() / columns;
    assert!(
        result.len() == rows * columns && left.covers(rows, inner) && right.covers(inner, columns),
        "an operation asked for a product beyond its inputs"
    );
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_on_threads, sample};
    use proptest::prelude::*;

    /// The textbook triple loop in f64.
    fn reference(left: Matrix<'_>, right: Matrix<'_>, rows: usize, inner: usize, columns: usize) -> Vec<f32> {
        let at = |m: Matrix<'_>, i: usize, j: usize| f64::from(m.at(i, j));
        let value = |i, j| (0..inner).map(|k| at(left, i, k) * at(right, k, j)).sum::<f64>() as f32;
        (0..rows * columns).map(|i| value(i / columns, i % columns)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_the_triple_loop(
            rows in 0usize..70, inner in 0usize..70, columns in 1usize..70,
            transpose_left: bool, transpose_right: bool,
        ) {
            let a = sample(&[rows, inner], 1);
            let b = sample(&[inner, columns], 2);
            let left = if transpose_left { Matrix::new(a.data(), rows).transposed() } else { Matrix::new(a.data(), inner) };
            let right = if transpose_right { Matrix::new(b.data(), inner).transposed() } else { Matrix::new(b.data(), columns) };
            let mut result = vec![f32::NAN; rows * columns];
            product(&mut result, left, right, inner, columns);
            for (found, expected) in result.iter().zip(reference(left, right, rows, inner, columns)) {
                // 70 terms of size 1 in f32.
                prop_assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        for (rows, inner, columns) in
            [(385, 128, 512), (1, 300, 700), (512, 385, 128), (1000, 33, 65), (900, 200, 100)]
        {
            let a = sample(&[rows, inner], 1);
            let b = sample(&[inner, columns], 2);
            let (left, right) = (Matrix::new(a.data(), inner), Matrix::new(b.data(), columns));
            assert_same_on_threads(|| {
                let [mut result, mut by_gemm] = [(); 2].map(|_| vec![0.0; rows * columns]);
                product(&mut result, left, right, inner, columns);
                gemm_product_then(&mut by_gemm, left, right, [inner, columns], |_, _, _| {});
                vec![result, by_gemm]
            });
        }
    }
}
