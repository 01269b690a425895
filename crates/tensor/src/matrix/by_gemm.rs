//! Products in f32 by the `gemm` crate.

use std::ops::RangeInclusive;

use super::blocks::{Blocks, SMALL_PRODUCT_IN_F32};
use super::grouped::FEWEST_ROWS;
use super::{Matrix, rows_of, turned};
use crate::parallel::RowParts;

/// Rows of a block, so that the left side's stay in the second cache from one block of columns to the next.
const ROWS_OF_GEMM: RangeInclusive<usize> = FEWEST_ROWS..=384;
/// The same where the right side is read transposed: it is turned or packed anew for every block of rows.
const ROWS_OF_TRANSPOSED: RangeInclusive<usize> = 384..=usize::MAX;

/// `result = left · right`, with left [rows, inner] and right [inner, columns]; then `finish(row, first column, values)` for each
/// part of a row.
pub(super) fn gemm_product_then(
    result: &mut [f32],
    left: Matrix<'_>,
    right: Matrix<'_>,
    [inner, columns]: [usize; 2],
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let rows = rows_of(result, left, right, [inner, columns]);
    let result = RowParts::new(result, columns);
    let rows_of_block = if right.is_row_major() { ROWS_OF_GEMM } else { ROWS_OF_TRANSPOSED };
    Blocks::new([rows, inner, columns], rows_of_block, SMALL_PRODUCT_IN_F32).for_each(|rows, columns| {
        let left = left.beginning_at(rows.start, 0);
        let product = |right: Matrix<'_>| {
            // SAFETY: both sides cover their shapes, and the blocks of the result are disjoint.
            unsafe {
                gemm::gemm(
                    rows.len(),
                    columns.len(),
                    inner,
                    result.pointer(rows.start, columns.start),
                    1,
                    result.columns() as isize,
                    false,
                    left.values.as_ptr(),
                    left.column_stride as isize,
                    left.row_stride as isize,
                    right.values.as_ptr(),
                    right.column_stride as isize,
                    right.row_stride as isize,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        };
        let part = right.beginning_at(0, columns.start);
        if right.is_row_major() || rows.len() < FEWEST_ROWS {
            product(part);
        } else {
            turned::with_rows_side_by_side(part, inner, columns.len(), product);
        }
        let first = columns.start;
        // SAFETY: the blocks are disjoint.
        unsafe { result.for_each_row(rows, columns, |row, values| finish(row, first, values)) };
    });
}
