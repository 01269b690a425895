use polytask_tensor::Gradient;
use rayon::prelude::*;

/// Shortens all gradients together to `max_norm` where their norm is greater, and returns the norm they had.
///
/// ```text
/// g ← g · min(1, max_norm / ‖g‖)      ‖g‖² = Σ over all values of all gradients
/// ```
///
/// Each gradient's own sum is taken on one thread and the sums are added in order: the same bits at any thread count.
pub fn clip_by_norm(gradients: &mut [&mut Gradient], max_norm: f32) -> f64 {
    let squares = |gradient: &&mut Gradient| -> f64 {
        gradient.values().iter().map(|&value| f64::from(value) * f64::from(value)).sum()
    };
    let sums: Vec<f64> = gradients.par_iter().map(squares).collect();
    let norm = sums.iter().sum::<f64>().sqrt();
    if max_norm > 0.0 && norm > f64::from(max_norm) {
        let factor = (f64::from(max_norm) / norm) as f32;
        gradients.par_iter_mut().for_each(|gradient| {
            gradient.update(|values| values.iter_mut().for_each(|value| *value *= factor));
        });
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::{RowGradient, Tensor};

    #[test]
    fn dense_and_sparse_gradients_share_one_norm() {
        let mut dense = Gradient::Dense(Tensor::new(vec![3.0, 0.0], &[2]).unwrap());
        let values = Tensor::new(vec![0.0, 4.0], &[1, 2]).unwrap();
        let mut sparse = Gradient::Rows(RowGradient { rows: vec![7], values, total_rows: 9 });
        assert_eq!(clip_by_norm(&mut [&mut dense, &mut sparse], 10.0), 5.0);
        assert_eq!(dense.values(), [3.0, 0.0]);
        assert_eq!(clip_by_norm(&mut [&mut dense, &mut sparse], 1.0), 5.0);
        assert!((dense.values()[0] - 0.6).abs() < 1e-7 && (sparse.values()[1] - 0.8).abs() < 1e-7);
        assert_eq!(clip_by_norm(&mut [&mut dense], 0.0), f64::from(0.6f32));
    }
}
