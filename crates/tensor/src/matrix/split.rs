//! Products in f32 by AMX, which multiplies bf16 some ten times as fast as vectors multiply f32: each value is split into three
//! bf16.
//!
//! ```text
//! x = x₁ + x₂ + x₃        x₁ = bf16(x)    x₂ = bf16(x − x₁)    x₃ = x − x₁ − x₂
//! x y ≈ x₁ y₁ + (x₁ y₂ + x₂ y₁ + x₂ y₂ + x₁ y₃ + x₃ y₁)
//! ```
//!
//! A bf16 has 8 bits of mantissa and an f32 24, so the three hold it wholly. The product of two bf16 is exact in f32, and what
//! is left out is below 2⁻²⁴ |x y|, half a unit of its last place: sums are as near as those of `gemm`. Two things differ. AMX
//! takes what is below 2⁻¹²⁶ for 0, also of the three and of their products, so that sizes below 2⁻¹⁰² are less exact. And where
//! a value is infinite, NaN, or beyond what bf16 can hold (3.39 · 10³⁸), its sums are NaN.
//!
//! A block's part of both sides is split by the thread that multiplies it, and stays in its second cache. A long inner dimension
//! is cut, and the sums over its cuts are added from the first to the last.
//!
//! Source: G. Henry, P. T. P. Tang, A. Heinecke: Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
//! Computations (2019), section II.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::grouped::FEWEST_ROWS;
use super::kernel::{Group, Kernel, PANEL, PARTS, Place, Right, SplitPair};
use super::packing::{groups, pack_left, pack_right};
use super::{Matrix, rows_of};
use crate::lanes::add;
use crate::memory::{self, Workspace};
use crate::parallel::{RowParts, for_each_row_block, hand_out};

/// Rows, inner values and columns that a product has at least: for less, splitting takes longer than it saves.
const SMALLEST: [usize; 3] = [FEWEST_ROWS, 64, 64];
/// Rows and inner values of the left side that are split at a time, at most.
const ROWS: usize = 416;
const INNER: usize = 416;
/// Cuts of the inner dimension whose sums are held at a time, at most.
const INNER_CUTS: usize = 4;
/// Columns of the right side that are split at a time: an eighth of all, within these.
const FEWEST_COLUMNS: usize = 96;
const MOST_COLUMNS: usize = 192;
/// Blocks for each thread, where there are rows enough. No value depends on which rows a block has.
const BLOCKS_A_THREAD: usize = 2;

/// The kernel for a product of these rows, inner values and columns, where it is faster than one in f32.
pub(super) fn kernel_for(shape: [usize; 3]) -> Option<Kernel> {
    let pays = shape.into_iter().zip(SMALLEST).all(|(length, smallest)| length >= smallest);
    SplitPair::fastest().filter(|_| pays)
}

/// `result = left · right`, with left [rows, inner] and right [inner, columns], none of which is 0; then
/// `finish(row, first column, values)` for each part of a row.
///
/// # Safety
/// The processor [has the kernel](Group::runs_on).
pub(super) unsafe fn split_product_then(
    kernel: Kernel,
    result: &mut [f32],
    left: Matrix<'_>,
    right: Matrix<'_>,
    [inner, columns]: [usize; 2],
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let count = result.len();
    let rows = rows_of(result, left, right, [inner, columns]);
    let product = Product::new(kernel, left, right, [rows, columns]);
    let inner_cuts: Vec<_> = cuts(inner, inner.div_ceil(INNER)).collect();
    let is_whole = inner_cuts.len() == 1;
    // The sums over the first cut go to the result, to which the others' are added.
    let held = if inner_cuts.len() > INNER_CUTS { INNER_CUTS } else { inner_cuts.len() - 1 };
    let mut others = memory::overwritable(held * count);
    for (round, inner_cuts_at_once) in inner_cuts.chunks(INNER_CUTS).enumerate() {
        let own = (round == 0).then_some(&mut *result);
        let sums = own.into_iter().chain(others.chunks_exact_mut(count));
        let sums: Vec<_> = sums.map(|sums| RowParts::new(sums, columns)).collect();
        // SAFETY: the caller has checked the processor; the blocks are disjoint.
        unsafe {
            product.sums(inner_cuts_at_once, &sums, |sums, rows, columns| {
                let first = columns.start;
                if is_whole {
                    sums.for_each_row(rows, columns, |row, values| finish(row, first, values));
                }
            });
        }
        if !is_whole {
            let added = inner_cuts_at_once.len() - usize::from(round == 0);
            let added = &others[..added * count];
            let is_last = (round + 1) * INNER_CUTS >= inner_cuts.len();
            for_each_row_block(result, columns, |first, rows| {
                for (row, values) in (first..).zip(rows.chunks_exact_mut(columns)) {
                    added.chunks_exact(count).for_each(|sums| add(values, &sums[row * columns..]));
                    if is_last {
                        finish(row, 0, values);
                    }
                }
            });
        }
    }
}

/// So many ranges of about one length; all but the last end with a whole panel.
fn cuts(length: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let end = move |cut: usize| length.min(length.div_ceil(PANEL) * cut / count * PANEL);
    (0..count).map(move |cut| end(cut)..end(cut + 1))
}

/// What is multiplied.
struct Product<'a> {
    /// No other product has it.
    number: usize,
    kernel: Kernel,
    left: Matrix<'a>,
    right: Matrix<'a>,
    /// Of the result.
    rows: usize,
    columns: usize,
}

/// What a thread has split.
#[derive(Default)]
struct Scratch {
    left: Workspace,
    right: Workspace,
    /// The product, first row and first inner value of the left side's part.
    left_of: Option<[usize; 3]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<'a> Product<'a> {
    fn new(kernel: Kernel, left: Matrix<'a>, right: Matrix<'a>, [rows, columns]: [usize; 2]) -> Self {
        static PRODUCTS: AtomicUsize = AtomicUsize::new(0);
        let number = PRODUCTS.fetch_add(1, Ordering::Relaxed);
        Self { number, kernel, left, right, rows, columns }
    }

    /// The sums over some cuts of the inner dimension, each on its own; `then` gets each block of them.
    ///
    /// # Safety
    /// The processor has the kernel.
    unsafe fn sums(
        &self,
        inner_cuts: &[Range<usize>],
        sums: &[RowParts<'_>],
        then: impl Fn(&RowParts<'_>, Range<usize>, Range<usize>) + Sync,
    ) {
        let width = (self.columns / 8).clamp(FEWEST_COLUMNS, MOST_COLUMNS);
        let column_cuts = self.columns.div_ceil(width);
        let wanted = BLOCKS_A_THREAD * rayon::current_num_threads() / (inner_cuts.len() * column_cuts);
        let row_cuts = wanted.min(self.rows / FEWEST_ROWS).max(self.rows.div_ceil(ROWS));
        let mut blocks = Vec::new();
        for rows in cuts(self.rows, row_cuts) {
            for (inner, sums) in inner_cuts.iter().zip(sums) {
                blocks.extend(
                    cuts(self.columns, column_cuts).map(|columns| (rows.clone(), inner, columns, sums)),
                );
            }
        }
        let inner: usize = inner_cuts.iter().map(|cut| cut.len()).sum();
        hand_out(self.rows * inner * self.columns, blocks.into_iter(), |(rows, inner, columns, sums)| {
            // SAFETY: the caller has checked the processor; the blocks are disjoint.
            unsafe { self.block(&rows, inner, &columns, sums) };
            then(sums, rows, columns);
        });
    }

    /// A block of the sums over one cut. The left side's part is often that of the block before, and then is split already.
    ///
    /// # Safety
    /// The processor has the kernel; the block of the sums is the caller's alone.
    unsafe fn block(
        &self,
        rows: &Range<usize>,
        inner: &Range<usize>,
        columns: &Range<usize>,
        sums: &RowParts<'_>,
    ) {
        let groups = groups::<PARTS>(self.kernel, inner.len());
        SCRATCH.with_borrow_mut(|scratch| {
            let left = bytemuck::cast_slice_mut(scratch.left.overwritable(rows.len() * groups));
            let left_of = Some([self.number, rows.start, inner.start]);
            if scratch.left_of != left_of {
                let matrix = self.left.beginning_at(rows.start, inner.start);
                scratch.left_of = None;
                pack_left::<PARTS>(matrix, inner.len(), groups, left);
                scratch.left_of = left_of;
            }
            let panels = scratch.right.overwritable(columns.len().next_multiple_of(PANEL) * groups);
            let panels = bytemuck::cast_slice_mut(panels);
            let matrix = self.right.beginning_at(inner.start, columns.start);
            pack_right::<PARTS>(matrix, inner.len(), columns.len(), groups, panels);
            let right = Right { panels, starts: None, groups };
            // SAFETY: the caller's promises.
            unsafe {
                let place = Place { first: sums.pointer(rows.start, columns.start), stride: sums.columns() };
                SplitPair::block(self.kernel, left, right, 0..rows.len(), 0..columns.len(), place);
            }
        });
    }
}

#[cfg(test)]
mod tests;
