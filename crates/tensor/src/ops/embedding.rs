//! Embedding: the rows of tables that ids name, summed, with a gradient of only those rows.
//!
//! ```text
//! tables E^t [rows_t, width]   ids^t [n · k_t], k_t a row of Y   →   Y [n, width]
//! Y_p = Σ_t Σ_{i < k_t} E^t_{id^t_{p k_t + i}}                     dE^t_r = Σ_{p, i : id^t_{p k_t + i} = r} dY_p
//! ```
//!
//! Kept for the backward: the ids.

use super::sum_by_id::Uses;
use crate::cuda::{Argument, Gpu, Grid, Memory};
use crate::lanes::{add_scaled, vectorized};
use crate::parallel::for_each_row_block;
use crate::{Buffer, Error, Gradient, Ids, Operation, Result, RowGradient, Tensor, memory};

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
    embedding_sum(&[(table, ids)], ids.len())
}

/// Each of `rows` rows the sum of rows of several tables of one width, `[rows, width]`. Each table comes with its ids,
/// as many for each row of the result, one row after another. The gradients are [`Gradient::Rows`].
///
/// # Errors
/// There is no table, a table is no matrix or has another width than the first, its ids are no multiple of the rows, or
/// an id is not below its number of rows.
///
/// ```
/// # use polytask_tensor::{Ids, Tensor, ops::embedding_sum};
/// let words = Tensor::new(vec![0.0, 1.0, 2.0], &[3, 1])?;
/// let features = Tensor::new(vec![0.1, 0.2], &[2, 1])?;
/// let (word, two_features) = (Ids::from(vec![2, 0]), Ids::from(vec![0, 1, 1, 1]));
/// assert_eq!(embedding_sum(&[(&words, &word), (&features, &two_features)], 2)?.data(), [2.3, 0.4]);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn embedding_sum(tables: &[(&Tensor, &Ids)], rows: usize) -> Result<Tensor> {
    let width = check(tables, rows)?;
    let owned = tables.iter().map(|&(table, ids)| (table.clone(), ids.clone())).collect();
    let operation = Embedding { tables: owned, rows };
    if let Some(gpu) = Gpu::of(tables.iter().map(|&(table, _)| table))? {
        let y = sum_of_rows_on(gpu, tables, rows, width)?;
        return Ok(Buffer::on_gpu(y, &[rows, width]).recorded(operation));
    }
    let mut y = memory::overwritable(rows * width);
    for_each_row_block(&mut y, width, |first, block| {
        block.fill(0.0);
        for (table, ids) in tables {
            let a_row = ids.len() / rows.max(1);
            let ids = &ids.as_slice()[first * a_row..];
            match table.int8_matrix() {
                Some(matrix) => add_quantized_rows(&matrix.values, &matrix.scales, ids, a_row, block),
                None => add_rows(table.data(), ids, a_row, width, block),
            }
        }
    });
    Ok(Buffer::new(y, &[rows, width])?.recorded(operation))
}

/// The sums on a GPU, table after table.
pub(super) fn sum_of_rows_on(
    gpu: &'static Gpu,
    tables: &[(&Tensor, &Ids)],
    rows: usize,
    width: usize,
) -> Result<Memory> {
    let y = gpu.allocate(rows * width)?;
    for (i, (table, ids)) in tables.iter().enumerate() {
        let a_row = ids.len() / rows.max(1);
        let (adds, table) = (usize::from(i > 0), gpu.read(table)?);
        let arguments =
            [table, ids.on(gpu)?, a_row.into(), rows.into(), width.into(), adds.into(), Argument::from(&y)];
        gpu.launch("embedding", "sum_named_rows", Grid::a_warp_each(rows), &arguments)?;
    }
    Ok(y)
}

/// The width.
fn check(tables: &[(&Tensor, &Ids)], rows: usize) -> Result<usize> {
    let refuse = |message| Err(Error::shape("embedding", message));
    let Some((first, _)) = tables.first() else { return refuse("needs at least one table".to_string()) };
    let (_, width) = first.rows_columns();
    for (table, ids) in tables {
        let &[table_rows, columns] = table.shape() else {
            return refuse(format!("the table must be [rows, width]; found {:?}", table.shape()));
        };
        if columns != width {
            return refuse(format!(
                "the first table is {width} wide, so all must be; found {:?}",
                table.shape()
            ));
        }
        if !ids.len().is_multiple_of(rows) {
            return refuse(format!("{} ids cannot be shared out evenly to {rows} rows", ids.len()));
        }
        ids.check_below(table_rows, "embedding")?;
    }
    Ok(width)
}

vectorized! {
    /// Adds to each row the rows of the table that its ids name.
    fn add_rows(table: &[f32], ids: &[u32], a_row: usize, width: usize, rows: &mut [f32]) {
        for (row, ids) in rows.chunks_exact_mut(width).zip(ids.chunks_exact(a_row.max(1))) {
            for &id in ids {
                let start = id as usize * width;
                add_scaled(row, 1.0, &table[start..start + width]);
            }
        }
    }
}

vectorized! {
    /// The same of a table of 8-bit integers with one scale a column.
    fn add_quantized_rows(table: &[i8], scales: &[f32], ids: &[u32], a_row: usize, rows: &mut [f32]) {
        let width = scales.len();
        for (row, ids) in rows.chunks_exact_mut(width).zip(ids.chunks_exact(a_row.max(1))) {
            for &id in ids {
                let values = &table[id as usize * width..][..width];
                for ((sum, value), scale) in row.iter_mut().zip(values).zip(scales) {
                    *sum += f32::from(*value) * scale;
                }
            }
        }
    }
}

struct Embedding {
    tables: Vec<(Tensor, Ids)>,
    /// The rows of the result.
    rows: usize,
}

impl Operation for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        self.tables.iter().map(|(table, _)| table).collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let of_table = |(table, ids): &(Tensor, Ids)| {
            if !table.is_tracked() {
                return Ok(None);
            }
            let uses = Uses::new(ids, ids.len() / self.rows.max(1));
            let (rows, values) = uses.sums(Gpu::of([gradient, table])?, gradient)?;
            let (total_rows, _) = table.rows_columns();
            Ok(Some(Gradient::Rows(RowGradient { rows, values, total_rows })))
        };
        self.tables.iter().map(of_table).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::add;
    use crate::testing::{assert_same_on_threads, check_gradients, on_each_device, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for (rows, width, ids) in [(1, 1, vec![0]), (3, 1, vec![2, 2, 0]), (5, 3, vec![4, 1, 4, 0, 4, 1])] {
            let ids = Ids::from(ids);
            check_gradients(&[sample(&[rows, width], 1)], |t| embedding(&t[0], &ids));
        }
        let (words, features) = (Ids::from(vec![1, 0, 1]), Ids::from(vec![0, 3, 2, 2, 1, 0]));
        check_gradients(&[sample(&[2, 3], 1), sample(&[4, 3], 2)], |t| {
            embedding_sum(&[(&t[0], &words), (&t[1], &features)], 3)
        });
        // Rows wider than a block, and an id that is summed in several parts.
        let ids = Ids::from((0..200u32).map(|i| if i % 3 == 0 { 1 } else { i % 2 * 2 }).collect::<Vec<_>>());
        check_gradients(&[sample(&[3, 131], 1)], |t| embedding_sum(&[(&t[0], &ids)], 100));
    }

    /// The rows of one table after another, as `add` would take them.
    #[test]
    fn the_sum_is_that_of_the_tables_alone() {
        let [words, places] = [sample(&[5, 33], 1), sample(&[3, 33], 2)];
        let [word, place] = [Ids::from(vec![4, 0, 4, 1]), Ids::from(vec![0, 1, 2, 0])];
        let sum = embedding_sum(&[(&words, &word), (&places, &place)], 4).unwrap();
        let parts = add(&embedding(&words, &word).unwrap(), &embedding(&places, &place).unwrap()).unwrap();
        assert_eq!(sum.data(), parts.data());
    }

    #[test]
    fn a_constant_table_needs_no_gradient() {
        let (words, places) = (sample(&[3, 2], 1).leaf(), sample(&[3, 2], 2));
        let ids = Ids::from(vec![2, 0]);
        let y = embedding_sum(&[(&words, &ids), (&places, &ids)], 2).unwrap();
        let gradients = y.backward_from(Tensor::full(&[2, 2], 1.0)).unwrap();
        assert_eq!(gradients.get(&words).unwrap().to_dense().unwrap().data(), [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        assert!(gradients.get(&places).is_none());
    }

    #[test]
    fn the_gradient_holds_the_named_rows_alone_where_the_table_lies() {
        on_each_device(|device| {
            let table = sample(&[1000, 2], 1).leaf().to(device).unwrap();
            let y = embedding(&table, &Ids::from(vec![7, 999, 7])).unwrap();
            assert_eq!(y.device(), device);
            let gradient = Tensor::new(vec![1.0, 2.0, 3.0, 4.0, 10.0, 20.0], &[3, 2]).unwrap();
            let gradients = y.backward_from(gradient).unwrap();
            let Some(Gradient::Rows(sparse)) = gradients.get(&table) else { panic!("a dense gradient") };
            assert_eq!((sparse.rows.as_slice(), sparse.total_rows), (&[7, 999][..], 1000));
            assert_eq!(sparse.values.device(), device);
            assert_eq!(sparse.values.data(), [11.0, 22.0, 3.0, 4.0]);
        });
    }

    #[test]
    fn a_quantized_table_gives_its_own_values() {
        let (table, ids) = (sample(&[9, 5], 1).quantized(), Ids::from(vec![8, 0, 3, 3]));
        let rows = |a, b| -> Vec<f32> { table.row(a).iter().zip(table.row(b)).map(|(a, b)| a + b).collect() };
        on_each_device(|device| {
            let y = embedding_sum(&[(&table.to(device).unwrap(), &ids)], 2).unwrap();
            assert_eq!(y.data(), [rows(8, 0), rows(3, 3)].concat());
        });
    }

    #[test]
    fn no_ids_are_no_fault() {
        on_each_device(|device| {
            let table = sample(&[3, 2], 1).leaf().to(device).unwrap();
            let y = embedding(&table, &Ids::from(vec![])).unwrap();
            assert_eq!(y.shape(), [0, 2]);
            let gradients = y.backward_from(Tensor::zeros(&[0, 2])).unwrap();
            assert_eq!(gradients.get(&table).unwrap().to_dense().unwrap().data(), [0.0; 6]);
        });
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = embedding(&Tensor::zeros(&[3, 2]), &Ids::from(vec![0, 3])).unwrap_err().to_string();
        assert_eq!(error, "embedding: id 3 at position 1 is not below 3");
        let error = embedding(&Tensor::zeros(&[3]), &Ids::from(vec![0])).unwrap_err().to_string();
        assert_eq!(error, "embedding: the table must be [rows, width]; found [3]");
        let (two, three, ids) = (Tensor::zeros(&[3, 2]), Tensor::zeros(&[3, 3]), Ids::from(vec![0, 1]));
        let error = |tables: &[(&Tensor, &Ids)], rows| embedding_sum(tables, rows).unwrap_err().to_string();
        let found = error(&[(&two, &ids), (&three, &ids)], 2);
        assert_eq!(found, "embedding: the first table is 2 wide, so all must be; found [3, 3]");
        let found = error(&[(&two, &ids)], 3);
        assert_eq!(found, "embedding: 2 ids cannot be shared out evenly to 3 rows");
        assert_eq!(error(&[], 3), "embedding: needs at least one table");
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
