//! Products in f32 by AMX, which multiplies bf16 some ten times as fast as vectors multiply f32: each value is split into three
//! bf16.
//!
//! ```text
//! x = x₁ + x₂ + x₃        x₁ = bf16(x)    x₂ = bf16(x − x₁)    x₃ = x − x₁ − x₂
//! x y ≈ x₁ y₁ + (x₁ y₂ + x₂ y₁ + x₂ y₂ + x₁ y₃ + x₃ y₁)
//! ```
//!
//! A bf16 has 8 bits of mantissa and an f32 24, so the three hold it wholly. The product of two bf16 is exact in f32, and what
//! is left out is below 2⁻²⁴ |x y|, half a unit of its last place: sums are as near as those of `gemm`. Two things differ.
//! Values below 2⁻¹¹⁰ lose what bf16 cannot hold, and where a value is not finite, its sums are NaN.
//!
//! A block's part of both sides is split where it is used, by the thread that uses it, and stays in its second cache. A long
//! inner dimension falls into parts, whose sums are then added from the first to the last.
//!
//! Source: G. Henry, P. T. P. Tang, A. Heinecke: Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
//! Computations (2019), section II.

use std::cell::RefCell;
use std::iter::once;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kernel::{Group, Kernel, PANEL, PARTS, Place, Right, SplitPair};
use super::packing::{groups, pack_left, pack_right};
use super::{Matrix, RowParts};
use crate::lanes::add;
use crate::memory::{self, AlignedWords};
use crate::parallel::{for_each, for_each_row_block};

/// Rows, inner values and columns that a product has at least: for less, splitting takes longer than it saves.
const SMALLEST: [usize; 3] = [96, 64, 64];
/// Rows and inner values of the left side that are split at a time, at most.
const ROWS: usize = 416;
const INNER: usize = 416;
/// Columns of the right side that are split at a time: an eighth of all, within these.
const FEWEST_COLUMNS: usize = 96;
const MOST_COLUMNS: usize = 192;

/// The kernel for a product of these rows, inner values and columns, where it is faster than one in f32.
pub(super) fn kernel_for(shape: [usize; 3]) -> Option<Kernel> {
    let pays = shape.into_iter().zip(SMALLEST).all(|(length, smallest)| length >= smallest);
    SplitPair::fastest().filter(|_| pays)
}

/// `result = left · right`, with left [rows, inner] and right [inner, columns]; then `finish(row, first column, values)` for
/// each part of a row.
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
    let (count, rows) = (result.len(), result.len() / columns);
    let inner_parts: Vec<_> = parts(inner, inner.div_ceil(INNER)).collect();
    let is_whole = inner_parts.len() == 1;
    // The first part's sums go to the result, to which the others' are added in the end.
    let mut others = memory::overwritable((inner_parts.len() - 1) * count);
    let sums: Vec<_> = once(&mut *result)
        .chain(others.chunks_exact_mut(count))
        .map(|sums| RowParts::new(sums, columns))
        .collect();
    let column_parts = columns.div_ceil((columns / 8).clamp(FEWEST_COLUMNS, MOST_COLUMNS));
    let product = Product::new(kernel, left, right);
    let mut blocks = Vec::new();
    for rows in parts(rows, rows.div_ceil(ROWS)) {
        for (inner, sums) in inner_parts.iter().zip(&sums) {
            blocks.extend(parts(columns, column_parts).map(|columns| (rows.clone(), inner, columns, sums)));
        }
    }
    for_each(blocks, |(rows, inner, columns, sums)| {
        // SAFETY: the caller has checked the processor; the blocks are disjoint.
        unsafe {
            product.block(&rows, inner, &columns, sums);
            if is_whole {
                let first = columns.start;
                sums.for_each_row(rows, columns, |row, values| finish(row, first, values));
            }
        }
    });
    if !is_whole {
        for_each_row_block(result, columns, |first, rows| {
            for (row, values) in (first..).zip(rows.chunks_exact_mut(columns)) {
                others.chunks_exact(count).for_each(|sums| add(values, &sums[row * columns..]));
                finish(row, 0, values);
            }
        });
    }
}

/// So many ranges of one length, a multiple of [`PANEL`], or fewer; the last may be shorter.
fn parts(length: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let of_part = length.div_ceil(count).next_multiple_of(PANEL);
    (0..length).step_by(of_part).map(move |first| first..length.min(first + of_part))
}

/// What is multiplied.
struct Product<'a> {
    /// No other product has it.
    number: usize,
    kernel: Kernel,
    left: Matrix<'a>,
    right: Matrix<'a>,
}

/// What a thread has split.
#[derive(Default)]
struct Scratch {
    left: Option<AlignedWords>,
    right: Option<AlignedWords>,
    /// The product, first row and first inner value of the left part.
    left_of: Option<[usize; 3]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<'a> Product<'a> {
    fn new(kernel: Kernel, left: Matrix<'a>, right: Matrix<'a>) -> Self {
        static PRODUCTS: AtomicUsize = AtomicUsize::new(0);
        Self { number: PRODUCTS.fetch_add(1, Ordering::Relaxed), kernel, left, right }
    }

    /// Sums over a part of the inner dimension. The left part is that of the block before where rows and inner values are, and
    /// then is split already.
    ///
    /// # Safety
    /// The processor has the kernel; both sides cover the block, whose sums are the caller's alone.
    unsafe fn block(
        &self,
        rows: &Range<usize>,
        inner: &Range<usize>,
        columns: &Range<usize>,
        sums: &RowParts<'_>,
    ) {
        let groups = groups::<PARTS>(self.kernel, inner.len());
        SCRATCH.with_borrow_mut(|scratch| {
            let left = words(&mut scratch.left, rows.len() * groups);
            let left_of = Some([self.number, rows.start, inner.start]);
            if scratch.left_of != left_of {
                let matrix = self.left.beginning_at(rows.start, inner.start);
                pack_left::<PARTS>(matrix, inner.len(), groups, left);
                scratch.left_of = left_of;
            }
            let panels = words(&mut scratch.right, columns.len().next_multiple_of(PANEL) * groups);
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

/// So many words, in memory that is kept where it suffices.
fn words(kept: &mut Option<AlignedWords>, length: usize) -> &mut [u32] {
    let sufficient = kept.take().filter(|words| words.len() >= length);
    &mut kept.insert(sufficient.unwrap_or_else(|| AlignedWords::overwritable(length)))[..length]
}

#[cfg(test)]
mod tests {
    use super::super::by_gemm::gemm_product_then;
    use super::*;
    use crate::testing::{assert_same_on_threads, sample};
    use proptest::prelude::*;

    type Side<'a> = (&'a [f32], bool);

    /// Read transposed or not.
    fn matrix<'a>((values, is_transposed): Side<'a>, rows: usize, columns: usize) -> Matrix<'a> {
        if is_transposed { Matrix::new(values, rows).transposed() } else { Matrix::new(values, columns) }
    }

    fn product(
        kernel: Kernel,
        left: Side<'_>,
        right: Side<'_>,
        [rows, inner, columns]: [usize; 3],
    ) -> Vec<f32> {
        let mut result = vec![f32::NAN; rows * columns];
        let (left, right) = (matrix(left, rows, inner), matrix(right, inner, columns));
        // SAFETY: whoever asks has a kernel of this processor.
        unsafe { split_product_then(kernel, &mut result, left, right, [inner, columns], |_, _, _| {}) };
        result
    }

    fn product_by_gemm(left: Side<'_>, right: Side<'_>, [rows, inner, columns]: [usize; 3]) -> Vec<f32> {
        let mut result = vec![f32::NAN; rows * columns];
        let (left, right) = (matrix(left, rows, inner), matrix(right, inner, columns));
        gemm_product_then(&mut result, left, right, [inner, columns], |_, _, _| {});
        result
    }

    /// The greatest error beside the sum of |x y|, in units of 2⁻²⁴.
    fn greatest_error(
        found: &[f32],
        left: Matrix<'_>,
        right: Matrix<'_>,
        [rows, inner, columns]: [usize; 3],
    ) -> f64 {
        let mut greatest = 0.0f64;
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let terms = (0..inner).map(|k| f64::from(left.at(row, k)) * f64::from(right.at(k, column)));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
            greatest = greatest.max((f64::from(found[row * columns + column]) - sum).abs() / size);
        }
        greatest * f64::from(1 << 24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_for_all_sides_and_sizes(
            rows in 1usize..70, inner in 1usize..70, columns in 1usize..70,
            left_is_transposed: bool, right_is_transposed: bool,
        ) {
            let shape = [rows, inner, columns];
            let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
            let (a, b) = ((a.data(), left_is_transposed), (b.data(), right_is_transposed));
            for kernel in SplitPair::kernels() {
                let found = product(kernel, a, b, shape);
                let error = greatest_error(&found, matrix(a, rows, inner), matrix(b, inner, columns), shape);
                prop_assert!(error < 3.0, "{error} units");
            }
        }
    }

    /// Values of very different sizes, so that each part of them counts.
    #[test]
    fn is_as_near_as_gemm() {
        for shape @ [rows, inner, columns] in [[40, 300, 50], [20, 1500, 40], [100, 100, 100]] {
            let spread = |values: &[f32]| -> Vec<f32> {
                values
                    .iter()
                    .enumerate()
                    .map(|(i, value)| value * 2.0f32.powi((i % 23) as i32 - 11))
                    .collect()
            };
            let (a, b) =
                (spread(sample(&[rows, inner], 1).data()), spread(sample(&[inner, columns], 2).data()));
            let (a, b) = ((&a[..], false), (&b[..], true));
            let error = |found: &[f32]| {
                greatest_error(found, matrix(a, rows, inner), matrix(b, inner, columns), shape)
            };
            for kernel in SplitPair::kernels() {
                let (found, of_gemm) =
                    (error(&product(kernel, a, b, shape)), error(&product_by_gemm(a, b, shape)));
                assert!(found <= of_gemm, "{shape:?}: {found} units, gemm {of_gemm}");
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        for shape @ [rows, inner, columns] in
            [[385, 128, 512], [500, 900, 100], [100, 1536, 384], [1000, 70, 65]]
        {
            let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
            for kernel in SplitPair::kernels() {
                assert_same_on_threads(|| vec![product(kernel, (a.data(), true), (b.data(), false), shape)]);
            }
        }
    }

    #[test]
    fn each_value_is_finished_once() {
        for [rows, inner, columns] in [[450, 100, 250], [450, 900, 250]] {
            let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
            let (left, right) = (Matrix::new(a.data(), inner), Matrix::new(b.data(), columns));
            for kernel in SplitPair::kernels() {
                let before = product(kernel, (a.data(), false), (b.data(), false), [rows, inner, columns]);
                let mut after = vec![f32::NAN; rows * columns];
                let add_place = |row: usize, first: usize, values: &mut [f32]| {
                    values.iter_mut().enumerate().for_each(|(i, value)| *value += (row + first + i) as f32);
                };
                // SAFETY: a kernel of this processor.
                unsafe { split_product_then(kernel, &mut after, left, right, [inner, columns], add_place) };
                for (i, (before, after)) in before.iter().zip(after).enumerate() {
                    assert_eq!(after, before + (i / columns + i % columns) as f32);
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_does_not_pass_for_a_number() {
        let ones = vec![1.0; 40 * 70];
        for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7fff_ffff)] {
            let mut with = ones.clone();
            with[3 * 40 + 5] = value;
            for (kernel, is_transposed) in
                SplitPair::kernels().flat_map(|kernel| [(kernel, false), (kernel, true)])
            {
                let on_the_left = product(kernel, (&with, is_transposed), (&ones, false), [40, 70, 40]);
                let on_the_right = product(kernel, (&ones, false), (&with, is_transposed), [40, 70, 40]);
                let nan = |found: &[f32]| found.iter().filter(|value| value.is_nan()).count();
                assert_eq!((nan(&on_the_left), nan(&on_the_right)), (40, 40));
            }
        }
    }
}
