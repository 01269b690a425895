//! Sums and means of many values, in two stages whose order the number of values decides.

use super::{Argument, Gpu, Grid, Memory};
use crate::{Result, Tensor};

impl Gpu {
    /// Σ of so many values; a scalar.
    pub(crate) fn sum(&'static self, values: Argument, count: usize) -> Result<Memory> {
        let total = self.allocate(1)?;
        let arguments = [values, Argument::from(&total), count.into()];
        self.launch("arithmetic", "sum", Grid::blocks(1, 1024), &arguments)?;
        Ok(total)
    }

    /// The mean of some function of each pair of values of two tensors of one shape; a scalar, 0 of no values.
    ///
    /// Kernel `name` of `kernels/{file}.cu` makes a part of it in each of its blocks. Its arguments are those of the
    /// tensors, the parts, what one value adds to a mean, and the number of values.
    pub(crate) fn mean_over_pairs(
        &'static self,
        file: &'static str,
        name: &'static str,
        [a, b]: [&Tensor; 2],
    ) -> Result<Memory> {
        let count = a.len();
        assert_eq!(count, b.len(), "inputs of several lengths for `{name}`");
        let grid = Grid::over(count);
        let blocks = grid.blocks[0] as usize;
        let parts = self.allocate(blocks)?;
        let share = 1.0 / count.max(1) as f32;
        let arguments = [self.read(a)?, self.read(b)?, Argument::from(&parts), share.into(), count.into()];
        self.launch(file, name, grid, &arguments)?;
        self.sum(Argument::from(&parts), blocks)
    }

    /// dA of such a mean, of A's shape. Kernel `name` makes it; its arguments are those of the tensors, the gradient of the
    /// mean, dA, what one value adds to a mean, and the number of values.
    pub(crate) fn mean_over_pairs_backward(
        &'static self,
        file: &'static str,
        name: &'static str,
        [a, b]: [&Tensor; 2],
        gradient: &Tensor,
    ) -> Result<Tensor> {
        let count = a.len();
        let da = self.allocate(count)?;
        let share = 1.0 / count.max(1) as f32;
        let [a_place, b_place, gradient] = [self.read(a)?, self.read(b)?, self.read(gradient)?];
        let arguments = [a_place, b_place, gradient, Argument::from(&da), share.into(), count.into()];
        self.launch(file, name, Grid::over(count), &arguments)?;
        Ok(Tensor::on_gpu(da, a.shape()))
    }
}
