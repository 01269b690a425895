//! Chosen rows of a matrix, such as the first token of each word; a row may be chosen several times.
//!
//! ```text
//! A [rows, columns]   indices [n]   →   Y [n, columns]
//! Y_p = A_{index_p}                     dA_r = Σ_{p : index_p = r} dY_p
//! ```
//!
//! Kept for the backward: the indices.

use super::embedding::sum_of_rows_on;
use super::sum_by_id::Uses;
use crate::cuda::Gpu;
use crate::lanes::add_scaled;
use crate::parallel::for_each_row_block;
use crate::{Buffer, Gradient, Ids, Operation, Result, Tensor, memory};

/// The rows of `a` `[rows, columns]` that `indices` name, in their order: `[indices, columns]`.
///
/// # Errors
/// An index is not below the number of rows.
pub fn gather_rows(a: &Tensor, indices: &Ids) -> Result<Tensor> {
    let (rows, columns) = a.rows_columns();
    indices.check_below(rows, "gather_rows")?;
    let shape = [indices.len(), columns];
    let operation = GatherRows { a: a.clone(), indices: indices.clone() };
    if let Some(gpu) = Gpu::of([a])? {
        let y = sum_of_rows_on(gpu, &[(a, indices)], indices.len(), columns)?;
        return Ok(Buffer::on_gpu(y, &shape).recorded(operation));
    }
    let mut y = memory::overwritable(indices.len() * columns);
    for_each_row_block(&mut y, columns, |first, block| {
        for (row, &index) in block.chunks_exact_mut(columns).zip(&indices.as_slice()[first..]) {
            let start = index as usize * columns;
            row.copy_from_slice(&a.data()[start..start + columns]);
        }
    });
    Ok(Buffer::new(y, &shape)?.recorded(operation))
}

struct GatherRows {
    a: Tensor,
    indices: Ids,
}

impl Operation for GatherRows {
    fn name(&self) -> &'static str {
        "gather_rows"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let (rows, columns) = self.a.rows_columns();
        if let Some(gpu) = Gpu::of([gradient, &self.a])? {
            let da = Uses::new(&self.indices, 1).dense_sums_on(gpu, gradient, rows)?;
            return Ok(vec![Some(Tensor::on_gpu(da, self.a.shape()).into())]);
        }
        let mut da = memory::zeros(self.a.len());
        for (&index, row) in self.indices.as_slice().iter().zip(gradient.data().chunks_exact(columns.max(1)))
        {
            let start = index as usize * columns;
            add_scaled(&mut da[start..start + columns], 1.0, row);
        }
        Ok(vec![Some(Tensor::of(da, self.a.shape())?.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_on_threads, check_gradients, on_each_device, sample};

    #[test]
    fn gradients_agree_with_differences() {
        // The last: rows wider than a block, one of them summed in several parts.
        for (shape, indices) in [
            (vec![1, 1], vec![0, 0]),
            (vec![4, 3], vec![3, 0, 3]),
            (vec![2, 2, 2], vec![1, 2]),
            (vec![4, 131], [vec![2; 150], vec![0, 3, 0]].concat()),
        ] {
            let indices = Ids::from(indices);
            check_gradients(&[sample(&shape, 1)], |t| gather_rows(&t[0], &indices));
        }
    }

    #[test]
    fn all_rows_in_their_order_are_the_matrix() {
        let a = sample(&[7, 3], 1);
        assert_eq!(gather_rows(&a, &Ids::from((0..7).collect::<Vec<_>>())).unwrap().data(), a.data());
    }

    #[test]
    fn rows_and_their_gradient_stay_where_the_matrix_lies() {
        on_each_device(|device| {
            let a = sample(&[4, 3], 1).leaf().to(device).unwrap();
            let y = gather_rows(&a, &Ids::from(vec![2, 0, 2])).unwrap();
            assert_eq!(y.device(), device);
            let gradients = y.backward_from(Tensor::full(&[3, 3], 1.0)).unwrap();
            let Some(Gradient::Dense(da)) = gradients.get(&a) else { panic!("a sparse gradient") };
            assert_eq!(da.device(), device);
            assert_eq!(da.data(), [[1.0; 3], [0.0; 3], [2.0; 3], [0.0; 3]].concat());
        });
    }

    #[test]
    fn an_index_out_of_bounds_is_named() {
        let error = gather_rows(&Tensor::zeros(&[2, 3]), &Ids::from(vec![2])).unwrap_err().to_string();
        assert_eq!(error, "gather_rows: id 2 at position 0 is not below 2");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let a = sample(&[600, 65], 1);
        let indices = Ids::from((0..900u32).map(|i| i * 7 % 600).collect::<Vec<_>>());
        assert_same_on_threads(|| {
            let leaf = a.leaf();
            let y = gather_rows(&leaf, &indices).unwrap();
            let values = y.data().to_vec();
            let gradients = y.backward_from(sample(&[900, 65], 2)).unwrap();
            vec![values, gradients.get(&leaf).unwrap().values().to_vec()]
        });
    }
}
