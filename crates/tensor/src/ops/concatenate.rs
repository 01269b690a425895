//! Matrices put together, one below another or side by side.
//!
//! ```text
//! rows      A [m, k], B [n, k], …   →   Y [m + n + …, k]      dA = its rows of dY, …
//! columns   A [n, j], B [n, k], …   →   Y [n, j + k + …]      dA = its columns of dY, …
//! ```

use crate::cuda::{Argument, Gpu, Grid};
use crate::parallel::for_each_row_block;
use crate::{Buffer, Error, Gradient, Operation, Result, Tensor};

/// The matrices one below another, `[Σ rows, columns]`.
///
/// # Errors
/// There is no matrix, or they have different numbers of columns.
///
/// ```
/// # use polytask_tensor::{Tensor, ops::concatenate_rows};
/// let (a, b) = (Tensor::full(&[1, 2], 1.0), Tensor::full(&[2, 2], 2.0));
/// assert_eq!(concatenate_rows(&[&a, &b])?.data(), [1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn concatenate_rows(parts: &[&Tensor]) -> Result<Tensor> {
    let columns = shared("concatenate_rows", "columns", parts, |part| part.rows_columns().1)?;
    let rows = parts.iter().map(|part| part.rows_columns().0).sum();
    let operation = ConcatenateRows { parts: owned(parts) };
    if let Some(gpu) = Gpu::of(parts.iter().copied())? {
        let y = gpu.allocate(rows * columns)?;
        let mut start = 0;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            gpu.copy(gpu.read(part)?, &y, start, part.len())?;
            start += part.len();
        }
        return Ok(Buffer::on_gpu(y, &[rows, columns]).recorded(operation));
    }
    let mut y = Vec::with_capacity(rows * columns);
    parts.iter().for_each(|part| y.extend_from_slice(part.data()));
    Ok(Buffer::new(y, &[rows, columns])?.recorded(operation))
}

/// The matrices side by side, `[rows, Σ columns]`.
///
/// # Errors
/// There is no matrix, or they have different numbers of rows.
pub fn concatenate_columns(parts: &[&Tensor]) -> Result<Tensor> {
    let rows = shared("concatenate_columns", "rows", parts, |part| part.rows_columns().0)?;
    let columns = parts.iter().map(|part| part.rows_columns().1).sum();
    let operation = ConcatenateColumns { parts: owned(parts) };
    if let Some(gpu) = Gpu::of(parts.iter().copied())? {
        let y = gpu.allocate(rows * columns)?;
        let mut place = Argument::from(&y);
        for part in parts {
            let (_, width) = part.rows_columns();
            copy_columns(gpu, (gpu.read(part)?, width), (place, columns), [rows, width])?;
            place = place.plus(width);
        }
        return Ok(Buffer::on_gpu(y, &[rows, columns]).recorded(operation));
    }
    let mut y = vec![0.0; rows * columns];
    for_each_row_block(&mut y, columns, |first, block| {
        for (i, mut row) in block.chunks_exact_mut(columns).enumerate() {
            for part in parts {
                let values = part.row(first + i);
                let (here, rest) = row.split_at_mut(values.len());
                here.copy_from_slice(values);
                row = rest;
            }
        }
    });
    Ok(Buffer::new(y, &[rows, columns])?.recorded(operation))
}

/// Copies rows and columns from one matrix to another, each given by the place of the first value and by its width.
fn copy_columns(
    gpu: &Gpu,
    (from, from_width): (Argument, usize),
    (to, to_width): (Argument, usize),
    [rows, columns]: [usize; 2],
) -> Result<()> {
    let arguments = [from, from_width.into(), to, to_width.into(), rows.into(), columns.into()];
    gpu.launch("concatenate", "copy_columns", Grid::a_warp_each(rows), &arguments)
}

/// The size that all parts must have in common.
fn shared(
    operation: &'static str,
    what: &str,
    parts: &[&Tensor],
    size: impl Fn(&Tensor) -> usize,
) -> Result<usize> {
    let Some(first) = parts.first().map(|part| size(part)) else {
        return Err(Error::shape(operation, "needs at least one matrix"));
    };
    match parts.iter().position(|part| size(part) != first) {
        None => Ok(first),
        Some(i) => {
            let found = size(parts[i]);
            Err(Error::shape(operation, format!("matrix 0 has {first} {what}, matrix {i} has {found}")))
        }
    }
}

fn owned(parts: &[&Tensor]) -> Vec<Tensor> {
    parts.iter().map(|&part| part.clone()).collect()
}

struct ConcatenateRows {
    parts: Vec<Tensor>,
}

impl Operation for ConcatenateRows {
    fn name(&self) -> &'static str {
        "concatenate_rows"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        self.parts.iter().collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let mut start = 0;
        let part = |part: &Tensor| {
            let own = gradient.constant_view(start, part.shape());
            start += part.len();
            Some(own.into())
        };
        Ok(self.parts.iter().map(part).collect())
    }
}

struct ConcatenateColumns {
    parts: Vec<Tensor>,
}

impl Operation for ConcatenateColumns {
    fn name(&self) -> &'static str {
        "concatenate_columns"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        self.parts.iter().collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let mut start = 0;
        let part = |part: &Tensor| {
            let (_, columns) = part.rows_columns();
            let first = start;
            start += columns;
            if !part.is_tracked() {
                return Ok(None);
            }
            Ok(Some(columns_of(gradient, first, part)?.into()))
        };
        self.parts.iter().map(part).collect()
    }
}

/// The columns of a part: its gradient.
fn columns_of(gradient: &Tensor, first_column: usize, part: &Tensor) -> Result<Tensor> {
    let (rows, columns) = part.rows_columns();
    if let Some(gpu) = Gpu::of([gradient, part])? {
        let result = gpu.allocate(rows * columns)?;
        let (from, to) = (gpu.read(gradient)?.plus(first_column), Argument::from(&result));
        copy_columns(gpu, (from, gradient.rows_columns().1), (to, columns), [rows, columns])?;
        return Ok(Tensor::on_gpu(result, part.shape()));
    }
    let mut result = vec![0.0; rows * columns];
    for_each_row_block(&mut result, columns, |first, block| {
        for (i, row) in block.chunks_exact_mut(columns).enumerate() {
            row.copy_from_slice(&gradient.row(first + i)[first_column..first_column + columns]);
        }
    });
    Tensor::new(result, part.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_on_threads, check_gradients, on_each_device, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for (m, n, k) in [(1, 1, 1), (1, 3, 2), (4, 2, 1), (7, 5, 3), (40, 33, 9)] {
            let inputs = [sample(&[m, k], 1), sample(&[n, k], 2)];
            check_gradients(&inputs, |t| concatenate_rows(&[&t[0], &t[1], &t[0]]));
            let inputs = [sample(&[k, m], 1), sample(&[k, n], 2)];
            check_gradients(&inputs, |t| concatenate_columns(&[&t[0], &t[1], &t[0]]));
        }
    }

    #[test]
    fn a_constant_part_moves_no_other() {
        let (constant, input) = (sample(&[3, 2], 1), sample(&[3, 2], 2));
        check_gradients(std::slice::from_ref(&input), |t| concatenate_rows(&[&constant, &t[0]]));
        check_gradients(&[input], |t| concatenate_columns(&[&constant, &t[0]]));
    }

    #[test]
    fn columns_stand_side_by_side() {
        let a = Tensor::new(vec![1.0, 2.0], &[2, 1]).unwrap();
        let b = Tensor::new(vec![3.0, 4.0, 5.0, 6.0], &[2, 2]).unwrap();
        on_each_device(|device| {
            let y = concatenate_columns(&[&a, &Tensor::zeros(&[2, 0]), &b.to(device).unwrap()]).unwrap();
            assert_eq!((y.shape(), y.data()), (&[2, 3][..], &[1.0, 3.0, 4.0, 2.0, 5.0, 6.0][..]));
        });
    }

    #[test]
    fn parts_and_their_gradients_stay_where_they_lie() {
        on_each_device(|device| {
            for concatenate in [concatenate_rows, concatenate_columns] {
                let parts = [1, 2].map(|stream| sample(&[3, 3], stream).leaf().to(device).unwrap());
                let y = concatenate(&[&parts[0], &parts[1]]).unwrap();
                assert_eq!(y.device(), device);
                let gradient = sample(y.shape(), 3);
                let gradients = y.backward_from(gradient).unwrap();
                for part in &parts {
                    assert_eq!(gradients.get(part).unwrap().to_dense().unwrap().device(), device);
                }
            }
        });
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (a, b) = (Tensor::zeros(&[2, 3]), Tensor::zeros(&[4, 5]));
        let error = concatenate_rows(&[&a, &b]).unwrap_err().to_string();
        assert_eq!(error, "concatenate_rows: matrix 0 has 3 columns, matrix 1 has 5");
        let error = concatenate_columns(&[&a, &a, &b]).unwrap_err().to_string();
        assert_eq!(error, "concatenate_columns: matrix 0 has 2 rows, matrix 2 has 4");
        assert_eq!(
            concatenate_rows(&[]).unwrap_err().to_string(),
            "concatenate_rows: needs at least one matrix"
        );
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let (a, b) = (sample(&[700, 33], 1), sample(&[700, 50], 2));
        assert_same_on_threads(|| {
            let leaves = [a.leaf(), b.leaf()];
            let y = concatenate_columns(&[&leaves[0], &leaves[1]]).unwrap();
            let mut results = vec![y.data().to_vec()];
            let gradients = y.backward_from(sample(&[700, 83], 3)).unwrap();
            results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
            results
        });
    }
}
