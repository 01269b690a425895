//! Products of groups, block by block.

use std::ops::RangeInclusive;

use super::blocks::Blocks;
use super::kernel::{Group, Kernel, Place, Right};
use crate::parallel::RowParts;

/// Rows that a block has at least.
pub(super) const FEWEST_ROWS: usize = 96;
/// Rows of a block.
pub(super) const ROWS: RangeInclusive<usize> = FEWEST_ROWS..=usize::MAX;

/// `result = left · right` of left `[rows, groups]`, then `finish(row, first column, values)` for each part of a row of the
/// result, each value once, while it is still near. The shape is of numbers, not of groups: `[inner, columns]`.
///
/// # Safety
/// The processor [has the kernel](Group::runs_on).
pub(super) unsafe fn grouped_product_then<G: Group>(
    kernel: Kernel,
    result: &mut [f32],
    left: &[u32],
    right: Right<'_>,
    [inner, columns]: [usize; 2],
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let rows = result.len() / columns;
    assert!(
        result.len() == rows * columns && left.len() == rows * right.groups && right.covers(columns),
        "an operation asked for a product beyond its inputs"
    );
    let result = RowParts::new(result, columns);
    let blocks = match kernel {
        Kernel::Tiles => Blocks::of_tiles([rows, inner, columns]),
        Kernel::Vectors => Blocks::new([rows, inner, columns], ROWS, G::SMALL_PRODUCT),
    };
    blocks.for_each(|rows, columns| {
        // SAFETY: the caller has checked the processor; both sides cover the result, whose blocks are disjoint and begin with
        // a panel.
        unsafe {
            let place = Place { first: result.pointer(rows.start, columns.start), stride: result.columns() };
            G::block(kernel, left, right, rows.clone(), columns.clone(), place);
        }
        let first = columns.start;
        // SAFETY: the blocks are disjoint.
        unsafe { result.for_each_row(rows, columns, |row, values| finish(row, first, values)) };
    });
}
