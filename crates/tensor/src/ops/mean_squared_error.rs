//! The mean of squared differences, over all values.
//!
//! ```text
//! A, B of one shape   →   L = Σ (A − B)² / n
//! dA = 2 dL (A − B) / n        dB = −dA
//! ```
//!
//! Kept for the backward: A, B.

use crate::cuda::Gpu;
use crate::{Buffer, Error, Gradient, Operation, Result, Tensor, ops::scale};

/// The mean of (A − B)² over all values, of one shape; a scalar, 0 of no values.
///
/// # Errors
/// The shapes differ.
pub fn mean_squared_error(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() {
        let message = format!("both sides need one shape; found {:?} and {:?}", a.shape(), b.shape());
        return Err(Error::shape("mean_squared_error", message));
    }
    let operation = MeanSquaredError { a: a.clone(), b: b.clone() };
    if let Some(gpu) = Gpu::of([a, b])? {
        let loss = gpu.mean_over_pairs("mean_squared_error", "mean_squared_error_forward", [a, b])?;
        return Ok(Buffer::on_gpu(loss, &[]).recorded(operation));
    }
    let squares = a.data().iter().zip(b.data()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    let mean = squares.sum::<f64>() / a.len().max(1) as f64;
    Ok(Buffer::new(vec![mean as f32], &[])?.recorded(operation))
}

struct MeanSquaredError {
    a: Tensor,
    b: Tensor,
}

impl MeanSquaredError {
    fn gradient_of_a(&self, gradient: &Tensor) -> Result<Tensor> {
        let Self { a, b } = self;
        if let Some(gpu) = Gpu::of([gradient, a, b])? {
            let (file, kernel) = ("mean_squared_error", "mean_squared_error_backward");
            return gpu.mean_over_pairs_backward(file, kernel, [a, b], gradient);
        }
        let factor = 2.0 * gradient.item()? / a.len().max(1) as f32;
        Tensor::new(a.data().iter().zip(b.data()).map(|(a, b)| factor * (a - b)).collect(), a.shape())
    }
}

impl Operation for MeanSquaredError {
    fn name(&self) -> &'static str {
        "mean_squared_error"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a, &self.b]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let da = self.gradient_of_a(gradient)?;
        let db = self.b.is_tracked().then(|| scale(&da, -1.0)).transpose()?;
        Ok(vec![Some(da.into()), db.map(Gradient::Dense)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, check_gradients, on_each_device, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for shape in [[1, 7], [5, 1], [9, 6]] {
            check_gradients(&[sample(&shape, 1), sample(&shape, 2)], |t| mean_squared_error(&t[0], &t[1]));
        }
    }

    /// PyTorch 2.15, `mse_loss` and its autograd in f64.
    #[test]
    fn agrees_with_torch() {
        let a = Tensor::new(vec![0.5, -1.5, 20.0, -30.0, 0.0, 2.25], &[2, 3]).unwrap().leaf();
        let b = Tensor::new(vec![1.0, 0.0, 0.25, 0.5, 0.75, 1.0], &[2, 3]).unwrap();
        let loss = mean_squared_error(&a, &b).unwrap();
        assert_close(loss.data(), &[220.82292], 1e-7);
        let gradients = loss.backward().unwrap();
        let expected = [-0.16666667, -0.5, 6.5833335, -10.166667, -0.25, 0.41666666];
        assert_close(gradients.get(&a).unwrap().values(), &expected, 2e-7);
    }

    #[test]
    fn equal_sides_have_no_error() {
        let a = sample(&[4, 3], 1).leaf();
        let loss = mean_squared_error(&a, &a.detach()).unwrap();
        assert_eq!(loss.item().unwrap(), 0.0);
        assert_eq!(loss.backward().unwrap().get(&a).unwrap().values(), [0.0; 12]);
        assert_eq!(
            mean_squared_error(&Tensor::zeros(&[0]), &Tensor::zeros(&[0])).unwrap().item().unwrap(),
            0.0
        );
    }

    /// So often that gradients have a size of 1.
    #[test]
    fn many_values_give_the_same_on_each_device() {
        let (a, b) = (sample(&[385, 129], 1), sample(&[385, 129], 2));
        let results = |a: &Tensor| {
            let a = a.leaf();
            let loss = mean_squared_error(&a, &b).unwrap();
            let value = loss.item().unwrap();
            let gradients = loss.backward_from(Tensor::scalar(385.0 * 129.0)).unwrap();
            (value, gradients.get(&a).unwrap().values().to_vec())
        };
        let expected = results(&a);
        on_each_device(|device| {
            let found = results(&a.to(device).unwrap());
            assert_close(&[found.0], &[expected.0], 1e-6);
            assert_close(&found.1, &expected.1, 1e-6);
        });
    }

    #[test]
    fn two_shapes_are_refused() {
        let error =
            mean_squared_error(&Tensor::zeros(&[2, 3]), &Tensor::zeros(&[2])).unwrap_err().to_string();
        assert_eq!(error, "mean_squared_error: both sides need one shape; found [2, 3] and [2]");
    }
}
