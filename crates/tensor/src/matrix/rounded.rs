//! A matrix rounded to bf16 whose values are f32 all the same: what products in f32 read of it is what those of bf16 do.

use super::Matrix;
use crate::lanes::vectorized;
use crate::memory::{self, Values};
use crate::parallel::for_each_row_block;

/// A matrix that lies as the one it was made of.
pub(super) struct Rounded {
    values: Values,
    /// Values that lie side by side.
    line: usize,
    is_row_major: bool,
}

impl Rounded {
    /// Rounds a matrix `[rows, columns]`.
    pub(super) fn new(matrix: Matrix<'_>, rows: usize, columns: usize) -> Self {
        let is_row_major = matrix.is_row_major();
        let line = if is_row_major { columns } else { rows };
        let mut values = memory::overwritable(rows * columns);
        for_each_row_block(&mut values, line, |first, block| {
            for (index, rounded) in (first..).zip(block.chunks_exact_mut(line)) {
                round(matrix.line(index, line), rounded);
            }
        });
        Self { values, line, is_row_major }
    }

    pub(super) fn matrix(&self) -> Matrix<'_> {
        let matrix = Matrix::new(&self.values, self.line);
        if self.is_row_major { matrix } else { matrix.transposed() }
    }

    /// The values, where they lie row after row.
    pub(super) fn row_major(&self) -> Option<&[f32]> {
        self.is_row_major.then_some(&self.values)
    }
}

vectorized! {
    fn round(values: &[f32], rounded: &mut [f32]) {
        for (rounded, value) in rounded.iter_mut().zip(values) {
            *rounded = nearest(*value);
        }
    }
}

/// The nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
fn nearest(value: f32) -> f32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let nearest = if value.is_nan() { bits | 0x40_0000 } else { nearest };
    f32::from_bits(nearest & 0xffff_0000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_place_has_its_value_rounded(rows in 1usize..70, columns in 1usize..70, transpose: bool) {
            let values = sample(&[rows, columns], 1);
            let matrix = if transpose { Matrix::new(values.data(), rows).transposed() } else { Matrix::new(values.data(), columns) };
            let rounded = Rounded::new(matrix, rows, columns);
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                prop_assert_eq!(rounded.matrix().at(row, column), nearest(matrix.at(row, column)));
            }
        }

        #[test]
        fn rounding_is_to_the_nearest_and_keeps_what_bf16_holds(value: f32) {
            let rounded = nearest(value);
            prop_assert_eq!(nearest(rounded).to_bits(), rounded.to_bits());
            // Half a unit of 8 bits of mantissa.
            prop_assert!((rounded - value).abs() <= value.abs() / 256.0 || !value.is_normal() || !rounded.is_finite());
        }
    }

    #[test]
    fn ties_go_to_even_and_nan_stays() {
        for (bits, expected) in
            [(0x3f80_8000, 0x3f80_0000), (0x3f81_8000, 0x3f82_0000), (0x3f80_8001, 0x3f81_0000)]
        {
            assert_eq!(nearest(f32::from_bits(bits)).to_bits(), expected);
        }
        assert!(nearest(f32::NAN).is_nan());
        assert!(nearest(f32::from_bits(0x7fff_ffff)).is_nan());
        assert_eq!(nearest(f32::INFINITY), f32::INFINITY);
        assert_eq!(nearest(f32::MAX), f32::INFINITY);
    }
}
