//! The norm of all gradients together, and how much of it is left to them.

use polytask_tensor::prefetch::{STRIP, prefetch};
use polytask_tensor::{Gradient, map};
use pulp::{Arch, NullaryFnOnce};

/// Values that one thread sums at a time.
const BLOCK: usize = 16 * 1024;

/// Sums that run side by side in a block: enough to fill the vector units.
const LANES: usize = 16;

/// ‖g‖ = √ Σ g², over all values of all gradients.
///
/// Blocks of fixed size are summed in parallel, and their sums then added in order: the same bits at any thread count.
pub fn gradient_norm<'a>(gradients: impl IntoIterator<Item = &'a Gradient>) -> f64 {
    let blocks: Vec<&[f32]> =
        gradients.into_iter().flat_map(|gradient| gradient.values().chunks(BLOCK)).collect();
    let sums: Vec<f64> = map(blocks, |block| Arch::new().dispatch(SumOfSquares(block)));
    sums.iter().sum::<f64>().sqrt()
}

/// min(1, `max_norm` / `norm`): what gradients of that norm are multiplied by, so that theirs is `max_norm` at most. A
/// `max_norm` of 0 leaves them as they are.
pub fn clipping_factor(norm: f64, max_norm: f32) -> f32 {
    let max_norm = f64::from(max_norm);
    if max_norm > 0.0 && norm > max_norm { (max_norm / norm) as f32 } else { 1.0 }
}

struct SumOfSquares<'a>(&'a [f32]);

impl NullaryFnOnce for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let (blocks, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for strip in blocks.chunks(STRIP / LANES) {
            prefetch(strip.as_flattened());
            for block in strip {
                for lane in 0..LANES {
                    let value = f64::from(block[lane]);
                    lanes[lane] += value * value;
                }
            }
        }
        lanes.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::testing::{assert_same_on_threads, sample};
    use polytask_tensor::{RowGradient, Tensor};

    #[test]
    fn dense_and_sparse_gradients_share_one_norm() {
        let dense = Gradient::Dense(Tensor::new(vec![3.0, 0.0], &[2]).unwrap());
        let values = Tensor::new(vec![0.0, 4.0], &[1, 2]).unwrap();
        let sparse = Gradient::Rows(RowGradient { rows: vec![7], values, total_rows: 9 });
        assert_eq!(gradient_norm([&dense, &sparse]), 5.0);
        assert_eq!(gradient_norm([]), 0.0);
        assert!(gradient_norm([&Gradient::Dense(Tensor::full(&[1], f32::NAN)), &dense]).is_nan());
    }

    #[test]
    fn only_a_greater_norm_is_shortened() {
        assert_eq!(clipping_factor(5.0, 10.0), 1.0);
        assert_eq!(clipping_factor(5.0, 1.0), 0.2);
        assert_eq!(clipping_factor(5.0, 0.0), 1.0);
        assert_eq!(clipping_factor(0.0, 1.0), 1.0);
    }

    #[test]
    fn every_value_counts_once_at_any_thread_count() {
        let gradients = [1, LANES - 1, LANES + 1, BLOCK, 2 * BLOCK + 77]
            .map(|length| Gradient::Dense(sample(&[length], length as u64)));
        let one_by_one: f64 =
            gradients.iter().flat_map(Gradient::values).map(|&g| f64::from(g).powi(2)).sum();
        assert!((gradient_norm(&gradients) / one_by_one.sqrt() - 1.0).abs() < 1e-12);
        assert_same_on_threads(|| {
            let bits = gradient_norm(&gradients).to_bits();
            vec![vec![f32::from_bits((bits >> 32) as u32), f32::from_bits(bits as u32)]]
        });
    }
}
