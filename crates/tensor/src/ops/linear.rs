//! Rows through a matrix: Y = X Wᵀ + b.
//!
//! ```text
//! X [rows, inputs]   W [outputs, inputs]   b [outputs]   →   Y [rows, outputs]
//! dX = dY W          dW = dYᵀ X            db = Σ_rows dY
//! ```
//!
//! Kept for the backward: X, W.

use crate::matrix::{Matrix, product};
use crate::parallel::{for_each_row_block, sum_over_rows};
use crate::{Buffer, Error, Gradient, Operation, Result, Tensor};

/// Y = X Wᵀ + b of X `[rows, inputs]`, W `[outputs, inputs]` and, where given, b `[outputs]`.
///
/// # Errors
/// W is no matrix, X has another number of columns, b another number of values.
///
/// ```
/// # use polytask_tensor::{Tensor, ops::linear};
/// let x = Tensor::new(vec![1.0, 2.0], &[1, 2])?;
/// let weight = Tensor::new(vec![3.0, 4.0, 5.0, 6.0], &[2, 2])?;
/// assert_eq!(linear(&x, &weight, None)?.data(), [11.0, 17.0]);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (rows, inputs) = x.rows_columns();
    let (outputs, columns) = weight.rows_columns();
    if weight.shape().len() != 2 || columns != inputs {
        let message = format!(
            "x is {:?}, so weight must be [outputs, {inputs}]; found {:?}",
            x.shape(),
            weight.shape()
        );
        return Err(Error::shape("linear", message));
    }
    if let Some(bias) = bias.filter(|bias| bias.shape() != [outputs]) {
        return Err(Error::shape("linear", format!("bias must be [{outputs}]; found {:?}", bias.shape())));
    }
    let mut y = vec![0.0; rows * outputs];
    product(
        &mut y,
        Matrix::new(x.data(), inputs),
        Matrix::new(weight.data(), inputs).transposed(),
        inputs,
        outputs,
    );
    if let Some(bias) = bias {
        for_each_row_block(&mut y, outputs, |_, block| add_to_rows(block, bias.data()));
    }
    let operation = Linear { x: x.clone(), weight: weight.clone(), bias: bias.cloned() };
    Ok(Buffer::new(y, &[rows, outputs])?.recorded(operation))
}

fn add_to_rows(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
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
        let (rows, inputs) = self.x.rows_columns();
        let (_, outputs) = gradient.rows_columns();
        let dy = Matrix::new(gradient.data(), outputs);
        let dx = self.x.is_tracked().then(|| {
            let mut dx = vec![0.0; rows * inputs];
            product(&mut dx, dy, Matrix::new(self.weight.data(), inputs), outputs, inputs);
            Tensor::new(dx, self.x.shape())
        });
        let dw = self.weight.is_tracked().then(|| {
            let mut dw = vec![0.0; outputs * inputs];
            product(&mut dw, dy.transposed(), Matrix::new(self.x.data(), inputs), rows, inputs);
            Tensor::new(dw, self.weight.shape())
        });
        let mut gradients = vec![dx.transpose()?.map(Gradient::Dense), dw.transpose()?.map(Gradient::Dense)];
        if self.bias.is_some() {
            let db = Tensor::new(sum_of_rows(gradient.data(), outputs), &[outputs])?;
            gradients.push(Some(Gradient::Dense(db)));
        }
        Ok(gradients)
    }
}

/// Σ over the rows of a matrix.
fn sum_of_rows(values: &[f32], columns: usize) -> Vec<f32> {
    sum_over_rows(values.len() / columns.max(1), columns, |row, sums| {
        let row = &values[row * columns..(row + 1) * columns];
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for (rows, inputs, outputs) in [(1, 1, 1), (1, 5, 3), (7, 1, 2), (17, 6, 5)] {
            let inputs = [sample(&[rows, inputs], 1), sample(&[outputs, inputs], 2), sample(&[outputs], 3)];
            check_gradients(&inputs, |t| linear(&t[0], &t[1], Some(&t[2])));
            check_gradients(&inputs[..2], |t| linear(&t[0], &t[1], None));
        }
    }

    #[test]
    fn no_rows_are_no_fault() {
        let y = linear(&Tensor::zeros(&[0, 3]), &sample(&[2, 3], 1), Some(&sample(&[2], 2))).unwrap();
        assert_eq!(y.shape(), [0, 2]);
    }

    /// By hand: [1 2] · [[1 0] [0 1] [1 1]]ᵀ + [10 20 30].
    #[test]
    fn agrees_with_a_product_by_hand() {
        let x = Tensor::new(vec![1.0, 2.0], &[1, 2]).unwrap();
        let weight = Tensor::new(vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &[3, 2]).unwrap();
        let bias = Tensor::new(vec![10.0, 20.0, 30.0], &[3]).unwrap();
        assert_close(linear(&x, &weight, Some(&bias)).unwrap().data(), &[11.0, 22.0, 33.0], 0.0);
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let error = linear(&Tensor::zeros(&[4, 3]), &Tensor::zeros(&[2, 5]), None).unwrap_err().to_string();
        assert_eq!(error, "linear: x is [4, 3], so weight must be [outputs, 3]; found [2, 5]");
        let bias = Tensor::zeros(&[3]);
        let error =
            linear(&Tensor::zeros(&[4, 3]), &Tensor::zeros(&[2, 3]), Some(&bias)).unwrap_err().to_string();
        assert_eq!(error, "linear: bias must be [2]; found [3]");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let (x, weight, bias) = (sample(&[385, 128], 1), sample(&[512, 128], 2), sample(&[512], 3));
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
