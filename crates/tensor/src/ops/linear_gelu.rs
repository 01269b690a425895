//! Rows through a matrix and GELU, in one pass: Y = gelu(X W + b).
//!
//! ```text
//! X [rows, inputs]   W [inputs, outputs]   b [outputs]   →   Y [rows, outputs]
//! Z = X W + b        Y = Z ⊙ Φ(Z)          D = Φ(Z) + Z ⊙ φ(Z)
//! dZ = dY ⊙ D        dX = dZ Wᵀ            dW = Xᵀ dZ              db = Σ_rows dZ
//! ```
//!
//! Kept for the backward: X, W, D. Y and D share the normal distribution's Φ, so D costs little while Z is near.

use super::linear::{check, gradients_of_product, rows_through};
use crate::cuda::{Argument, Gpu, Grid};
use crate::lanes::vectorized;
use crate::normal_distribution::standard_normal;
use crate::parallel::RowParts;
use crate::parallel::for_each_row_block;
use crate::{Buffer, Gradient, Operation, Result, Tensor, memory};

/// gelu(X W + b) of X `[rows, inputs]`, W `[inputs, outputs]` and b `[outputs]`: `[rows, outputs]`.
///
/// # Errors
/// W is no matrix, X has another number of columns, b another number of values.
pub fn linear_gelu(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let [rows, outputs] = check("linear_gelu", x, weight, Some(bias))?;
    let is_tracked = [x, weight, bias].iter().any(|input| input.is_tracked());
    let kept_rows = if is_tracked { rows } else { 0 };
    let operation =
        |derivative| LinearGelu { x: x.clone(), weight: weight.clone(), bias: bias.clone(), derivative };
    if let Some(gpu) = Gpu::of([x, weight])? {
        let z = gpu.product(weight.precision(), x.into(), weight.into(), Some(bias))?;
        let count = rows * outputs;
        let (y, derivative) = (gpu.allocate(count)?, gpu.allocate(kept_rows * outputs)?);
        let of_derivative = if is_tracked { Argument::from(&derivative) } else { Argument::NULL };
        let arguments = [Argument::from(&z), Argument::from(&y), of_derivative, count.into()];
        gpu.launch("activation", "gelu_and_derivative", Grid::over(count), &arguments)?;
        let derivative = Tensor::on_gpu(derivative, &[kept_rows, outputs]);
        return Ok(Buffer::on_gpu(y, &[rows, outputs]).recorded(operation(derivative)));
    }
    let mut y = memory::overwritable(rows * outputs);
    let mut derivative = memory::overwritable(kept_rows * outputs);
    let derivatives = RowParts::new(&mut derivative, outputs);
    rows_through(weight, x, &mut y, |row, first, y| {
        let columns = first..first + y.len();
        let bias = &bias.data()[columns.clone()];
        if is_tracked {
            // SAFETY: each part of a row is finished once.
            let derivative = unsafe { derivatives.part(row, columns) };
            values_and_derivatives(y, derivative, bias);
        } else {
            values(y, bias);
        }
    });
    let derivative = Tensor::of(derivative, &[kept_rows, outputs])?;
    Ok(Buffer::new(y, &[rows, outputs])?.recorded(operation(derivative)))
}

vectorized! {
    /// y ← gelu(y + b).
    pub(super) fn values(y: &mut [f32], bias: &[f32]) {
        for (y, b) in y.iter_mut().zip(bias) {
            let z = *y + b;
            *y = z * standard_normal(z).0;
        }
    }
}

vectorized! {
    /// The same, and the derivative.
    pub(super) fn values_and_derivatives(y: &mut [f32], derivative: &mut [f32], bias: &[f32]) {
        for ((y, derivative), b) in y.iter_mut().zip(derivative).zip(bias) {
            let z = *y + b;
            let (distribution, density) = standard_normal(z);
            *y = z * distribution;
            *derivative = distribution + z * density;
        }
    }
}

vectorized! {
    /// dz ← d ⊙ dy.
    fn multiply(dz: &mut [f32], derivative: &[f32], dy: &[f32]) {
        for ((dz, derivative), dy) in dz.iter_mut().zip(derivative).zip(dy) {
            *dz = derivative * dy;
        }
    }
}

struct LinearGelu {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    /// D, `[rows, outputs]`.
    derivative: Tensor,
}

impl Operation for LinearGelu {
    fn name(&self) -> &'static str {
        "linear_gelu"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.weight, &self.bias]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let dz = gradient_of_sum(&self.derivative, gradient)?;
        Ok(gradients_of_product(&self.x, &self.weight, Some(&self.bias), &dz)?.into())
    }
}

/// dZ = dY ⊙ D.
pub(super) fn gradient_of_sum(derivative: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if let Some(gpu) = Gpu::of([derivative, dy])? {
        let dz = gpu.value_by_value("arithmetic", "multiply", &[derivative, dy])?;
        return Ok(Tensor::on_gpu(dz, dy.shape()));
    }
    let mut dz = memory::overwritable(dy.len());
    for_each_row_block(&mut dz, 1, |first, dz| {
        multiply(dz, &derivative.data()[first..], &dy.data()[first..]);
    });
    Tensor::of(dz, dy.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{gelu, linear};
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};

    fn inputs(rows: usize, inputs: usize, outputs: usize) -> [Tensor; 3] {
        [sample(&[rows, inputs], 1), sample(&[inputs, outputs], 2), sample(&[outputs], 3)]
    }

    #[test]
    fn gradients_agree_with_differences() {
        for (rows, width, outputs) in [(1, 1, 1), (1, 5, 3), (7, 1, 2), (17, 6, 5)] {
            check_gradients(&inputs(rows, width, outputs), |t| linear_gelu(&t[0], &t[1], &t[2]));
        }
    }

    #[test]
    fn it_is_gelu_after_linear() {
        let inputs = inputs(100, 130, 140);
        let expected = gelu(&linear(&inputs[0], &inputs[1], Some(&inputs[2])).unwrap()).unwrap();
        let untracked = linear_gelu(&inputs[0], &inputs[1], &inputs[2]).unwrap();
        assert_close(untracked.data(), expected.data(), 0.0);
        let tracked = linear_gelu(&inputs[0].leaf(), &inputs[1], &inputs[2]).unwrap();
        assert_close(tracked.data(), expected.data(), 0.0);
    }

    #[test]
    fn no_rows_are_no_fault() {
        let [_, weight, bias] = inputs(0, 3, 2);
        let y = linear_gelu(&Tensor::zeros(&[0, 3]).leaf(), &weight, &bias).unwrap();
        assert_eq!(y.shape(), [0, 2]);
        assert!(linear_gelu(&Tensor::zeros(&[1, 4]), &weight, &bias).is_err());
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let inputs = inputs(385, 128, 512);
        assert_same_on_threads(|| {
            let leaves = inputs.each_ref().map(Tensor::leaf);
            let y = linear_gelu(&leaves[0], &leaves[1], &leaves[2]).unwrap();
            let mut results = vec![y.data().to_vec()];
            let gradients = y.backward_from(sample(&[385, 512], 4)).unwrap();
            results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
            results
        });
    }
}
