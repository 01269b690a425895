//! The gradient of one tensor: whole, or of the rows that were touched.

use crate::cuda::{Argument, Gpu, Grid};
use crate::lanes::add;
use crate::parallel::for_each_row_block;
use crate::{Result, Tensor};

/// The gradient of one tensor.
#[derive(Clone, Debug)]
pub enum Gradient {
    /// One value for each value of the tensor, in its shape.
    Dense(Tensor),
    /// Only the rows that were touched; all others are zero.
    Rows(RowGradient),
}

/// The gradient of a matrix of which few rows were read, such as an embedding.
#[derive(Clone, Debug)]
pub struct RowGradient {
    /// The rows touched, ascending, each once.
    pub rows: Vec<u32>,
    /// Their gradients, `[rows.len(), width]`.
    pub values: Tensor,
    /// The number of rows of the whole matrix.
    pub total_rows: usize,
}

impl From<Tensor> for Gradient {
    fn from(tensor: Tensor) -> Self {
        Gradient::Dense(tensor)
    }
}

impl Gradient {
    /// The gradient with a value everywhere, where its own values lie.
    ///
    /// # Errors
    /// They lie on a GPU, which failed.
    pub fn to_dense(&self) -> Result<Tensor> {
        match self {
            Gradient::Dense(tensor) => Ok(tensor.clone()),
            Gradient::Rows(RowGradient { rows, values, total_rows }) => {
                let (_, width) = values.rows_columns();
                let mut dense = Tensor::zeros_on(values.device(), &[*total_rows, width])?;
                add_to_rows(&mut dense, rows, values)?;
                Ok(dense)
            }
        }
    }

    /// What is kept: the whole gradient, or that of the touched rows.
    pub fn kept(&self) -> &Tensor {
        match self {
            Gradient::Dense(tensor) => tensor,
            Gradient::Rows(sparse) => &sparse.values,
        }
    }

    /// What is kept, to be changed in place, its shape apart.
    pub fn kept_mut(&mut self) -> &mut Tensor {
        match self {
            Gradient::Dense(tensor) => tensor,
            Gradient::Rows(sparse) => &mut sparse.values,
        }
    }

    /// The values that are kept: all of them, or those of the touched rows.
    pub fn values(&self) -> &[f32] {
        self.kept().data()
    }

    /// Changes the kept values in place.
    pub fn update(&mut self, change: impl FnOnce(&mut [f32])) {
        self.kept_mut().update(change);
    }

    /// The sum of two gradients of one tensor.
    ///
    /// # Errors
    /// They lie on a GPU, which failed.
    pub fn plus(self, other: Gradient) -> Result<Gradient> {
        match (self, other) {
            (Gradient::Dense(mut sum), Gradient::Dense(term)) => {
                add_to(&mut sum, &term)?;
                Ok(Gradient::Dense(sum))
            }
            (Gradient::Dense(mut sum), Gradient::Rows(term))
            | (Gradient::Rows(term), Gradient::Dense(mut sum)) => {
                add_to_rows(&mut sum, &term.rows, &term.values)?;
                Ok(Gradient::Dense(sum))
            }
            (Gradient::Rows(a), Gradient::Rows(b)) => Ok(Gradient::Rows(a.merge(&b)?)),
        }
    }
}

/// sum ← sum + term.
fn add_to(sum: &mut Tensor, term: &Tensor) -> Result<()> {
    if let Some(gpu) = Gpu::of([&*sum, term])? {
        let arguments = [sum.address_mut_on(gpu)?, gpu.read(term)?, sum.len().into()];
        return gpu.launch("arithmetic", "add_to", Grid::over(sum.len()), &arguments);
    }
    sum.update(|values| {
        for_each_row_block(values, 1, |first, values| add(values, &term.data()[first..]));
    });
    Ok(())
}

/// sum_{rows_i} ← sum_{rows_i} + terms_i, each row named once.
fn add_to_rows(sum: &mut Tensor, rows: &[u32], terms: &Tensor) -> Result<()> {
    let (_, width) = terms.rows_columns();
    if let Some(gpu) = Gpu::of([&*sum, terms])? {
        let places = gpu.upload(rows)?;
        let sum = sum.address_mut_on(gpu)?;
        let arguments = [sum, Argument::from(&places), gpu.read(terms)?, rows.len().into(), width.into()];
        return gpu.launch("arithmetic", "add_to_rows", Grid::a_warp_each(rows.len()), &arguments);
    }
    sum.update(|values| {
        for (i, &row) in rows.iter().enumerate() {
            add(&mut values[row as usize * width..][..width], terms.row(i));
        }
    });
    Ok(())
}

impl RowGradient {
    fn merge(&self, other: &RowGradient) -> Result<RowGradient> {
        let (_, width) = self.values.rows_columns();
        let mut rows: Vec<u32> = self.rows.iter().chain(&other.rows).copied().collect();
        rows.sort_unstable();
        rows.dedup();
        let mut values = Tensor::zeros_on(self.values.device(), &[rows.len(), width])?;
        for part in [self, other] {
            // All are there: `rows` is the union.
            let places = part.rows.iter().map(|&row| rows.partition_point(|&other| other < row) as u32);
            add_to_rows(&mut values, &places.collect::<Vec<_>>(), &part.values)?;
        }
        Ok(RowGradient { rows, values, total_rows: self.total_rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::testing::{on_each_device, sample};

    /// Rows wider than a warp, more of them than a block has warps.
    #[test]
    fn sparse_gradients_add_up_on_every_device_as_on_the_processor() {
        let sparse = |every: usize, device| {
            let rows: Vec<u32> = (0..99).step_by(every).collect();
            let values = sample(&[rows.len(), 133], every as u64).to(device).unwrap();
            Gradient::Rows(RowGradient { rows, values, total_rows: 99 })
        };
        let sums = |device| {
            let both = sparse(2, device).plus(sparse(3, device)).unwrap();
            let dense =
                Gradient::Dense(sample(&[99, 133], 1).to(device).unwrap()).plus(both.clone()).unwrap();
            [both.values(), both.to_dense().unwrap().data(), dense.values()].map(<[f32]>::to_vec)
        };
        let expected = sums(Device::Cpu);
        on_each_device(|device| assert_eq!(sums(device), expected, "{device}"));
    }

    #[test]
    fn sparse_and_dense_gradients_add_up() {
        on_each_device(|device| {
            let sparse = |rows: &[u32], values: &[f32]| {
                let values = Tensor::new(values.to_vec(), &[rows.len(), 2]).unwrap().to(device).unwrap();
                Gradient::Rows(RowGradient { rows: rows.to_vec(), values, total_rows: 3 })
            };
            let both =
                sparse(&[0, 2], &[1.0, 2.0, 3.0, 4.0]).plus(sparse(&[1, 2], &[5.0, 6.0, 7.0, 8.0])).unwrap();
            let whole = both.to_dense().unwrap();
            assert_eq!(whole.device(), device);
            assert_eq!(whole.data(), [1.0, 2.0, 5.0, 6.0, 10.0, 12.0]);
            let Gradient::Dense(sum) = Gradient::Dense(Tensor::full(&[3, 2], 1.0)).plus(both).unwrap() else {
                panic!("a sparse sum");
            };
            assert_eq!(sum.device(), device);
            assert_eq!(sum.data(), [2.0, 3.0, 6.0, 7.0, 11.0, 13.0]);
        });
    }
}
