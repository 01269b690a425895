//! The transformer encoder, trained from scratch.

use polytask_attention::{Adapter, LayerNorm};
use polytask_tensor::{Error, ParameterBuilder, ParameterId, Parameters, Pass, Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embeddings::Embeddings;
use crate::layer::{LayerSizes, TransformerLayer};
use crate::stack::Stack;
use crate::{Encoder, EncoderConfig, EncoderInput, OnLayer};

/// A transformer trained from scratch on sub-word pieces and word-shape features.
///
/// Each layer is a convolution over neighbouring pieces (where `window` is not 0), self-attention and a feed-forward
/// network, each with a residual.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Transformer {
    /// The width of a state.
    #[schemars(range(min = 1, max = 16_384))]
    pub width: usize,
    /// The number of layers.
    #[schemars(range(max = 256))]
    pub layers: usize,
    /// The number of attention heads; must divide `width`.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// The inner width of the feed-forward networks; 0 is four times `width`.
    #[schemars(range(max = 65_536))]
    pub feed_forward: usize,
    /// Where the layer norms stand.
    pub norm: Norm,
    /// How a token knows its place in the text.
    pub positions: Positions,
    /// Neighbours on each side that a convolution in each layer reads; 0 leaves the convolution out.
    #[schemars(range(max = 64))]
    pub window: usize,
    /// Rows of each of the four word-shape tables (lower-cased form, prefix, suffix, shape); 0 leaves them out.
    #[schemars(range(max = 1_000_000))]
    pub word_shapes: usize,
    /// The share of values dropped from embeddings, blocks and final states in training.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f32,
    /// The share of attention weights dropped in training.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub attention_dropout: f32,
    /// Whether the backward pass computes each layer again instead of keeping what happens inside: a third more time, and of
    /// a layer only its input in memory. For large encoders and long batches; the result is the same.
    pub recompute_activations: bool,
    /// The share of words whose identity is hidden in training; their prefix, suffix and shape stay.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub word_dropout: f32,
}

impl Default for Transformer {
    fn default() -> Self {
        Self {
            width: 128,
            layers: 2,
            heads: 4,
            feed_forward: 0,
            norm: Norm::Pre,
            positions: Positions::Learnt,
            window: 1,
            word_shapes: 4000,
            dropout: 0.2,
            attention_dropout: 0.1,
            recompute_activations: false,
            word_dropout: 0.1,
        }
    }
}

/// Where a transformer's layer norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Before each block, and once at the end: trains well without a long warm-up.
    Pre,
    /// After each residual, as in the first transformer and BERT.
    Post,
}

/// How a token knows its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A learnt vector a place.
    Learnt,
    /// Sines and cosines of the place, fixed.
    Sinusoidal,
    /// Not at all: only convolutions tell the order.
    None,
}

impl Transformer {
    fn layer_sizes(&self) -> LayerSizes {
        LayerSizes {
            width: self.width,
            heads: self.heads,
            feed_forward: if self.feed_forward == 0 { 4 * self.width } else { self.feed_forward },
            norm: self.norm,
            epsilon: LayerNorm::EPSILON,
            window: self.window,
            dropout: self.dropout,
            attention_dropout: self.attention_dropout,
        }
    }

    fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::shape("transformer", message));
        if self.width == 0 || self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            let (width, heads) = (self.width, self.heads);
            return refuse(format!("`width` ({width}) must be a multiple of `heads` ({heads})"));
        }
        if self.word_shapes == 1 {
            return refuse("`word_shapes` must be 0 (none) or at least 2 rows".into());
        }
        for (key, share) in [
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("word_dropout", self.word_dropout),
        ] {
            if !(0.0..1.0).contains(&share) {
                return refuse(format!("`{key}` must lie in [0, 1); found {share}"));
            }
        }
        Ok(())
    }
}

polytask_config::register!("encoder", "transformer", Transformer);

#[typetag::serde(name = "transformer")]
impl EncoderConfig for Transformer {
    fn build(
        &self,
        vocabulary: usize,
        max_tokens: usize,
        adapters: &[Adapter],
        builder: &mut ParameterBuilder<'_>,
    ) -> Result<Box<dyn Encoder>> {
        self.check()?;
        let embeddings = Embeddings::new(self, vocabulary, max_tokens, &mut builder.part("embeddings"))?;
        let sizes = self.layer_sizes();
        let layers = Stack::new(self.layers, self.recompute_activations, adapters, builder, |_, builder| {
            TransformerLayer::new(&sizes, adapters, builder)
        })?;
        let norm = match self.norm {
            Norm::Pre => Some(LayerNorm::new(&mut builder.part("norm"), self.width, LayerNorm::EPSILON)?),
            Norm::Post => None,
        };
        Ok(Box::new(TransformerEncoder {
            embeddings,
            layers,
            norm,
            width: self.width,
            dropout: self.dropout,
        }))
    }
}

#[derive(Debug)]
struct TransformerEncoder {
    embeddings: Embeddings,
    layers: Stack,
    /// Pre-norm layers leave their sum unnormalized: one norm at the end.
    norm: Option<LayerNorm>,
    width: usize,
    dropout: f32,
}

impl Encoder for TransformerEncoder {
    fn width(&self) -> usize {
        self.width
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn piece_embeddings(&self) -> Option<ParameterId> {
        Some(self.embeddings.pieces())
    }

    fn forward(
        &self,
        parameters: &Parameters,
        input: &EncoderInput,
        pass: &mut Pass,
        on_layer: OnLayer<'_>,
    ) -> Result<Tensor> {
        let x = self.embeddings.forward(parameters, input, pass)?;
        let mut x = self.layers.forward(parameters, x, &input.texts, input.adapter, pass, on_layer)?;
        if let Some(norm) = &self.norm {
            x = norm.forward(parameters, &x)?;
        }
        pass.dropout(&x, self.dropout)
    }
}

#[cfg(test)]
mod tests;
