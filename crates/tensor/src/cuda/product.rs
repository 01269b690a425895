use super::Argument;
use crate::{Precision, Tensor};

/// Bytes of which the addresses that an epilogue uses are multiples: it reads whole vectors.
const ALIGNMENT: u64 = 16;
/// Values of which the rows of an epilogue's matrix are multiples.
const COLUMNS_ALIGNMENT: usize = 8;

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

impl From<Precision> for Numbers {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Numbers::F32,
            Precision::Tf32 => Numbers::Tf32,
            Precision::Bf16 => Numbers::Bf16,
        }
    }
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

/// What a product does besides, where the GPU can do it so: [`Gpu::can_multiply`](super::Gpu::can_multiply).
///
/// GELU is its approximation by tanh: gelu(z) = z/2 · (1 + tanh(√(2/π) (z + 0.044715 z³))), off by 5e-4 at most.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Epilogue {
    Nothing,
    /// Adds `bias [columns]` to each row.
    Bias(Argument),
    /// gelu(product + `bias [columns]`), and in `sum [rows, columns]`, where it is given, what GELU is taken of. Bias, sum and
    /// result are bf16.
    BiasGelu {
        bias: Argument,
        sum: Option<Argument>,
    },
    /// The product ⊙ gelu'(`sum [rows, columns]`). Sum and result are bf16.
    GeluGradient {
        sum: Argument,
    },
    /// Writes Σ over the rows of right, `[columns]`, beside the product: a bias's gradient beside its weight's.
    RightSums(Argument),
}

impl Epilogue {
    /// The address of its vector, `[columns]`.
    pub(crate) fn vector(self) -> Option<Argument> {
        match self {
            Self::Bias(vector) | Self::RightSums(vector) | Self::BiasGelu { bias: vector, .. } => {
                Some(vector)
            }
            Self::Nothing | Self::GeluGradient { .. } => None,
        }
    }

    /// The address of its matrix, `[rows, columns]`.
    pub(crate) fn matrix(self) -> Option<Argument> {
        match self {
            Self::BiasGelu { sum, .. } => sum,
            Self::GeluGradient { sum } => Some(sum),
            Self::Nothing | Self::Bias(_) | Self::RightSums(_) => None,
        }
    }

    /// Whether the result is bf16, which feeds another product, rather than f32.
    pub(crate) fn rounds(self) -> bool {
        matches!(self, Self::BiasGelu { .. } | Self::GeluGradient { .. })
    }
}

/// `result [rows, columns] = left [rows, inner] · right [inner, columns]`, all row-major.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) columns: usize,
    pub(crate) left: Operand,
    pub(crate) right: Operand,
    pub(crate) result: Argument,
    pub(crate) numbers: Numbers,
    pub(crate) epilogue: Epilogue,
}

impl Product {
    /// The same with an epilogue.
    pub(crate) fn with(self, epilogue: Epilogue) -> Self {
        Self { epilogue, ..self }
    }

    /// Whether the documentation of cuBLASLt promises the epilogue.
    pub(crate) fn fits_epilogue(&self) -> bool {
        let is_aligned = |place: Option<Argument>| {
            place.is_none_or(|place| !place.is_null() && place.address().is_multiple_of(ALIGNMENT))
        };
        let (vector, matrix) = (self.epilogue.vector(), self.epilogue.matrix());
        is_aligned(vector)
            && is_aligned(matrix)
            && (matrix.is_none() || self.columns.is_multiple_of(COLUMNS_ALIGNMENT))
            && !(self.right.is_transposed && matches!(self.epilogue, Epilogue::RightSums(_)))
    }
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

    pub(super) fn shape(self) -> [usize; 2] {
        let (rows, columns) = self.matrix.rows_columns();
        if self.is_transposed { [columns, rows] } else { [rows, columns] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epilogue_is_asked_for_where_its_addresses_and_rows_are_aligned() {
        let place = Argument::from(4096usize);
        let operand = Operand::new(place);
        let numbers = Numbers::Bf16;
        let product = |columns| Product {
            rows: 3,
            inner: 5,
            columns,
            left: operand,
            right: operand,
            result: place,
            numbers,
            epilogue: Epilogue::Nothing,
        };
        let fits = |columns, epilogue| product(columns).with(epilogue).fits_epilogue();
        assert!(
            fits(7, Epilogue::Nothing) && fits(7, Epilogue::Bias(place)) && fits(8, Epilogue::Bias(place))
        );
        assert!(!fits(8, Epilogue::Bias(place.plus(1))) && !fits(8, Epilogue::RightSums(Argument::NULL)));
        assert!(
            fits(8, Epilogue::GeluGradient { sum: place })
                && !fits(12, Epilogue::GeluGradient { sum: place })
        );
        assert!(!fits(8, Epilogue::BiasGelu { bias: place, sum: Some(place.plus(2)) }));
        let turned = Product { right: operand.transposed(), ..product(8) };
        assert!(turned.fits_epilogue() && !turned.with(Epilogue::RightSums(place)).fits_epilogue());
    }
}
