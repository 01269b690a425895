//! Loops over one row that become vector instructions; sums and maxima in eight lanes, an order that never changes.

const LANES: usize = 8;

/// sum += factor · x.
#[inline(always)]
pub(crate) fn add_scaled(sum: &mut [f32], factor: f32, x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x);
}

/// Σ term(a, b) over the pairs of two rows of one length.
#[inline(always)]
pub(crate) fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += term(a, b);
    }
    lanes.iter().sum()
}

/// Σ term(value) over a row.
#[inline(always)]
pub(crate) fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    sum_pairs(row, row, |value, _| term(value))
}

/// The greatest value of a row, NaN aside; −∞ where there is none.
pub(crate) fn max(row: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = greater(lanes[lane], block[lane]);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| greater(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_counts_once_at_any_length() {
        for length in [0u16, 1, 7, 8, 9, 16, 29] {
            let row: Vec<f32> = (1..=length).map(f32::from).collect();
            let n = f32::from(length);
            assert_eq!(sum(&row, |value| value), n * (n + 1.0) / 2.0);
            assert_eq!(sum_pairs(&row, &row, |a, b| a - 2.0 * b), -n * (n + 1.0) / 2.0);
        }
    }

    #[test]
    fn the_maximum_is_found_at_any_place() {
        for place in 0..19 {
            let mut row = [-3.0; 19];
            row[place] = -1.0;
            assert_eq!(max(&row), -1.0);
        }
        assert_eq!(max(&[f32::NAN, -2.0]), -2.0);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}
