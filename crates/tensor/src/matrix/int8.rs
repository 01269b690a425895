//! Products of 8-bit integers: a matrix with one scale a column, and rows quantized as they come, one scale each.
//!
//! ```text
//! W[k, c] ≈ q[k, c] · s_c      s_c = max_k |W[k, c]| / 127     q ∈ −127 … 127
//! X[r, k] ≈ p[r, k] · t_r      t_r = max_k |X[r, k]| / 127     p ∈ −127 … 127
//! (X W)[r, c] ≈ t_r s_c Σ_k p[r, k] q[k, c]
//! ```
//!
//! The sum is exact in 32 bits, up to [`LONGEST_SUM`] terms. Processors multiply unsigned bytes by signed ones: they are given
//! p + 128, and each column's sum starts from −128 Σ_k q[k, c].

use std::ops::Range;

use super::blocks::{Blocks, SMALL_PRODUCT};
use super::grouped::{ROWS, grouped_product_then};
use super::kernel::{Bytes, Group, Kernel, PANEL, Right};
use crate::lanes::vectorized;
use crate::memory::Words;
use crate::parallel::RowParts;
use crate::parallel::for_each;

/// The greatest quantized value.
const GREATEST: f32 = 127.0;
/// Terms whose sum cannot leave 32 bits: 255 · 127 each at most.
pub(crate) const LONGEST_SUM: usize = 66_000;
/// Bytes in a group.
const GROUP: usize = 4;
/// Values that one thread quantizes at a time, at least.
const VALUES_AT_ONCE: usize = 16 * 1024;

/// A matrix `[rows, columns]` of 8-bit integers with one scale a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Int8Matrix {
    /// q, row after row.
    pub(crate) values: Vec<i8>,
    /// s, one a column.
    pub(crate) scales: Vec<f32>,
}

impl Int8Matrix {
    /// The nearest of a matrix of `columns` columns. Values that are not finite count as 0.
    pub(crate) fn quantize(matrix: &[f32], columns: usize) -> Self {
        let mut scales = vec![0.0f32; columns];
        for row in matrix.chunks_exact(columns.max(1)) {
            for (greatest, value) in scales.iter_mut().zip(row).filter(|(_, value)| value.is_finite()) {
                *greatest = greatest.max(value.abs());
            }
        }
        scales.iter_mut().for_each(|scale| *scale /= GREATEST);
        let nearest = |(value, scale): (&f32, &f32)| match *scale > 0.0 {
            // `as` saturates, and turns NaN into 0.
            true => (value / scale).round_ties_even().clamp(-GREATEST, GREATEST) as i8,
            false => 0,
        };
        let rows = matrix.chunks_exact(columns.max(1));
        let values = rows.flat_map(|row| row.iter().zip(&scales).map(nearest)).collect();
        Self { values, scales }
    }

    /// q · s of one row.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = f32> {
        let values = &self.values[row * self.scales.len()..(row + 1) * self.scales.len()];
        values.iter().zip(&self.scales).map(|(&value, scale)| f32::from(value) * scale)
    }

    /// q · s of all rows.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        (0..self.values.len() / self.scales.len().max(1)).flat_map(|row| self.row(row)).collect()
    }
}

/// An [`Int8Matrix`] as the right side of a product, in the order in which it is read.
pub(crate) struct Int8Right {
    /// What the panels are for, if not for any processor.
    kernel: Option<Kernel>,
    /// `[⌈columns / 32⌉, groups, 32]` groups of four bytes along the inner dimension.
    panels: Words,
    /// −128 Σ_k q, one a column, filled up to whole panels.
    starts: Vec<i32>,
    scales: Vec<f32>,
    inner: usize,
    groups: usize,
}

impl Int8Right {
    pub(crate) fn new(matrix: &Int8Matrix) -> Self {
        Self::new_for(Bytes::fastest(), matrix)
    }

    /// For a kernel, or for any processor.
    fn new_for(kernel: Option<Kernel>, matrix: &Int8Matrix) -> Self {
        let columns = matrix.scales.len();
        let inner = matrix.values.len() / columns.max(1);
        let groups = inner.div_ceil(GROUP);
        let groups = kernel.map_or(groups, |kernel| kernel.filled_up(groups));
        let mut panels = Words::overwritable(columns.div_ceil(PANEL) * groups * PANEL);
        panels.fill(0);
        for_each(panels.chunks_mut((groups * PANEL).max(1)).enumerate(), |(panel, groups)| {
            let columns_of_panel = panel * PANEL..columns.min((panel + 1) * PANEL);
            for (row, values) in matrix.values.chunks_exact(columns).enumerate() {
                let groups = &mut groups[row / GROUP * PANEL..][..columns_of_panel.len()];
                let place = row % GROUP * 8;
                for (group, value) in groups.iter_mut().zip(&values[columns_of_panel.clone()]) {
                    *group |= u32::from(value.cast_unsigned()) << place;
                }
            }
        });
        let mut starts = vec![0; columns.next_multiple_of(PANEL)];
        for row in matrix.values.chunks_exact(columns.max(1)) {
            starts.iter_mut().zip(row).for_each(|(start, value)| *start -= 128 * i32::from(*value));
        }
        Self { kernel, panels, starts, scales: matrix.scales.clone(), inner, groups }
    }
}

/// `result = x · right` of x [rows, inner]; then `finish(row, first column, values)` for each part of a row.
pub(crate) fn product_int8_then(
    result: &mut [f32],
    x: &[f32],
    right: &Int8Right,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let (inner, groups, columns) = (right.inner, right.groups, right.scales.len());
    if result.is_empty() {
        return;
    }
    let rows = result.len() / columns;
    assert!(
        result.len() == rows * columns && x.len() == rows * inner,
        "an operation asked for a product beyond its inputs"
    );
    let mut left = Words::overwritable(rows * groups);
    let row_scales = quantize_rows(x, rows, &mut left, groups);
    let sides = Right { panels: &right.panels, starts: Some(&right.starts), groups };
    let scale_and_finish = |row: usize, first: usize, part: &mut [f32]| {
        multiply(part, &right.scales[first..first + part.len()], row_scales[row]);
        finish(row, first, part);
    };
    match right.kernel {
        // SAFETY: panels are made only for a kernel that the processor has.
        Some(kernel) => unsafe {
            grouped_product_then::<Bytes>(kernel, result, &left, sides, [inner, columns], scale_and_finish);
        },
        None => {
            let result = RowParts::new(result, columns);
            Blocks::new([rows, inner, columns], ROWS, SMALL_PRODUCT).for_each(|rows, columns| {
                let sums = |row: usize, part: &mut [f32]| {
                    row_sums(&left[row * groups..(row + 1) * groups], sides, columns.clone(), part);
                    scale_and_finish(row, columns.start, part);
                };
                // SAFETY: the blocks are disjoint.
                unsafe { result.for_each_row(rows, columns.clone(), sums) };
            });
        }
    }
}

vectorized! {
    /// Values times scales times a factor.
    fn multiply(values: &mut [f32], scales: &[f32], factor: f32) {
        for (value, scale) in values.iter_mut().zip(scales) {
            *value *= scale * factor;
        }
    }
}

/// Fills the groups with p + 128, and returns t of each row.
fn quantize_rows(x: &[f32], rows: usize, groups: &mut [u32], of_row: usize) -> Vec<f32> {
    let (inner, of_row) = ((x.len() / rows).max(1), of_row.max(1));
    let mut scales = vec![0.0; rows];
    let rows = VALUES_AT_ONCE.div_ceil(inner);
    let blocks = x.chunks(rows * inner).zip(groups.chunks_mut(rows * of_row)).zip(scales.chunks_mut(rows));
    for_each(blocks, |((x, groups), scales)| {
        let rows = x.chunks_exact(inner).zip(groups.chunks_exact_mut(of_row));
        for ((x, groups), scale) in rows.zip(scales) {
            *scale = quantize_row(x, bytemuck::cast_slice_mut(groups));
        }
    });
    scales
}

vectorized! {
    /// Fills one row's bytes with p + 128, and returns t.
    fn quantize_row(x: &[f32], bytes: &mut [u8]) -> f32 {
        /// Added to a small number, it leaves the nearest whole number, plus 128, in the lowest byte.
        const ROUNDING: f32 = 12_582_912.0 + 128.0;
        let magnitude = |value: &f32| value.to_bits() & 0x7fff_ffff;
        let greatest = f32::from_bits(x.iter().map(magnitude).max().unwrap_or(0));
        let factor = if greatest > 0.0 { GREATEST / greatest } else { 0.0 };
        let (filled, beyond) = bytes.split_at_mut(x.len());
        for (byte, x) in filled.iter_mut().zip(x) {
            *byte = (x * factor + ROUNDING).to_bits() as u8;
        }
        // The weights beyond are 0.
        beyond.fill(0);
        greatest / GREATEST
    }
}

vectorized! {
    /// The sums of some columns of one row where the processor has no instruction for them; the columns begin with a panel.
    fn row_sums(left: &[u32], right: Right<'_>, columns: Range<usize>, results: &mut [f32]) {
        let groups = right.groups;
        for (results, first) in results.chunks_mut(PANEL).zip(columns.step_by(PANEL)) {
            let mut sums: [i32; PANEL] =
                std::array::from_fn(|i| right.starts.map_or(0, |starts| starts[first + i]));
            let (panel, _) = right.panels[first * groups..][..groups * PANEL].as_chunks::<PANEL>();
            for (left, right) in left.iter().zip(panel) {
                let left = left.to_ne_bytes().map(i32::from);
                for (sum, right) in sums.iter_mut().zip(right) {
                    let right = right.to_le_bytes().map(|byte| i32::from(byte.cast_signed()));
                    *sum += left.iter().zip(right).map(|(left, right)| left * right).sum::<i32>();
                }
            }
            for (result, sum) in results.iter_mut().zip(sums) {
                *result = sum as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, sample};
    use proptest::prelude::*;

    fn kernels() -> impl Iterator<Item = Option<Kernel>> {
        Bytes::kernels().map(Some).chain([None])
    }

    fn product(x: &[f32], right: &Int8Right, rows: usize) -> Vec<f32> {
        let mut result = vec![f32::NAN; rows * right.scales.len()];
        product_int8_then(&mut result, x, right, |_, _, _| {});
        result
    }

    /// The formula, with exact sums.
    fn reference(x: &[f32], matrix: &Int8Matrix, inner: usize) -> Vec<f32> {
        let columns = matrix.scales.len();
        let row = |x: &[f32]| -> Vec<f32> {
            let greatest = x.iter().fold(0.0f32, |greatest, value| greatest.max(value.abs()));
            let scale = f64::from(greatest / 127.0);
            let p = |x: f32| if scale > 0.0 { (f64::from(x) / scale).round() } else { 0.0 };
            let sum = |c: usize| -> f64 {
                (0..inner).map(|k| p(x[k]) * f64::from(matrix.values[k * columns + c])).sum()
            };
            (0..columns).map(|c| (scale * f64::from(matrix.scales[c]) * sum(c)) as f32).collect()
        };
        x.chunks(inner).flat_map(row).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn all_kernels_follow_the_formula(rows in 1usize..40, inner in 1usize..70, columns in 1usize..70) {
            let (x, weight) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
            let matrix = Int8Matrix::quantize(weight.data(), columns);
            let portable = product(x.data(), &Int8Right::new_for(None, &matrix), rows);
            // A value half-way between two whole numbers may go either way: 1 / 254 of the greatest product a place.
            assert_close(&portable, &reference(x.data(), &matrix, inner), 2e-2);
            for kernel in kernels() {
                // Sums of whole numbers are exact.
                assert_close(&product(x.data(), &Int8Right::new_for(kernel, &matrix), rows), &portable, 0.0);
            }
        }
    }

    #[test]
    fn a_product_is_near_that_in_f32() {
        let (x, weight) = (sample(&[30, 300], 1), sample(&[300, 100], 2));
        let right = Int8Right::new(&Int8Matrix::quantize(weight.data(), 100));
        let found = product(x.data(), &right, 30);
        let mut expected = vec![0.0; 30 * 100];
        let (left, right) =
            (super::super::Matrix::new(x.data(), 300), super::super::Matrix::new(weight.data(), 100));
        super::super::product(&mut expected, left, right, 300, 100);
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v * v)).sum::<f64>().sqrt();
        let error = norm(&mut found.iter().zip(&expected).map(|(f, e)| f - e));
        // Two roundings of at most 1 / 254 of the greatest value each; for uniform values some 0.5 % of the norm.
        assert!(error / norm(&mut expected.into_iter()) < 0.01, "{error}");
    }

    #[test]
    fn quantized_values_are_within_half_a_step() {
        let weight = sample(&[50, 7], 1);
        let matrix = Int8Matrix::quantize(weight.data(), 7);
        for (i, (found, expected)) in matrix.to_f32().iter().zip(weight.data()).enumerate() {
            assert!((found - expected).abs() <= 0.501 * matrix.scales[i % 7], "{found} {expected}");
        }
        let odd = Int8Matrix::quantize(&[f32::NAN, 0.0, 2.0, 0.0, f32::INFINITY, 0.0], 2);
        assert_eq!(odd.values, [0, 0, 127, 0, 127, 0]);
        assert_eq!(Int8Matrix::quantize(&[], 3).to_f32(), [0.0; 0]);
    }

    #[test]
    fn rows_of_zeros_and_large_products_on_threads() {
        let (mut x, weight) = (sample(&[200, 130], 1).data().to_vec(), sample(&[130, 170], 2));
        x[..130].fill(0.0);
        for kernel in kernels() {
            let right = Int8Right::new_for(kernel, &Int8Matrix::quantize(weight.data(), 170));
            assert_eq!(product(&x, &right, 200)[..170], [0.0; 170]);
            assert_same_on_threads(|| vec![product(&x, &right, 200)]);
            let nothing = Int8Right::new_for(kernel, &Int8Matrix::quantize(&[], 3));
            assert_eq!(product(&[], &nothing, 2), [0.0; 6]);
        }
    }
}
