//! Rows through a matrix that lies transposed, such as a table of embeddings that is read backwards: Y = X Wᵀ + b.
//!
//! ```text
//! X [rows, inputs]   W [outputs, inputs]   b [outputs]   →   Y [rows, outputs]
//! dX = dY W          dW = dYᵀ X            db = Σ_rows dY
//! ```
//!
//! Kept for the backward: X, W.

use super::linear::gradient_of_bias;
use crate::cuda::{Gpu, Side};
use crate::lanes::add;
use crate::matrix::{Matrix, product_in};
use crate::parallel::for_each_row_block;
use crate::{Buffer, Error, Gradient, Operation, Result, Tensor, memory};

/// Y = X Wᵀ + b of X `[rows, inputs]`, W `[outputs, inputs]` and b `[outputs]`.
///
/// # Errors
/// W is no matrix, X has another number of columns, b another number of values.
///
/// ```
/// # use polytask_tensor::{Tensor, ops::linear_transposed};
/// let x = Tensor::new(vec![1.0, 2.0], &[1, 2])?;
/// let weight = Tensor::new(vec![3.0, 4.0, 5.0, 6.0], &[2, 2])?;
/// assert_eq!(linear_transposed(&x, &weight, &Tensor::zeros(&[2]))?.data(), [11.0, 17.0]);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn linear_transposed(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let ((rows, inputs), (outputs, columns)) = (x.rows_columns(), weight.rows_columns());
    if weight.shape().len() != 2 || columns != inputs || bias.shape() != [outputs] {
        let (x, weight, bias) = (x.shape(), weight.shape(), bias.shape());
        let message = format!(
            "x is {x:?}, so weight must be [outputs, {inputs}] and bias [outputs]; found {weight:?} and {bias:?}"
        );
        return Err(Error::shape("linear_transposed", message));
    }
    let operation = LinearTransposed { x: x.clone(), weight: weight.clone(), bias: bias.clone() };
    if let Some(gpu) = Gpu::of([x, weight])? {
        let right = Side::from(weight).transposed();
        let y = gpu.product(weight.precision(), x.into(), right, Some(bias))?;
        return Ok(Buffer::on_gpu(y, &[rows, outputs]).recorded(operation));
    }
    let mut y = memory::overwritable(rows * outputs);
    let (left, right) = (Matrix::new(x.data(), inputs), Matrix::new(weight.data(), inputs).transposed());
    product_in(weight.precision(), &mut y, left, right, inputs, outputs);
    for_each_row_block(&mut y, outputs, |_, block| {
        block.chunks_exact_mut(outputs).for_each(|row| add(row, bias.data()));
    });
    Ok(Buffer::new(y, &[rows, outputs])?.recorded(operation))
}

struct LinearTransposed {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
}

impl Operation for LinearTransposed {
    fn name(&self) -> &'static str {
        "linear_transposed"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.weight, &self.bias]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let ((rows, inputs), (outputs, _)) = (self.x.rows_columns(), self.weight.rows_columns());
        let (db, precision) = (gradient_of_bias(gradient)?, self.weight.precision());
        if let Some(gpu) = Gpu::of([gradient, &self.x, &self.weight])? {
            let (x, weight) = (&self.x, &self.weight);
            let dx = gpu.gradient(x, precision, gradient.into(), weight.into())?;
            let dw = gpu.gradient(weight, precision, Side::from(gradient).transposed(), x.into())?;
            return Ok(vec![dx, dw, Some(db)]);
        }
        let dy = Matrix::new(gradient.data(), outputs);
        let dx = self.x.is_tracked().then(|| {
            let mut dx = memory::overwritable(rows * inputs);
            product_in(precision, &mut dx, dy, Matrix::new(self.weight.data(), inputs), outputs, inputs);
            Tensor::of(dx, self.x.shape())
        });
        let dw = self.weight.is_tracked().then(|| {
            let mut dw = memory::overwritable(outputs * inputs);
            product_in(precision, &mut dw, dy.transposed(), Matrix::new(self.x.data(), inputs), rows, inputs);
            Tensor::of(dw, self.weight.shape())
        });
        Ok(vec![dx.transpose()?.map(Gradient::Dense), dw.transpose()?.map(Gradient::Dense), Some(db)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Side, linear, matrix_product};
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};
    use crate::{Ids, Precision, ops};

    #[test]
    fn gradients_agree_with_differences() {
        for (rows, inputs, outputs) in [(1, 1, 1), (1, 5, 3), (7, 1, 2), (9, 6, 5)] {
            let inputs = [sample(&[rows, inputs], 1), sample(&[outputs, inputs], 2), sample(&[outputs], 3)];
            check_gradients(&inputs, |t| linear_transposed(&t[0], &t[1], &t[2]));
        }
    }

    #[test]
    fn a_table_that_is_read_both_ways_gets_both_gradients() {
        let ids = Ids::from(vec![2, 0, 2]);
        check_gradients(&[sample(&[4, 3], 1), sample(&[4], 2)], |t| {
            linear_transposed(&ops::embedding(&t[0], &ids)?, &t[0], &t[1])
        });
    }

    #[test]
    fn agrees_with_the_transposed_matrix_in_either_precision() {
        let (x, weight, bias) = (sample(&[40, 17], 1), sample(&[23, 17], 2), sample(&[23], 3));
        let identity: Vec<f32> = (0..17 * 17).map(|i| if i % 18 == 0 { 1.0 } else { 0.0 }).collect();
        let identity = Tensor::new(identity, &[17, 17]).unwrap();
        let turned = matrix_product(&identity, Side::Plain, &weight, Side::Transposed).unwrap();
        for precision in [Precision::F32, Precision::Bf16] {
            let found = linear_transposed(&x, &weight.with_precision(precision), &bias).unwrap();
            let expected = linear(&x, &turned.with_precision(precision), Some(&bias)).unwrap();
            // 17 products of values below 1 in f32, in another order.
            assert_close(found.data(), expected.data(), 1e-5);
        }
    }

    #[test]
    fn no_rows_are_no_fault() {
        let (x, weight) = (Tensor::zeros(&[0, 3]).leaf(), sample(&[2, 3], 1).leaf());
        let y = linear_transposed(&x, &weight, &sample(&[2], 2)).unwrap();
        assert_eq!(y.shape(), [0, 2]);
        let gradients = y.backward_from(Tensor::zeros(&[0, 2])).unwrap();
        assert!(gradients.get(&weight).unwrap().values().iter().all(|value| *value == 0.0));
    }

    #[test]
    fn threads_change_no_bit() {
        let (x, weight, bias) =
            (sample(&[200, 32], 1).leaf(), sample(&[700, 32], 2).leaf(), sample(&[700], 3));
        assert_same_on_threads(|| {
            let y = linear_transposed(&x, &weight, &bias).unwrap();
            let values = y.data().to_vec();
            let gradients = y.backward_from(sample(&[200, 700], 4)).unwrap();
            let of = |leaf| gradients.get(leaf).unwrap().values().to_vec();
            vec![values, of(&x), of(&weight)]
        });
    }

    #[test]
    fn shapes_must_fit() {
        let error =
            linear_transposed(&sample(&[2, 3], 1), &sample(&[4, 5], 2), &sample(&[4], 3)).unwrap_err();
        let expected = "linear_transposed: x is [2, 3], so weight must be [outputs, 3] and bias [outputs]; found [4, 5] and [4]";
        assert_eq!(error.to_string(), expected);
    }
}
