//! Rows through a matrix and through matrices of low rank beside it: Y = X W + b + [T₁ B₁ | T₂ B₂ | …], or its GELU.
//!
//! ```text
//! X [rows, inputs]   W [inputs, outputs]   b [outputs]   T_p [rows, rank]   B_p [rank, outputs / parts]
//!                                                                           →   Y [rows, outputs]
//! Z = X W + b + T B   Y = Z, or gelu(Z)        dZ = dY, or dY ⊙ D with D = gelu'(Z)
//! dX = dZ Wᵀ          dW = Xᵀ dZ               db = Σ_rows dZ
//! dT_p = dZ_p B_pᵀ    dB_p = T_pᵀ dZ_p         dZ_p: the columns of part p
//! ```
//!
//! What is added is computed in f32, while a part of a row is near: neither T B nor X W lies in memory by itself. On a GPU
//! they do, and T B is computed in the precision of B.
//!
//! Kept for the backward: X, W, T, B; of the GELU D.

use super::linear::{check, gradients_of_product, rows_through};
use super::linear_gelu::{gradient_of_sum, values, values_and_derivatives};
use super::{add, concatenate_columns, gelu, linear};
use crate::cuda::Gpu;
use crate::lanes::{self, add_scaled, vectorized};
use crate::matrix::{Matrix, product};
use crate::parallel::RowParts;
use crate::{Buffer, Error, Gradient, Operation, Result, Tensor, memory};

/// Sums that stay near while the rank goes by.
const SUMS: usize = 64;

/// X W + b + T B of X `[rows, inputs]`, W `[inputs, outputs]`, b `[outputs]` and, for each of the parts that the outputs fall
/// into, T `[rows, rank]` and B `[rank, outputs / parts]`: `[rows, outputs]`.
///
/// # Errors
/// A matrix has other rows or columns, the bias another number of values, or there is no part.
pub fn linear_low_rank(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    low_rank: Vec<[Tensor; 2]>,
) -> Result<Tensor> {
    rows_and_low_rank(x, weight, bias, low_rank, false)
}

/// The [`gelu`] of [`linear_low_rank`].
///
/// # Errors
/// As of [`linear_low_rank`].
pub fn linear_low_rank_gelu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    low_rank: Vec<[Tensor; 2]>,
) -> Result<Tensor> {
    rows_and_low_rank(x, weight, bias, low_rank, true)
}

fn rows_and_low_rank(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    low_rank: Vec<[Tensor; 2]>,
    has_gelu: bool,
) -> Result<Tensor> {
    let [rows, outputs] = check("linear_low_rank", x, weight, Some(bias))?;
    check_low_rank(&low_rank, rows, outputs)?;
    if Gpu::of([x, weight])?.is_some() {
        let z = one_by_one(x, weight, bias, &low_rank)?;
        return if has_gelu { gelu(&z) } else { Ok(z) };
    }
    let is_tracked = [x, weight, bias].into_iter().chain(low_rank.iter().flatten()).any(Tensor::is_tracked);
    let kept_rows = if has_gelu && is_tracked { rows } else { 0 };
    let mut y = memory::overwritable(rows * outputs);
    let mut derivative = memory::overwritable(kept_rows * outputs);
    let derivatives = RowParts::new(&mut derivative, outputs);
    rows_through(weight, x, &mut y, |row, first, y| {
        let columns = first..first + y.len();
        add_low_rank(&low_rank, outputs, row, first, y);
        let bias = &bias.data()[columns.clone()];
        match (has_gelu, kept_rows > 0) {
            (false, _) => lanes::add(y, bias),
            (true, false) => values(y, bias),
            // SAFETY: each part of a row is finished once.
            (true, true) => values_and_derivatives(y, unsafe { derivatives.part(row, columns) }, bias),
        }
    });
    let derivative = has_gelu.then(|| Tensor::of(derivative, &[kept_rows, outputs])).transpose()?;
    let [x, weight, bias] = [x, weight, bias].map(Tensor::clone);
    Ok(Buffer::new(y, &[rows, outputs])?.recorded(LinearLowRank { x, weight, bias, low_rank, derivative }))
}

fn check_low_rank(low_rank: &[[Tensor; 2]], rows: usize, outputs: usize) -> Result<()> {
    let parts = low_rank.len();
    for [t, b] in low_rank {
        let (found_rows, rank) = t.rows_columns();
        if found_rows != rows
            || rank == 0
            || b.rows_columns().0 != rank
            || b.rows_columns().1 * parts != outputs
        {
            let (t, b) = (t.shape(), b.shape());
            let message = format!(
                "T must be [{rows}, rank] and B [rank, {outputs} / {parts} parts]; found {t:?} and {b:?}"
            );
            return Err(Error::shape("linear_low_rank", message));
        }
    }
    if parts == 0 {
        return Err(Error::shape("linear_low_rank", "there is nothing of low rank to add"));
    }
    Ok(())
}

/// The same by operations that each have a result of their own.
fn one_by_one(x: &Tensor, weight: &Tensor, bias: &Tensor, low_rank: &[[Tensor; 2]]) -> Result<Tensor> {
    let parts = low_rank.iter().map(|[t, b]| linear(t, b, None)).collect::<Result<Vec<_>>>()?;
    let added = match parts.as_slice() {
        [one] => one.clone(),
        parts => concatenate_columns(&parts.iter().collect::<Vec<_>>())?,
    };
    add(&linear(x, weight, Some(bias))?, &added)
}

/// y += T B for some columns, from `first` on, of one row.
fn add_low_rank(low_rank: &[[Tensor; 2]], outputs: usize, row: usize, first: usize, y: &mut [f32]) {
    let width = outputs / low_rank.len();
    let mut rest = y;
    let mut column = first;
    while !rest.is_empty() {
        let [t, b] = &low_rank[column / width];
        let rank = t.rows_columns().1;
        let (part, beyond) = rest.split_at_mut(rest.len().min(width - column % width));
        add_product(part, &t.data()[row * rank..(row + 1) * rank], &b.data()[column % width..], width);
        column += part.len();
        rest = beyond;
    }
}

vectorized! {
    /// y += Σ_r t_r B[r, ..], the rows of B `stride` values apart.
    fn add_product(y: &mut [f32], t: &[f32], b: &[f32], stride: usize) {
        for (first, y) in (0..).step_by(SUMS).zip(y.chunks_mut(SUMS)) {
            let mut sums = [0.0; SUMS];
            let sums = &mut sums[..y.len()];
            for (r, t) in t.iter().enumerate() {
                add_scaled(sums, *t, &b[r * stride + first..r * stride + first + sums.len()]);
            }
            add_scaled(y, 1.0, sums);
        }
    }
}

struct LinearLowRank {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    /// T and B of each part.
    low_rank: Vec<[Tensor; 2]>,
    /// D, `[rows, outputs]`, where there is a GELU.
    derivative: Option<Tensor>,
}

impl Operation for LinearLowRank {
    fn name(&self) -> &'static str {
        "linear_low_rank"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.x, &self.weight, &self.bias].into_iter().chain(self.low_rank.iter().flatten()).collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let dz = match &self.derivative {
            Some(derivative) => gradient_of_sum(derivative, gradient)?,
            None => gradient.clone(),
        };
        let mut gradients = Vec::from(gradients_of_product(&self.x, &self.weight, Some(&self.bias), &dz)?);
        let (_, outputs) = self.weight.rows_columns();
        let width = outputs / self.low_rank.len();
        for (part, [t, b]) in self.low_rank.iter().enumerate() {
            let dz = Matrix::new(dz.data(), outputs).beginning_at(0, part * width);
            gradients.extend(gradients_of_part(t, b, dz)?);
        }
        Ok(gradients)
    }
}

/// dT = dZ Bᵀ and dB = Tᵀ dZ of one part, each where its tensor is tracked.
fn gradients_of_part(t: &Tensor, b: &Tensor, dz: Matrix<'_>) -> Result<[Option<Gradient>; 2]> {
    let ((rows, rank), (_, width)) = (t.rows_columns(), b.rows_columns());
    let dt = t.is_tracked().then(|| {
        let mut dt = memory::overwritable(rows * rank);
        product(&mut dt, dz, Matrix::new(b.data(), width).transposed(), width, rank);
        Tensor::of(dt, t.shape())
    });
    let db = b.is_tracked().then(|| {
        let mut db = memory::overwritable(rank * width);
        product(&mut db, Matrix::new(t.data(), rank).transposed(), dz, rows, width);
        Tensor::of(db, b.shape())
    });
    Ok([dt.transpose()?.map(Gradient::Dense), db.transpose()?.map(Gradient::Dense)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};

    /// X, W, b, and T and B of each part.
    fn inputs(rows: usize, [width, outputs]: [usize; 2], rank: usize, parts: usize) -> Vec<Tensor> {
        let shapes = [vec![rows, width], vec![width, outputs], vec![outputs]].into_iter();
        let low_rank = (0..parts).flat_map(|_| [vec![rows, rank], vec![rank, outputs / parts]]);
        shapes.chain(low_rank).enumerate().map(|(seed, shape)| sample(&shape, seed as u64)).collect()
    }

    fn low_rank(inputs: &[Tensor]) -> Vec<[Tensor; 2]> {
        inputs[3..].chunks_exact(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect()
    }

    fn forward(inputs: &[Tensor], has_gelu: bool) -> Result<Tensor> {
        rows_and_low_rank(&inputs[0], &inputs[1], &inputs[2], low_rank(inputs), has_gelu)
    }

    #[test]
    fn gradients_agree_with_differences() {
        for (rows, sizes, rank, parts) in [(1, [1, 1], 1, 1), (3, [5, 6], 2, 3), (17, [6, 5], 3, 1)] {
            for has_gelu in [false, true] {
                check_gradients(&inputs(rows, sizes, rank, parts), |t| forward(t, has_gelu));
            }
        }
    }

    #[test]
    fn it_is_the_sum_of_the_products() {
        for parts in [1, 3] {
            let inputs = inputs(100, [130, 510], 8, parts);
            let sum = one_by_one(&inputs[0], &inputs[1], &inputs[2], &low_rank(&inputs)).unwrap();
            let leaves: Vec<Tensor> = inputs.iter().map(Tensor::leaf).collect();
            for (has_gelu, expected) in [(false, sum.clone()), (true, gelu(&sum).unwrap())] {
                for inputs in [&inputs, &leaves] {
                    // 138 terms of size 1 in f32, in another order.
                    assert_close(forward(inputs, has_gelu).unwrap().data(), expected.data(), 1e-4);
                }
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let inputs = inputs(385, [128, 384], 8, 3);
        assert_same_on_threads(|| {
            let leaves: Vec<Tensor> = inputs.iter().map(Tensor::leaf).collect();
            let y = forward(&leaves, true).unwrap();
            let mut results = vec![y.data().to_vec()];
            let gradients = y.backward_from(sample(&[385, 384], 9)).unwrap();
            results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
            results
        });
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let mut wrong = inputs(4, [3, 6], 2, 2);
        wrong[6] = Tensor::zeros(&[2, 4]);
        let error = forward(&wrong, false).unwrap_err().to_string();
        assert_eq!(
            error,
            "linear_low_rank: T must be [4, rank] and B [rank, 6 / 2 parts]; found [4, 2] and [2, 4]"
        );
        assert!(forward(&wrong[..3], false).is_err());
        assert!(forward(&inputs(4, [3, 6], 0, 2), false).is_err());
    }

    #[test]
    fn no_rows_are_no_fault() {
        let leaves: Vec<Tensor> = inputs(0, [3, 6], 2, 2).iter().map(Tensor::leaf).collect();
        let y = forward(&leaves, true).unwrap();
        assert_eq!(y.shape(), [0, 6]);
        let gradients = y.backward_from(Tensor::zeros(&[0, 6])).unwrap();
        assert_eq!(gradients.get(&leaves[6]).unwrap().values(), [0.0; 6]);
    }

    #[test]
    fn what_is_frozen_gets_no_gradient_in_any_precision() {
        let (inputs, dy) = (inputs(20, [32, 64], 4, 2), sample(&[20, 64], 9));
        let expected = forward(&inputs, false).unwrap();
        let mut of_b = vec![f32::NAN; 4 * 32];
        let t = Matrix::new(inputs[3].data(), 4).transposed();
        product(&mut of_b, t, Matrix::new(dy.data(), 64), 20, 32);
        for precision in [Precision::F32, Precision::Bf16] {
            let mut inputs = inputs.clone();
            inputs[1] = inputs[1].with_precision(precision);
            inputs[4] = inputs[4].leaf();
            let y = forward(&inputs, false).unwrap();
            // 32 terms off by 2⁻⁸ of their size.
            assert_close(y.data(), expected.data(), 0.05);
            let gradients = y.backward_from(dy.clone()).unwrap();
            assert_close(gradients.get(&inputs[4]).unwrap().values(), &of_b, 1e-5);
            assert!(gradients.get(&inputs[6]).is_none());
        }
    }
}
