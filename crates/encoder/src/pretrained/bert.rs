//! BERT and its kin: learnt positions, layers with the norm after each residual.

use polytask_attention::{Adapter, LayerNorm, Linear};
use polytask_tensor::{Ids, Offsets, ParameterBuilder, ParameterId, Parameters, Pass, Result, Tensor, ops};

use super::architecture::Architecture;
use super::{TABLE, check_longest};
use crate::layer::{LayerSizes, TransformerLayer};
use crate::stack::Stack;
use crate::{Encoder, EncoderInput, Norm, OnLayer};

/// Embeddings and layers of BERT, DistilBERT, RoBERTa or ELECTRA.
#[derive(Debug)]
pub(super) struct Bert {
    embeddings: Embeddings,
    layers: Stack,
    width: usize,
    dropout: f32,
}

impl Bert {
    pub(super) fn new(
        architecture: &Architecture,
        recompute_activations: bool,
        adapters: &[Adapter],
        builder: &mut ParameterBuilder<'_>,
    ) -> Result<Self> {
        let Architecture { width, heads, feed_forward, epsilon, dropout, attention_dropout, .. } =
            *architecture;
        let embeddings = Embeddings::new(architecture, &mut builder.part("embeddings"))?;
        let sizes = LayerSizes {
            width,
            heads,
            feed_forward,
            norm: Norm::Post,
            epsilon,
            window: 0,
            dropout,
            attention_dropout,
        };
        let layers =
            Stack::new(architecture.layers, recompute_activations, adapters, builder, |_, builder| {
                TransformerLayer::new(&sizes, adapters, builder)
            })?;
        Ok(Self { embeddings, layers, width, dropout })
    }
}

impl Encoder for Bert {
    fn width(&self) -> usize {
        self.width
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn piece_embeddings(&self) -> Option<ParameterId> {
        Some(self.embeddings.pieces)
    }

    fn forward(
        &self,
        parameters: &Parameters,
        input: &EncoderInput,
        pass: &mut Pass,
        on_layer: OnLayer<'_>,
    ) -> Result<Tensor> {
        let x = self.embeddings.forward(parameters, input, pass)?;
        let x = self.layers.forward(parameters, x, &input.texts, input.adapter, pass, on_layer)?;
        pass.dropout(&x, self.dropout)
    }
}

/// x_i = norm(E_piece[id_i] + P[first + place of i] + T[0]) with dropout, through a projection where the layers have
/// another width.
#[derive(Debug)]
struct Embeddings {
    pieces: ParameterId,
    positions: ParameterId,
    token_types: Option<ParameterId>,
    norm: LayerNorm,
    projection: Option<Linear>,
    first_position: u32,
    max_tokens: usize,
    dropout: f32,
}

impl Embeddings {
    fn new(architecture: &Architecture, builder: &mut ParameterBuilder<'_>) -> Result<Self> {
        let Architecture { embedding_width: width, first_position, max_tokens, epsilon, dropout, .. } =
            *architecture;
        let mut table =
            |name: &str, rows: usize| builder.part(name).parameter("weight", &[rows, width], TABLE);
        let pieces = table("pieces", architecture.vocabulary)?;
        let positions = table("positions", first_position + max_tokens)?;
        let token_types = match architecture.token_types {
            0 => None,
            rows => Some(table("token_types", rows)?),
        };
        let norm = LayerNorm::new(&mut builder.part("norm"), width, epsilon)?;
        let projection = match architecture.width {
            same if same == width => None,
            other => Some(Linear::new(&mut builder.part("projection"), width, other)?),
        };
        let first_position = first_position as u32;
        Ok(Self { pieces, positions, token_types, norm, projection, first_position, max_tokens, dropout })
    }

    fn forward(&self, parameters: &Parameters, input: &EncoderInput, pass: &mut Pass) -> Result<Tensor> {
        let positions = self.places(&input.texts)?;
        let mut tables =
            vec![(parameters.get(self.pieces), &input.pieces), (parameters.get(self.positions), &positions)];
        let first_type = Ids::from(vec![0; input.pieces.len()]);
        if let Some(table) = self.token_types {
            tables.push((parameters.get(table), &first_type));
        }
        let x = ops::embedding_sum(&tables, input.pieces.len())?;
        let x = pass.dropout(&self.norm.forward(parameters, &x)?, self.dropout)?;
        match &self.projection {
            Some(projection) => projection.forward(parameters, &x),
            None => Ok(x),
        }
    }

    /// The row of the table of positions for each piece.
    fn places(&self, texts: &Offsets) -> Result<Ids> {
        check_longest(texts, self.max_tokens)?;
        let places =
            texts.iter().flat_map(|text| (0..text.len() as u32).map(|place| self.first_position + place));
        Ok(places.collect::<Vec<_>>().into())
    }
}
