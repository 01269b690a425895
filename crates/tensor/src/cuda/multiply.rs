//! Products of tensors, and what layers of a weight and a bias need beside them.

use super::{Argument, Epilogue, Gpu, Grid, Memory, Numbers, Operand, Product, Side};
use crate::{Gradient, Precision, Result, Tensor};

impl Gpu {
    /// left · right (+ bias, one value a column), in the numbers that `precision` says.
    pub(crate) fn product(
        &'static self,
        precision: Precision,
        left: Side<'_>,
        right: Side<'_>,
        bias: Option<&Tensor>,
    ) -> Result<Memory> {
        let ([rows, inner], [_, columns]) = (left.shape(), right.shape());
        let result = if inner == 0 { self.zeros(rows * columns) } else { self.allocate(rows * columns) }?;
        let product = self.described(precision, left, right, &result)?;
        let Some(bias) = bias else {
            self.multiply(&product)?;
            return Ok(result);
        };
        let with_bias = product.with(Epilogue::Bias(self.read(bias)?));
        if self.can_multiply(&with_bias)? {
            self.multiply(&with_bias)?;
        } else {
            self.multiply(&product)?;
            let count = rows * columns;
            let arguments = [Argument::from(&result), self.read(bias)?, columns.into(), count.into()];
            self.launch("linear", "add_bias", Grid::over(count), &arguments)?;
        }
        Ok(result)
    }

    fn described(
        &'static self,
        precision: Precision,
        left: Side<'_>,
        right: Side<'_>,
        result: &Memory,
    ) -> Result<Product> {
        let ([rows, inner], [same, columns]) = (left.shape(), right.shape());
        assert_eq!(inner, same, "an operation asked for a product of matrices that do not fit");
        let numbers = Numbers::from(precision);
        let (left, right) = (self.operand(left, numbers)?, self.operand(right, numbers)?);
        let (result, epilogue) = (Argument::from(result), Epilogue::Nothing);
        Ok(Product { rows, inner, columns, left, right, result, numbers, epilogue })
    }

    fn operand(&'static self, side: Side<'_>, numbers: Numbers) -> Result<Operand> {
        let operand = match numbers {
            Numbers::F32 | Numbers::Tf32 => Operand::new(self.read(side.matrix)?),
            Numbers::Bf16 => Operand::new(self.read_bf16(side.matrix)?),
        };
        Ok(if side.is_transposed { operand.transposed() } else { operand })
    }

    /// The gradient of a matrix that is the product of two others; `None` where it is not tracked.
    pub(crate) fn gradient(
        &'static self,
        of: &Tensor,
        precision: Precision,
        left: Side<'_>,
        right: Side<'_>,
    ) -> Result<Option<Gradient>> {
        if !of.is_tracked() {
            return Ok(None);
        }
        let product = self.product(precision, left, right, None)?;
        Ok(Some(Tensor::on_gpu(product, of.shape()).into()))
    }

    /// dW = Xᵀ dY and db = Σ over the rows of dY, each where its tensor is tracked; of one product where it can give both.
    pub(crate) fn gradients_of_weight_and_bias(
        &'static self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<[Option<Gradient>; 2]> {
        let (precision, left) = (weight.precision(), Side::from(x).transposed());
        let Some(bias) = bias.filter(|bias| bias.is_tracked()) else {
            return Ok([self.gradient(weight, precision, left, dy.into())?, None]);
        };
        let gradient = |memory, of: &Tensor| Some(Tensor::on_gpu(memory, of.shape()).into());
        if weight.is_tracked() {
            let (dw, db) = (self.allocate(weight.len())?, self.allocate(bias.len())?);
            let product = self.described(precision, left, dy.into(), &dw)?;
            let product = product.with(Epilogue::RightSums(Argument::from(&db)));
            if self.can_multiply(&product)? {
                self.multiply(&product)?;
                return Ok([gradient(dw, weight), gradient(db, bias)]);
            }
        }
        let dw = self.gradient(weight, precision, left, dy.into())?;
        Ok([dw, gradient(self.sum_over_rows(dy)?, bias)])
    }

    /// Σ over the rows of a matrix, one value a column.
    pub(crate) fn sum_over_rows(&'static self, matrix: &Tensor) -> Result<Memory> {
        /// Rows that a block sums. Their sums are summed by the same kernel: the order depends on the shape alone.
        const ROWS: usize = 128;
        /// Columns of a block, and threads that share one.
        const COLUMNS: usize = 32;
        const THREADS: u32 = 256;
        let (mut rows, columns) = matrix.rows_columns();
        if rows == 0 {
            return self.zeros(columns);
        }
        let mut sums: Option<Memory> = None;
        loop {
            let blocks = rows.div_ceil(ROWS);
            let next = self.allocate(blocks * columns)?;
            let from = sums.as_ref().map_or_else(|| self.read(matrix), |sums| Ok(sums.into()))?;
            let grid = Grid::blocks(columns.div_ceil(COLUMNS), THREADS).times(blocks, 1);
            let arguments = [from, rows.into(), columns.into(), ROWS.into(), Argument::from(&next)];
            self.launch("linear", "sum_over_rows", grid, &arguments)?;
            if blocks == 1 {
                return Ok(next);
            }
            (rows, sums) = (blocks, Some(next));
        }
    }

    /// Where a tensor's values lie on this GPU as bf16, rounded once.
    pub(crate) fn read_bf16(&'static self, tensor: &Tensor) -> Result<Argument> {
        tensor.bf16_address_on(self, |values, count| self.rounded(values.into(), count))
    }

    /// The nearest bf16 of so many f32.
    pub(crate) fn rounded(&'static self, values: Argument, count: usize) -> Result<Memory> {
        let rounded = self.allocate_bf16(count)?;
        let arguments = [values, Argument::from(&rounded), count.into()];
        self.launch("linear", "round_to_bf16", Grid::over(count), &arguments)?;
        Ok(rounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::ops::linear;
    use crate::testing::{accelerators, check_devices, sample};

    /// The emulated GPU refuses epilogues of odd columns: then the bias is added, and its gradient summed, by kernels.
    #[test]
    fn what_a_product_cannot_do_besides_is_done_after_it() {
        for columns in [8, 7] {
            let inputs = [sample(&[300, 6], 1), sample(&[6, columns], 2), sample(&[columns], 3)];
            check_devices(&inputs, |t| linear(&t[0], &t[1], Some(&t[2])));
            for gpu in accelerators().filter(|&device| device == Device::Emulated) {
                let gpu = Gpu::open(gpu).unwrap();
                let y = gpu.allocate(300 * columns).unwrap();
                let [x, weight, bias] = &inputs;
                let product = gpu.described(Precision::F32, x.into(), weight.into(), &y).unwrap();
                let with_bias = product.with(Epilogue::Bias(gpu.read(bias).unwrap()));
                assert_eq!(gpu.can_multiply(&with_bias).unwrap(), columns == 8);
                assert!(gpu.can_multiply(&product).unwrap());
                assert_eq!(gpu.multiply(&with_bias).is_ok(), columns == 8);
            }
        }
    }
}
