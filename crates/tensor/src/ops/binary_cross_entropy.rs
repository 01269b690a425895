//! Yes or no for each value: cross-entropy of σ(x) against a target in [0, 1], averaged over all values.
//!
//! ```text
//! X, T of one shape   →   a scalar
//! L = mean(−T log σ(X) − (1 − T) log(1 − σ(X))) = mean(max(X, 0) − X T + log(1 + e^−|X|))
//! dX = dL (σ(X) − T) / n
//! ```
//!
//! The second form neither overflows nor takes the logarithm of 0. Kept for the backward: X, T.

use crate::cuda::Gpu;
use crate::exponential::{exp, sigmoid};
use crate::parallel::for_each_row_block;
use crate::{Buffer, Device, Error, Gradient, Operation, Result, Tensor};

/// The mean binary cross-entropy of `logits` against `targets` in [0, 1], a constant of the same shape; a scalar, 0 of
/// no values.
///
/// # Errors
/// The shapes differ, or a target lies outside [0, 1] or is tracked. Targets on a GPU are not waited for: one outside
/// [0, 1] makes the loss NaN.
pub fn binary_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    check(logits, targets)?;
    let operation = BinaryCrossEntropy { logits: logits.clone(), targets: targets.clone() };
    if let Some(gpu) = Gpu::of([logits, targets])? {
        let (file, kernel) = ("binary_cross_entropy", "binary_cross_entropy_forward");
        let loss = gpu.mean_over_pairs(file, kernel, [logits, targets])?;
        return Ok(Buffer::on_gpu(loss, &[]).recorded(operation));
    }
    let mut losses = vec![0.0; logits.len()];
    for_each_row_block(&mut losses, 1, |first, losses| {
        let pairs = logits.data()[first..].iter().zip(&targets.data()[first..]);
        losses.iter_mut().zip(pairs).for_each(|(loss, (&x, t))| {
            *loss = x.max(0.0) - x * t + exp(-x.abs()).ln_1p();
        });
    });
    let total: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
    let mean = total / losses.len().max(1) as f64;
    Ok(Buffer::new(vec![mean as f32], &[])?.recorded(operation))
}

fn check(logits: &Tensor, targets: &Tensor) -> Result<()> {
    let refuse = |message: String| Err(Error::shape("binary_cross_entropy", message));
    if logits.shape() != targets.shape() {
        return refuse(format!(
            "logits are {:?}, targets {:?}: they need one shape",
            logits.shape(),
            targets.shape()
        ));
    }
    if targets.is_tracked() {
        return refuse("targets must be a constant: call detach() on them".into());
    }
    if targets.device() != Device::Cpu {
        return Ok(());
    }
    match targets.data().iter().position(|target| !(0.0..=1.0).contains(target)) {
        Some(i) => refuse(format!("targets must lie in [0, 1]; found {} at position {i}", targets.data()[i])),
        None => Ok(()),
    }
}

struct BinaryCrossEntropy {
    logits: Tensor,
    targets: Tensor,
}

impl Operation for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binary_cross_entropy"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.logits]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        if let Some(gpu) = Gpu::of([gradient, &self.logits, &self.targets])? {
            let (file, kernel) = ("binary_cross_entropy", "binary_cross_entropy_backward");
            let inputs = [&self.logits, &self.targets];
            let dx = gpu.mean_over_pairs_backward(file, kernel, inputs, gradient)?;
            return Ok(vec![Some(dx.into())]);
        }
        let share = gradient.item()? / self.logits.len().max(1) as f32;
        let mut dx = vec![0.0; self.logits.len()];
        for_each_row_block(&mut dx, 1, |first, dx| {
            let pairs = self.logits.data()[first..].iter().zip(&self.targets.data()[first..]);
            dx.iter_mut().zip(pairs).for_each(|(dx, (&x, t))| *dx = (sigmoid(x) - t) * share);
        });
        Ok(vec![Some(Tensor::new(dx, self.logits.shape())?.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        accelerators, assert_close, assert_same_on_threads, check_gradients, on_each_device, sample,
    };

    fn probabilities(shape: &[usize]) -> Tensor {
        Tensor::new(sample(shape, 9).data().iter().map(|value| 0.5 * (value + 1.0)).collect(), shape).unwrap()
    }

    fn loss_and_gradient(logits: &Tensor, targets: &Tensor) -> Vec<Vec<f32>> {
        times_and_gradient(1.0, logits, targets)
    }

    /// The loss, and the gradient of so many times it.
    fn times_and_gradient(factor: f32, logits: &Tensor, targets: &Tensor) -> Vec<Vec<f32>> {
        let logits = logits.leaf();
        let loss = binary_cross_entropy(&logits, targets).unwrap();
        let value = loss.data().to_vec();
        let gradients = loss.backward_from(Tensor::scalar(factor)).unwrap();
        vec![value, gradients.get(&logits).unwrap().values().to_vec()]
    }

    #[test]
    fn gradients_agree_with_differences() {
        for shape in [[1, 7], [5, 1], [9, 6]] {
            let targets = probabilities(&shape);
            check_gradients(&[sample(&shape, 1)], |t| binary_cross_entropy(&t[0], &targets));
        }
    }

    /// PyTorch 2.15, `binary_cross_entropy_with_logits` and its autograd in f64.
    #[test]
    fn agrees_with_torch() {
        let logits = Tensor::new(vec![0.5, -1.5, 20.0, -30.0, 0.0, 2.25], &[2, 3]).unwrap();
        let targets = Tensor::new(vec![1.0, 0.0, 0.25, 0.5, 0.75, 1.0], &[2, 3]).unwrap();
        let found = loss_and_gradient(&logits, &targets);
        assert_close(&found[0], &[5.2448072], 2e-7);
        let gradient = [-0.06292345, 0.030404255, 0.125, -0.083333336, -0.041666668, -0.015891576];
        assert_close(&found[1], &gradient, 1e-7);
    }

    #[test]
    fn far_logits_stay_finite() {
        let logits = Tensor::new(vec![1e4, -1e4, 1e4, -1e4], &[4]).unwrap();
        let targets = Tensor::new(vec![1.0, 0.0, 0.0, 1.0], &[4]).unwrap();
        on_each_device(|device| {
            let [logits, none] = [&logits, &Tensor::zeros(&[0, 2])].map(|tensor| tensor.to(device).unwrap());
            assert_eq!(loss_and_gradient(&logits, &targets), [vec![5e3], vec![0.0, 0.0, 0.25, -0.25]]);
            assert_eq!(loss_and_gradient(&none, &none), [vec![0.0], vec![]]);
        });
    }

    /// So often that gradients have a size of 1.
    #[test]
    fn many_values_give_the_same_on_each_device() {
        let (logits, targets) = (sample(&[385, 129], 1), probabilities(&[385, 129]));
        let expected = times_and_gradient(385.0 * 129.0, &logits, &targets);
        on_each_device(|device| {
            let found = times_and_gradient(385.0 * 129.0, &logits.to(device).unwrap(), &targets);
            assert_close(&found[0], &expected[0], 1e-6);
            assert_close(&found[1], &expected[1], 1e-6);
        });
    }

    #[test]
    fn a_target_on_a_gpu_that_is_no_probability_makes_the_loss_nan() {
        for device in accelerators() {
            let targets = Tensor::new(vec![0.0, 2.0], &[2]).unwrap().to(device).unwrap();
            let loss = binary_cross_entropy(&Tensor::zeros(&[2]), &targets).unwrap();
            assert!(loss.item().unwrap().is_nan());
        }
    }

    /// L(x, t) = L(−x, 1 − t): yes and no may change their names.
    #[test]
    fn yes_and_no_are_alike() {
        let (logits, targets) = (sample(&[5, 7], 1), probabilities(&[5, 7]));
        let turned = |tensor: &Tensor, from: f32| {
            Tensor::new(tensor.data().iter().map(|value| from - value).collect(), tensor.shape()).unwrap()
        };
        let found = loss_and_gradient(&turned(&logits, 0.0), &turned(&targets, 1.0));
        let expected = loss_and_gradient(&logits, &targets);
        assert_close(&found[0], &expected[0], 1e-6);
        assert_close(&found[1], &expected[1].iter().map(|value| -value).collect::<Vec<f32>>(), 1e-6);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let refused = |targets: &Tensor| {
            binary_cross_entropy(&Tensor::zeros(&[1, 2]), targets).unwrap_err().to_string()
        };
        let error = refused(&Tensor::zeros(&[2]));
        assert_eq!(error, "binary_cross_entropy: logits are [1, 2], targets [2]: they need one shape");
        let error = refused(&Tensor::new(vec![0.0, 2.0], &[1, 2]).unwrap());
        assert_eq!(error, "binary_cross_entropy: targets must lie in [0, 1]; found 2 at position 1");
        assert!(refused(&Tensor::full(&[1, 2], f32::NAN)).contains("found NaN"));
        assert!(refused(&Tensor::zeros(&[1, 2]).leaf()).contains("detach"));
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let (logits, targets) = (sample(&[385, 129], 1), probabilities(&[385, 129]));
        assert_same_on_threads(|| loss_and_gradient(&logits, &targets));
    }
}
