use super::{Argument, Gpu, Grid, Memory};
use crate::{Gradient, Precision, Result, Tensor};

/// Bytes of which the address of a bias is a multiple where a product adds it.
const BIAS_ALIGNMENT: u64 = 16;

/// In which numbers a product is computed. Sums are f32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Numbers {
    /// Both sides as they are.
    F32,
    /// Both sides are f32, of which the product reads 10 bits of mantissa.
    Tf32,
    /// Both sides are bf16, two bytes a value.
    Bf16,
}

/// One side of a product: row-major values, read transposed where that is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub(crate) address: Argument,
    pub(crate) is_transposed: bool,
}

impl Operand {
    pub(crate) fn new(address: Argument) -> Self {
        Self { address, is_transposed: false }
    }

    /// The same values read with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self { is_transposed: !self.is_transposed, ..self }
    }
}

/// `result [rows, columns] = left [rows, inner] · right [inner, columns] (+ bias [columns])`, all row-major.
///
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) columns: usize,
    pub(crate) left: Operand,
    pub(crate) right: Operand,
    pub(crate) bias: Option<Argument>,
    pub(crate) result: Argument,
    pub(crate) numbers: Numbers,
}

/// A matrix as one side of a product, read transposed or not.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) matrix: &'a Tensor,
    pub(crate) is_transposed: bool,
}

impl<'a> From<&'a Tensor> for Side<'a> {
    fn from(matrix: &'a Tensor) -> Self {
        Self { matrix, is_transposed: false }
    }
}

impl Side<'_> {
    /// The same matrix with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self { is_transposed: !self.is_transposed, ..self }
    }

    fn shape(self) -> [usize; 2] {
        let (rows, columns) = self.matrix.rows_columns();
        if self.is_transposed { [columns, rows] } else { [rows, columns] }
    }
}

impl Gpu {
    /// left · right (+ bias, one value a column), in the numbers that `precision` says.
    pub(crate) fn product(
        &'static self,
        precision: Precision,
        left: Side<'_>,
        right: Side<'_>,
        bias: Option<&Tensor>,
    ) -> Result<Memory> {
        let ([rows, inner], [same, columns]) = (left.shape(), right.shape());
        assert_eq!(inner, same, "an operation asked for a product of matrices that do not fit");
        let result = if inner == 0 { self.zeros(rows * columns) } else { self.allocate(rows * columns) }?;
        if inner == 0 {
            bias.map_or(Ok(()), |bias| self.add_bias(&result, bias, rows))?;
            return Ok(result);
        }
        let numbers = match precision {
            Precision::F32 => Numbers::F32,
            Precision::Tf32 => Numbers::Tf32,
            Precision::Bf16 => Numbers::Bf16,
        };
        let side = |side: Side<'_>| -> Result<Operand> {
            let operand = match numbers {
                Numbers::F32 | Numbers::Tf32 => Operand::new(self.read(side.matrix)?),
                Numbers::Bf16 => {
                    side.matrix.bf16_operand_on(self, |values, count| self.round_to_bf16(values, count))?
                }
            };
            Ok(if side.is_transposed { operand.transposed() } else { operand })
        };
        let address = bias.map(|bias| self.read(bias)).transpose()?;
        let product = Product {
            rows,
            inner,
            columns,
            left: side(left)?,
            right: side(right)?,
            bias: address.filter(|address| address.address().is_multiple_of(BIAS_ALIGNMENT)),
            result: Argument::from(&result),
            numbers,
        };
        match bias {
            // The library refuses some shapes with a bias, and reads a bias only in whole vectors.
            Some(bias) if product.bias.is_none() || self.multiply(&product).is_err() => {
                self.multiply(&Product { bias: None, ..product })?;
                self.add_bias(&result, bias, rows)?;
            }
            Some(_) => {}
            None => self.multiply(&product)?,
        }
        Ok(result)
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

    /// Adds the bias to each row.
    fn add_bias(&'static self, result: &Memory, bias: &Tensor, rows: usize) -> Result<()> {
        let count = rows * bias.len();
        let arguments = [result.into(), self.read(bias)?, bias.len().into(), count.into()];
        self.launch("linear", "add_bias", Grid::over(count), &arguments)
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

    fn round_to_bf16(&'static self, values: &Memory, count: usize) -> Result<Memory> {
        let rounded = self.allocate(count.div_ceil(2))?;
        let arguments = [values.into(), Argument::from(&rounded), count.into()];
        self.launch("linear", "round_to_bf16", Grid::over(count), &arguments)?;
        Ok(rounded)
    }
}
