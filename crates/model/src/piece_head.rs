//! The head of piece-level tasks: which piece of the vocabulary stands at a place.

use polytask_attention::{LayerNorm, Linear};
use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, Tensor, ops};

use crate::Result;

/// y = norm(gelu(x W + c)) Eᵀ + b, where E is the encoder's own table of pieces.
///
/// Devlin et al., *BERT*, 2019, as published with their code. Parameters: `transform.weight` `[width, width of E]`,
/// `transform.bias`, `norm.gain`, `norm.bias`, and `bias` `[rows of E]`, zero.
#[derive(Debug)]
pub(crate) struct PieceHead {
    transform: Linear,
    norm: LayerNorm,
    table: ParameterId,
    bias: ParameterId,
    mask: u32,
}

impl PieceHead {
    /// Makes the parameters under the builder's prefix; `mask` is the piece that stands for hidden ones.
    pub(crate) fn new(
        builder: &mut ParameterBuilder<'_>,
        width: usize,
        table: ParameterId,
        mask: u32,
    ) -> Result<Self> {
        let (rows, table_width) = builder.get(table).rows_columns();
        let transform = Linear::new(&mut builder.part("transform"), width, table_width)?;
        let norm = LayerNorm::new(&mut builder.part("norm"), table_width, LayerNorm::EPSILON)?;
        let bias = builder.parameter("bias", &[rows], Initializer::Constant(0.0))?;
        Ok(Self { transform, norm, table, bias, mask })
    }

    /// The piece that stands for hidden ones.
    pub(crate) fn mask(&self) -> u32 {
        self.mask
    }

    /// `[hidden pieces, width]` → `[hidden pieces, rows of E]`.
    pub(crate) fn forward(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        let x = self.norm.forward(parameters, &self.transform.forward_gelu(parameters, x)?)?;
        Ok(ops::linear_transposed(&x, parameters.get(self.table), parameters.get(self.bias))?)
    }
}
