//! The product of two matrices, each as it lies or transposed: C = op(A) op(B).
//!
//! ```text
//! op(A) [m, k]   op(B) [k, n]   →   C [m, n]
//! d op(A) = dC op(B)ᵀ           d op(B) = op(A)ᵀ dC
//! ```
//!
//! Kept for the backward: A, B.

use crate::cuda::{self, Gpu};
use crate::matrix::{Matrix, product};
use crate::{Buffer, Error, Gradient, Operation, Precision, Result, Tensor, memory};

/// How one side of a matrix product is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// As it lies.
    Plain,
    /// With rows and columns exchanged.
    Transposed,
}

impl Side {
    fn shape(self, tensor: &Tensor) -> (usize, usize) {
        let (rows, columns) = tensor.rows_columns();
        match self {
            Side::Plain => (rows, columns),
            Side::Transposed => (columns, rows),
        }
    }

    fn on_gpu(self, tensor: &Tensor) -> cuda::Side<'_> {
        match self {
            Side::Plain => tensor.into(),
            Side::Transposed => cuda::Side::from(tensor).transposed(),
        }
    }

    fn read(self, tensor: &Tensor) -> Matrix<'_> {
        let matrix = Matrix::new(tensor.data(), tensor.rows_columns().1);
        match self {
            Side::Plain => matrix,
            Side::Transposed => matrix.transposed(),
        }
    }
}

/// C = op(A) op(B), `[m, n]` of `[m, k]` and `[k, n]` after transposing.
///
/// # Errors
/// The inner dimensions differ.
pub fn matrix_product(a: &Tensor, side_a: Side, b: &Tensor, side_b: Side) -> Result<Tensor> {
    let ((m, k), (inner, n)) = (side_a.shape(a), side_b.shape(b));
    if k != inner {
        return Err(Error::shape(
            "matrix_product",
            format!("[{m}, {k}] times [{inner}, {n}]: {k} is not {inner}"),
        ));
    }
    let operation = MatrixProduct { a: a.clone(), side_a, b: b.clone(), side_b };
    if let Some(gpu) = Gpu::of([a, b])? {
        let c = gpu.product(Precision::F32, side_a.on_gpu(a), side_b.on_gpu(b), None)?;
        return Ok(Buffer::on_gpu(c, &[m, n]).recorded(operation));
    }
    let mut c = memory::overwritable(m * n);
    product(&mut c, side_a.read(a), side_b.read(b), k, n);
    Ok(Buffer::new(c, &[m, n])?.recorded(operation))
}

struct MatrixProduct {
    a: Tensor,
    side_a: Side,
    b: Tensor,
    side_b: Side,
}

impl Operation for MatrixProduct {
    fn name(&self) -> &'static str {
        "matrix_product"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a, &self.b]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        if let Some(gpu) = Gpu::of([gradient, &self.a, &self.b])? {
            return self.backward_on(gpu, gradient);
        }
        let (m, n) = gradient.rows_columns();
        let (_, k) = self.side_a.shape(&self.a);
        let dc = Matrix::new(gradient.data(), n);
        let (a, b) = (self.side_a.read(&self.a), self.side_b.read(&self.b));
        let mut da = memory::overwritable(self.a.len());
        match self.side_a {
            Side::Plain => product(&mut da, dc, b.transposed(), n, k),
            Side::Transposed => product(&mut da, b, dc.transposed(), n, m),
        }
        let mut db = memory::overwritable(self.b.len());
        match self.side_b {
            Side::Plain => product(&mut db, a.transposed(), dc, m, n),
            Side::Transposed => product(&mut db, dc.transposed(), a, m, k),
        }
        Ok(vec![Some(Tensor::of(da, self.a.shape())?.into()), Some(Tensor::of(db, self.b.shape())?.into())])
    }
}

impl MatrixProduct {
    fn backward_on(&self, gpu: &'static Gpu, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let dc = cuda::Side::from(gradient);
        let (a, b) = (self.side_a.on_gpu(&self.a), self.side_b.on_gpu(&self.b));
        let da = match self.side_a {
            Side::Plain => (dc, b.transposed()),
            Side::Transposed => (b, dc.transposed()),
        };
        let db = match self.side_b {
            Side::Plain => (a.transposed(), dc),
            Side::Transposed => (dc.transposed(), a),
        };
        let gradient = |of, (left, right)| gpu.gradient(of, Precision::F32, left, right);
        Ok(vec![gradient(&self.a, da)?, gradient(&self.b, db)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradients, sample};
    use Side::{Plain, Transposed};

    #[test]
    fn gradients_agree_with_differences_for_all_sides() {
        for (m, k, n) in [(1, 1, 1), (1, 4, 3), (5, 1, 2), (4, 6, 5)] {
            for (side_a, side_b) in
                [(Plain, Plain), (Plain, Transposed), (Transposed, Plain), (Transposed, Transposed)]
            {
                let a = if side_a == Plain { [m, k] } else { [k, m] };
                let b = if side_b == Plain { [k, n] } else { [n, k] };
                let inputs = [sample(&a, 1), sample(&b, 2)];
                check_gradients(&inputs, |t| matrix_product(&t[0], side_a, &t[1], side_b));
            }
        }
    }

    #[test]
    fn inner_dimensions_must_agree() {
        let error =
            matrix_product(&Tensor::zeros(&[2, 3]), Plain, &Tensor::zeros(&[4, 5]), Plain).unwrap_err();
        assert_eq!(error.to_string(), "matrix_product: [2, 3] times [4, 5]: 3 is not 4");
    }
}
