//! Products of few rows with a matrix that is kept for many of them, in f32.
//!
//! `gemm` reads the right side where it lies, a few values of each row at a time, and waits for them where the rows are few.
//! In panels it is read from front to back, ahead of its use. A row's sums do not depend on the other rows.

use super::Matrix;
use super::grouped::grouped_product_then;
use super::kernel::{Group, Kernel, PANEL, Right, Single};
use crate::memory::Words;
use crate::parallel::for_each_row_block;

/// With more rows than these `gemm` is the faster.
const MOST_ROWS: usize = 96;

/// The right side `[inner, columns]` of a product, in the order in which it is read.
pub(crate) struct F32Right {
    kernel: Kernel,
    /// `[⌈columns / 32⌉, inner, 32]`.
    panels: Words,
    inner: usize,
    columns: usize,
}

impl F32Right {
    /// Whether a product of so many rows is faster with panels.
    pub(crate) fn pays_for(rows: usize) -> bool {
        rows <= MOST_ROWS && Single::fastest().is_some()
    }

    /// Orders a row-major right side; `None` where this processor has no kernel.
    pub(crate) fn new(right: &[f32], columns: usize) -> Option<Self> {
        let kernel = Single::fastest()?;
        let inner = right.len() / columns.max(1);
        let right = Matrix::new(right, columns);
        let mut panels = Words::overwritable(columns.div_ceil(PANEL) * inner * PANEL);
        for_each_row_block(&mut panels, inner * PANEL, |first, panels| {
            for row in 0..inner {
                let line: &[u32] = bytemuck::cast_slice(right.line(row, columns));
                let parts = line[first * PANEL..].chunks(PANEL);
                for (panel, part) in panels.chunks_exact_mut(inner * PANEL).zip(parts) {
                    let (filled, beyond) = panel[row * PANEL..(row + 1) * PANEL].split_at_mut(part.len());
                    filled.copy_from_slice(part);
                    beyond.fill(0);
                }
            }
        });
        Some(Self { kernel, panels, inner, columns })
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }
}

/// `result = left · right` of left [rows, inner]; then `finish(row, first column, values)` for each part of a row.
pub(crate) fn product_of_kept_then(
    result: &mut [f32],
    left: &[f32],
    right: &F32Right,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    if result.is_empty() {
        return;
    }
    let sides = Right { panels: &right.panels, starts: None, groups: right.inner };
    let (left, shape) = (bytemuck::cast_slice(left), [right.inner, right.columns]);
    // SAFETY: panels are made only for a kernel that the processor has.
    unsafe { grouped_product_then::<Single>(right.kernel, result, left, sides, shape, finish) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::product;
    use crate::testing::{assert_close, assert_same_on_threads, sample};
    use proptest::prelude::*;

    fn product_of_kept(left: &[f32], right: &F32Right, rows: usize) -> Vec<f32> {
        let mut result = vec![f32::NAN; rows * right.columns];
        product_of_kept_then(&mut result, left, right, |_, _, _| {});
        result
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_gemm(rows in 0usize..70, inner in 0usize..70, columns in 1usize..100) {
            let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
            let mut expected = vec![f32::NAN; rows * columns];
            product(&mut expected, Matrix::new(a.data(), inner), Matrix::new(b.data(), columns), inner, columns);
            if let Some(right) = F32Right::new(b.data(), columns) {
                // 70 terms of size 1 in f32, in another order.
                assert_close(&product_of_kept(a.data(), &right, rows), &expected, 1e-4);
            }
        }
    }

    #[test]
    fn a_rows_bits_depend_on_that_row_alone_on_any_threads() {
        for (rows, inner, columns) in [(24, 1536, 384), (385, 384, 1152), (64, 100, 3000)] {
            let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
            let Some(right) = F32Right::new(b.data(), columns) else { return };
            assert_same_on_threads(|| {
                let result = product_of_kept(a.data(), &right, rows);
                for row in [0, rows / 2, rows - 1] {
                    let alone = product_of_kept(&a.data()[row * inner..(row + 1) * inner], &right, 1);
                    assert!(result[row * columns..(row + 1) * columns] == alone, "row {row} of {rows}");
                }
                vec![result]
            });
        }
    }
}
