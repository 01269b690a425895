//! Rows through a matrix: Y = X W + b.
//!
//! ```text
//! X [rows, inputs]   W [inputs, outputs]   b [outputs]   →   Y [rows, outputs]
//! dX = dY Wᵀ         dW = Xᵀ dY            db = Σ_rows dY
//! ```
//!
//! W lies with the outputs side by side: so a product of few rows reads it as it is.
//!
//! Kept for the backward: X, W.

use crate::cuda::{Gpu, Side};
use crate::lanes::add;
use crate::matrix::{
    Bf16Right, Matrix, product_bf16_then, product_in, product_int8_then, product_of_kept_then, product_then,
};
use crate::parallel::sum_over_rows;
use crate::{Buffer, Error, Gradient, Operation, Precision, Result, Tensor, memory};

/// Y = X W + b of X `[rows, inputs]`, W `[inputs, outputs]` and, where given, b `[outputs]`.
///
/// # Errors
/// W is no matrix, X has another number of columns, b another number of values.
///
/// ```
/// # use polytask_tensor::{Tensor, ops::linear};
/// let x = Tensor::new(vec![1.0, 2.0], &[1, 2])?;
/// let weight = Tensor::new(vec![3.0, 4.0, 5.0, 6.0], &[2, 2])?;
/// assert_eq!(linear(&x, &weight, None)?.data(), [13.0, 16.0]);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let [rows, outputs] = check("linear", x, weight, bias)?;
    let operation = Linear { x: x.clone(), weight: weight.clone(), bias: bias.cloned() };
    if let Some(gpu) = Gpu::of([x, weight])? {
        let y = gpu.product(weight.precision(), x.into(), weight.into(), bias)?;
        return Ok(Buffer::on_gpu(y, &[rows, outputs]).recorded(operation));
    }
    let mut y = memory::overwritable(rows * outputs);
    rows_through(weight, x, &mut y, |_, first, y| {
        if let Some(bias) = bias {
            add(y, &bias.data()[first..]);
        }
    });
    Ok(Buffer::new(y, &[rows, outputs])?.recorded(operation))
}

/// The rows and outputs.
pub(super) fn check(
    operation: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<[usize; 2]> {
    let (rows, inputs) = x.rows_columns();
    let (weight_rows, outputs) = weight.rows_columns();
    if weight.shape().len() != 2 || weight_rows != inputs {
        let (x, found) = (x.shape(), weight.shape());
        let message = format!("x is {x:?}, so weight must be [{inputs}, outputs]; found {found:?}");
        return Err(Error::shape(operation, message));
    }
    if let Some(bias) = bias.filter(|bias| bias.shape() != [outputs]) {
        return Err(Error::shape(operation, format!("bias must be [{outputs}]; found {:?}", bias.shape())));
    }
    Ok([rows, outputs])
}

/// X W in the weight's numbers, then `finish(row, first column, values)` for each part of a row.
pub(super) fn rows_through(
    weight: &Tensor,
    x: &Tensor,
    result: &mut [f32],
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let (inputs, outputs) = weight.rows_columns();
    let left = Matrix::new(x.data(), inputs);
    if let Some(right) = weight.int8_right() {
        return product_int8_then(result, x.data(), right, finish);
    }
    if let Some(right) = weight.kept_f32_right(result.len() / outputs.max(1)) {
        return product_of_kept_then(result, x.data(), right, finish);
    }
    let right = || Matrix::new(weight.data(), outputs);
    if weight.precision() != Precision::Bf16 {
        return product_then(result, left, right(), inputs, outputs, finish);
    }
    match weight.kept_bf16_right() {
        Some(kept) => product_bf16_then(result, left, kept, finish),
        None => product_bf16_then(result, left, &Bf16Right::new(right(), inputs, outputs), finish),
    }
}

struct Linear {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Operation for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        [Some(&self.x), Some(&self.weight), self.bias.as_ref()].into_iter().flatten().collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let bias = self.bias.as_ref();
        let [dx, dw, db] = gradients_of_product(&self.x, &self.weight, bias, gradient)?;
        Ok([dx, dw].into_iter().chain(bias.map(|_| db)).collect())
    }
}

/// dX = dY Wᵀ, dW = Xᵀ dY and db = Σ over the rows of dY, each where its tensor is tracked.
pub(super) fn gradients_of_product(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dy: &Tensor,
) -> Result<[Option<Gradient>; 3]> {
    let precision = weight.precision();
    if let Some(gpu) = Gpu::of([dy, x, weight])? {
        let dx = gpu.gradient(x, precision, dy.into(), Side::from(weight).transposed())?;
        let [dw, db] = gpu.gradients_of_weight_and_bias(x, weight, bias, dy)?;
        return Ok([dx, dw, db]);
    }
    let db = bias.filter(|bias| bias.is_tracked()).map(|_| gradient_of_bias(dy)).transpose()?;
    let (rows, inputs) = x.rows_columns();
    let (_, outputs) = weight.rows_columns();
    let dy = Matrix::new(dy.data(), outputs);
    let dx = x.is_tracked().then(|| {
        let mut dx = memory::overwritable(rows * inputs);
        product_in(precision, &mut dx, dy, Matrix::new(weight.data(), outputs).transposed(), outputs, inputs);
        Tensor::of(dx, x.shape())
    });
    let dw = weight.is_tracked().then(|| {
        let mut dw = memory::overwritable(inputs * outputs);
        product_in(precision, &mut dw, Matrix::new(x.data(), inputs).transposed(), dy, rows, outputs);
        Tensor::of(dw, weight.shape())
    });
    Ok([dx.transpose()?.map(Gradient::Dense), dw.transpose()?.map(Gradient::Dense), db])
}

/// db = Σ over the rows of dY.
pub(super) fn gradient_of_bias(dy: &Tensor) -> Result<Gradient> {
    let (_, outputs) = dy.rows_columns();
    if let Some(gpu) = Gpu::of([dy])? {
        return Ok(Tensor::on_gpu(gpu.sum_over_rows(dy)?, &[outputs]).into());
    }
    let dy = dy.data();
    let sums = sum_over_rows(dy.len() / outputs.max(1), outputs, |row, sums| {
        add(sums, &dy[row * outputs..(row + 1) * outputs]);
    });
    Ok(Tensor::new(sums, &[outputs])?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::testing::{accelerators, assert_close, assert_same_on_threads, check_gradients, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for (rows, inputs, outputs) in [(1, 1, 1), (1, 5, 3), (7, 1, 2), (17, 6, 5)] {
            let inputs = [sample(&[rows, inputs], 1), sample(&[inputs, outputs], 2), sample(&[outputs], 3)];
            check_gradients(&inputs, |t| linear(&t[0], &t[1], Some(&t[2])));
            check_gradients(&inputs[..2], |t| linear(&t[0], &t[1], None));
        }
    }

    #[test]
    fn no_rows_are_no_fault() {
        let y = linear(&Tensor::zeros(&[0, 3]), &sample(&[3, 2], 1), Some(&sample(&[2], 2))).unwrap();
        assert_eq!(y.shape(), [0, 2]);
    }

    /// By hand: [1 2] · [[1 0 1] [0 1 1]] + [10 20 30].
    #[test]
    fn agrees_with_a_product_by_hand() {
        let x = Tensor::new(vec![1.0, 2.0], &[1, 2]).unwrap();
        let weight = Tensor::new(vec![1.0, 0.0, 1.0, 0.0, 1.0, 1.0], &[2, 3]).unwrap();
        let bias = Tensor::new(vec![10.0, 20.0, 30.0], &[3]).unwrap();
        assert_close(linear(&x, &weight, Some(&bias)).unwrap().data(), &[11.0, 22.0, 33.0], 0.0);
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let error = linear(&Tensor::zeros(&[4, 3]), &Tensor::zeros(&[5, 2]), None).unwrap_err().to_string();
        assert_eq!(error, "linear: x is [4, 3], so weight must be [3, outputs]; found [5, 2]");
        let bias = Tensor::zeros(&[3]);
        let error =
            linear(&Tensor::zeros(&[4, 3]), &Tensor::zeros(&[3, 2]), Some(&bias)).unwrap_err().to_string();
        assert_eq!(error, "linear: bias must be [2]; found [3]");
    }

    /// Values and gradients of all three products.
    fn products_in(precision: Precision, device: Device) -> Vec<Vec<f32>> {
        let [x, weight] =
            [sample(&[40, 128], 1), sample(&[128, 64], 2)].map(|t| t.to(device).unwrap().leaf());
        let leaves = [x, weight.with_precision(precision)];
        let y = linear(&leaves[0], &leaves[1], Some(&sample(&[64], 4))).unwrap();
        let mut results = vec![y.data().to_vec()];
        let gradients = y.backward_from(sample(&[40, 64], 3)).unwrap();
        results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
        results
    }

    /// 128 terms off by 2⁻⁸ of their size, most of which cancels out.
    #[test]
    fn in_bf16_values_and_gradients_are_near() {
        let expected = products_in(Precision::F32, Device::Cpu);
        for (found, expected) in products_in(Precision::Bf16, Device::Cpu).iter().zip(&expected) {
            assert_ne!(found, expected);
            assert_close(found, expected, 0.05);
        }
    }

    #[test]
    fn a_gpu_rounds_as_the_processor_does() {
        for device in accelerators() {
            for (precision, tolerance) in [(Precision::Bf16, 1e-4), (Precision::Tf32, 1e-2)] {
                let expected = products_in(precision, Device::Cpu);
                for (found, expected) in products_in(precision, device).iter().zip(&expected) {
                    assert_close(found, expected, tolerance);
                }
            }
        }
    }

    #[test]
    fn a_constant_weight_gives_the_same_values_as_a_tracked_one() {
        let (x, weight) = (sample(&[40, 128], 1), sample(&[128, 64], 2));
        for precision in [Precision::F32, Precision::Bf16] {
            let constant = weight.detach().with_precision(precision);
            let tracked = linear(&x, &weight.leaf().with_precision(precision), None).unwrap();
            for _ in 0..2 {
                assert_eq!(linear(&x, &constant, None).unwrap().data(), tracked.data());
            }
        }
    }

    #[test]
    fn a_quantized_weight_gives_near_values_and_a_gradient_of_x() {
        let (x, weight) = (sample(&[40, 128], 1).leaf(), sample(&[128, 64], 2));
        let quantized = weight.quantized();
        assert!(quantized.is_quantized());
        let y = linear(&x, &quantized, None).unwrap();
        // 128 terms off by 1/254 of the greatest each.
        assert_close(y.data(), linear(&x, &weight, None).unwrap().data(), 0.1);
        let gradients = y.backward_from(sample(&[40, 64], 3)).unwrap();
        assert!(gradients.get(&x).is_some());
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let (x, weight, bias) = (sample(&[385, 128], 1), sample(&[128, 512], 2), sample(&[512], 3));
        assert_same_on_threads(|| {
            let leaves = [x.leaf(), weight.leaf(), bias.leaf()];
            let y = linear(&leaves[0], &leaves[1], Some(&leaves[2])).unwrap();
            let mut results = vec![y.data().to_vec()];
            let gradients = y.backward_from(sample(&[385, 512], 4)).unwrap();
            results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
            results
        });
    }
}
