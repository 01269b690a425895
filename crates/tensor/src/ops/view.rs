//! Views: the same memory under another shape, or some neighbouring rows of it.
//!
//! ```text
//! reshape  B = A in another shape       dA = dB in A's shape
//! rows     B = A[first .. first + n]    dA = dB in those rows, 0 elsewhere
//! ```

use std::ops::Range;

use crate::cuda::Gpu;
use crate::{Error, Gradient, Operation, Result, Tensor, memory};

/// The same values, row after row, under another shape; no copy.
///
/// # Errors
/// The shapes hold different numbers of values.
pub fn reshape(a: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if shape.iter().product::<usize>() != a.len() {
        return Err(Error::shape("reshape", format!("{:?} cannot become {shape:?}", a.shape())));
    }
    Ok(a.recorded_view(0, shape, Reshape { a: a.clone() }))
}

struct Reshape {
    a: Tensor,
}

impl Operation for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(gradient.constant_view(0, self.a.shape()).into())])
    }
}

/// Neighbouring rows of a matrix, `[range.len(), columns]`; no copy.
///
/// # Errors
/// The range reaches beyond the last row.
pub fn rows(a: &Tensor, range: Range<usize>) -> Result<Tensor> {
    let (total, columns) = a.rows_columns();
    if range.start > range.end || range.end > total {
        return Err(Error::shape("rows", format!("rows {range:?} of a matrix of {total} rows")));
    }
    let shape = [range.len(), columns];
    Ok(a.recorded_view(range.start * columns, &shape, Rows { a: a.clone(), range }))
}

struct Rows {
    a: Tensor,
    range: Range<usize>,
}

impl Operation for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let columns = self.a.rows_columns().1;
        if let Some(gpu) = Gpu::of([gradient, &self.a])? {
            let da = gpu.zeros(self.a.len())?;
            if !gradient.is_empty() {
                gpu.copy(gpu.read(gradient)?, &da, self.range.start * columns, gradient.len())?;
            }
            return Ok(vec![Some(Tensor::on_gpu(da, self.a.shape()).into())]);
        }
        let mut da = memory::zeros(self.a.len());
        da[self.range.start * columns..self.range.end * columns].copy_from_slice(gradient.data());
        Ok(vec![Some(Tensor::of(da, self.a.shape())?.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradients, on_each_device, sample};

    #[test]
    fn gradients_agree_with_differences() {
        check_gradients(&[sample(&[6, 2], 1)], |t| reshape(&t[0], &[3, 4]));
        check_gradients(&[sample(&[6, 2], 1)], |t| rows(&t[0], 1..4));
        check_gradients(&[sample(&[5, 3], 1)], |t| rows(&rows(&t[0], 1..5)?, 1..3));
    }

    #[test]
    fn views_share_memory() {
        let a = sample(&[6, 2], 1);
        let view = rows(&a, 2..4).unwrap();
        assert_eq!(view.data().as_ptr(), a.row(2).as_ptr());
        assert_eq!(reshape(&view, &[4]).unwrap().data(), &a.data()[4..8]);
    }

    #[test]
    fn views_and_their_gradients_stay_where_the_tensor_lies() {
        on_each_device(|device| {
            let a = sample(&[6, 2], 1).leaf().to(device).unwrap();
            let view = reshape(&rows(&a, 2..4).unwrap(), &[4]).unwrap();
            assert_eq!(view.device(), device);
            let gradients = view.backward_from(Tensor::full(&[4], 1.0)).unwrap();
            let da = gradients.get(&a).unwrap().to_dense().unwrap();
            assert_eq!(da.device(), device);
            assert_eq!(da.data(), [[0.0; 4], [1.0; 4], [0.0; 4]].concat());
            let nothing = rows(&a, 6..6).unwrap().backward_from(Tensor::zeros(&[0, 2])).unwrap();
            assert_eq!(nothing.get(&a).unwrap().values(), [0.0; 12]);
        });
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let a = Tensor::zeros(&[2, 3]);
        assert_eq!(reshape(&a, &[4]).unwrap_err().to_string(), "reshape: [2, 3] cannot become [4]");
        assert_eq!(rows(&a, 1..3).unwrap_err().to_string(), "rows: rows 1..3 of a matrix of 2 rows");
    }
}
