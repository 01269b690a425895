//! Embedding: the rows of a table that ids name, with a gradient of only those rows.
//!
//! ```text
//! table E [rows, width]   ids [n]   →   Y [n, width]
//! Y_p = E_{id_p}                        dE_r = Σ_{p : id_p = r} dY_p
//! ```
//!
//! Kept for the backward: the ids.

use crate::ops::gather_rows::copy_rows;
use crate::parallel::for_each_row_block;
use crate::{Buffer, Error, Gradient, Ids, Operation, Result, RowGradient, Tensor};

/// The rows of `table` `[rows, width]` that `ids` name, `[ids, width]`. The gradient is a [`Gradient::Rows`]: a batch
/// names few of the rows of a vocabulary.
///
/// # Errors
/// The table is no matrix, or an id is not below its number of rows.
///
/// ```
/// # use polytask_tensor::{Ids, Tensor, ops::embedding};
/// let table = Tensor::new(vec![0.0, 0.1, 1.0, 1.1, 2.0, 2.1], &[3, 2])?;
/// assert_eq!(embedding(&table, &Ids::from(vec![2, 0]))?.data(), [2.0, 2.1, 0.0, 0.1]);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn embedding(table: &Tensor, ids: &Ids) -> Result<Tensor> {
    let &[rows, width] = table.shape() else {
        return Err(Error::shape(
            "embedding",
            format!("the table must be [rows, width]; found {:?}", table.shape()),
        ));
    };
    ids.check_below(rows, "embedding")?;
    let y = Buffer::new(copy_rows(table, ids), &[ids.len(), width])?;
    Ok(y.recorded(Embedding { table: table.clone(), ids: ids.clone() }))
}

struct Embedding {
    table: Tensor,
    ids: Ids,
}

impl Operation for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.table]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let (total_rows, _) = self.table.rows_columns();
        Ok(vec![Some(Gradient::Rows(sum_by_row(&self.ids, gradient, total_rows)?))])
    }
}

/// For each id that occurs, the sum of the gradient's rows at its positions, from the first to the last.
pub(super) fn sum_by_row(ids: &Ids, gradient: &Tensor, total_rows: usize) -> Result<RowGradient> {
    // An id in the high word, its position in the low one: sorting brings equal ids together, their positions in order.
    let mut order: Vec<u64> =
        ids.as_slice().iter().zip(0u64..).map(|(&id, p)| u64::from(id) << 32 | p).collect();
    order.sort_unstable();
    let id = |entry: &u64| (entry >> 32) as u32;
    let positions: Vec<&[u64]> = order.chunk_by(|a, b| id(a) == id(b)).collect();
    let rows: Vec<u32> = positions.iter().map(|entries| id(&entries[0])).collect();

    let (_, width) = gradient.rows_columns();
    let mut values = vec![0.0; rows.len() * width];
    for_each_row_block(&mut values, width, |first, block| {
        for (sum, entries) in block.chunks_exact_mut(width).zip(&positions[first..]) {
            for &entry in *entries {
                let row = gradient.row(entry as u32 as usize);
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
    });
    let values = Tensor::new(values, &[rows.len(), width])?;
    Ok(RowGradient { rows, values, total_rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_on_threads, check_gradients, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for (rows, width, ids) in [(1, 1, vec![0]), (3, 1, vec![2, 2, 0]), (5, 3, vec![4, 1, 4, 0, 4, 1])] {
            let ids = Ids::from(ids);
            check_gradients(&[sample(&[rows, width], 1)], |t| embedding(&t[0], &ids));
        }
    }

    #[test]
    fn the_gradient_holds_the_named_rows_alone() {
        let table = sample(&[1000, 2], 1).leaf();
        let y = embedding(&table, &Ids::from(vec![7, 999, 7])).unwrap();
        let gradient = Tensor::new(vec![1.0, 2.0, 3.0, 4.0, 10.0, 20.0], &[3, 2]).unwrap();
        let gradients = y.backward_from(gradient).unwrap();
        let Some(Gradient::Rows(sparse)) = gradients.get(&table) else { panic!("a dense gradient") };
        assert_eq!((sparse.rows.as_slice(), sparse.total_rows), (&[7, 999][..], 1000));
        assert_eq!(sparse.values.data(), [11.0, 22.0, 3.0, 4.0]);
    }

    #[test]
    fn no_ids_are_no_fault() {
        let table = sample(&[3, 2], 1).leaf();
        let y = embedding(&table, &Ids::from(vec![])).unwrap();
        assert_eq!(y.shape(), [0, 2]);
        let gradients = y.backward_from(Tensor::zeros(&[0, 2])).unwrap();
        assert_eq!(gradients.get(&table).unwrap().to_dense().data(), [0.0; 6]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = embedding(&Tensor::zeros(&[3, 2]), &Ids::from(vec![0, 3])).unwrap_err().to_string();
        assert_eq!(error, "embedding: id 3 at position 1 is not below 3");
        let error = embedding(&Tensor::zeros(&[3]), &Ids::from(vec![0])).unwrap_err().to_string();
        assert_eq!(error, "embedding: the table must be [rows, width]; found [3]");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let table = sample(&[500, 65], 1);
        let ids = Ids::from((0..2000u32).map(|i| i * i % 499).collect::<Vec<_>>());
        assert_same_on_threads(|| {
            let leaf = table.leaf();
            let y = embedding(&leaf, &ids).unwrap();
            let values = y.data().to_vec();
            let gradients = y.backward_from(sample(&[2000, 65], 2)).unwrap();
            vec![values, gradients.get(&leaf).unwrap().values().to_vec()]
        });
    }
}
