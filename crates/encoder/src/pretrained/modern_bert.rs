//! ModernBERT: rotary positions, gated feed-forward networks, the norm before each block, local attention in most layers.

use polytask_attention::{Adapter, Bottlenecks, LayerNorm, Linear, SelfAttention};
use polytask_tensor::{Offsets, ParameterBuilder, ParameterId, Parameters, Pass, Result, Tensor, ops};

use super::architecture::{Architecture, Rotary};
use super::{TABLE, check_longest};
use crate::stack::{Layer, Stack};
use crate::{Encoder, EncoderInput, OnLayer};

/// Embeddings and layers of ModernBERT: x_i = norm(E_piece[id_i]), then the layers, then a norm.
#[derive(Debug)]
pub(super) struct ModernBert {
    pieces: ParameterId,
    embeddings_norm: LayerNorm,
    layers: Stack,
    norm: LayerNorm,
    width: usize,
    max_tokens: usize,
    dropout: f32,
}

impl ModernBert {
    pub(super) fn new(
        architecture: &Architecture,
        rotary: &Rotary,
        recompute_activations: bool,
        adapters: &[Adapter],
        builder: &mut ParameterBuilder<'_>,
    ) -> Result<Self> {
        let Architecture { vocabulary, width, max_tokens, epsilon, dropout, .. } = *architecture;
        let mut embeddings = builder.part("embeddings");
        let pieces = embeddings.part("pieces").parameter("weight", &[vocabulary, width], TABLE)?;
        let embeddings_norm = LayerNorm::without_bias(&mut embeddings.part("norm"), width, epsilon)?;
        let layers =
            Stack::new(architecture.layers, recompute_activations, adapters, builder, |layer, builder| {
                ModernLayer::new(architecture, rotary, layer, adapters, builder)
            })?;
        let norm = LayerNorm::without_bias(&mut builder.part("norm"), width, epsilon)?;
        Ok(Self { pieces, embeddings_norm, layers, norm, width, max_tokens, dropout })
    }
}

impl Encoder for ModernBert {
    fn width(&self) -> usize {
        self.width
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn piece_embeddings(&self) -> Option<ParameterId> {
        Some(self.pieces)
    }

    fn forward(
        &self,
        parameters: &Parameters,
        input: &EncoderInput,
        pass: &mut Pass,
        on_layer: OnLayer<'_>,
    ) -> Result<Tensor> {
        check_longest(&input.texts, self.max_tokens)?;
        let tables = [(parameters.get(self.pieces), &input.pieces)];
        let x = ops::embedding_sum(&tables, input.pieces.len())?;
        let x = pass.dropout(&self.embeddings_norm.forward(parameters, &x)?, self.dropout)?;
        let x = self.layers.forward(parameters, x, &input.texts, input.adapter, pass, on_layer)?;
        pass.dropout(&self.norm.forward(parameters, &x)?, self.dropout)
    }
}

/// x ← x + attention(norm(x)), x ← x + feed_forward(norm(x)), where the first layer leaves out the first norm.
#[derive(Debug)]
struct ModernLayer {
    attention_norm: Option<LayerNorm>,
    attention: SelfAttention,
    feed_forward_norm: LayerNorm,
    feed_forward: GatedFeedForward,
}

impl ModernLayer {
    fn new(
        architecture: &Architecture,
        rotary: &Rotary,
        layer: usize,
        adapters: &[Adapter],
        builder: &mut ParameterBuilder<'_>,
    ) -> Result<Self> {
        let Architecture { width, heads, feed_forward, epsilon, attention_dropout, dropout, .. } =
            *architecture;
        let (base, window) = match layer.is_multiple_of(rotary.global_every) {
            true => (rotary.global_base, None),
            false => (rotary.local_base, Some(rotary.window)),
        };
        let attention_norm = match layer {
            0 => None,
            _ => Some(LayerNorm::without_bias(&mut builder.part("attention_norm"), width, epsilon)?),
        };
        let mut attention = builder.part("attention");
        let attention = SelfAttention::rotary(&mut attention, width, heads, attention_dropout, base, window)?
            .with_adapters(&mut attention, adapters)?;
        let feed_forward_norm =
            LayerNorm::without_bias(&mut builder.part("feed_forward_norm"), width, epsilon)?;
        let feed_forward = GatedFeedForward::new(
            &mut builder.part("feed_forward"),
            [width, feed_forward],
            dropout,
            adapters,
        )?;
        Ok(Self { attention_norm, attention, feed_forward_norm, feed_forward })
    }
}

impl Layer for ModernLayer {
    fn forward(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        texts: &Offsets,
        adapter: Option<usize>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let normalised = match &self.attention_norm {
            Some(norm) => norm.forward(parameters, x)?,
            None => x.clone(),
        };
        let attended = self.attention.forward_adapted(parameters, &normalised, texts, adapter, pass)?;
        let x = ops::add(x, &attended)?;
        let normalised = self.feed_forward_norm.forward(parameters, &x)?;
        ops::add(&x, &self.feed_forward.forward(parameters, &normalised, adapter, pass)?)
    }
}

/// (gelu(x W_up) ⊙ x W_gate) W_down, with dropout before the last product: Shazeer, *GLU Variants Improve Transformer*, 2020.
#[derive(Debug)]
struct GatedFeedForward {
    up: Linear,
    gate: Linear,
    down: Linear,
    bottlenecks: Bottlenecks,
    dropout: f32,
}

impl GatedFeedForward {
    fn new(
        builder: &mut ParameterBuilder<'_>,
        [width, inner]: [usize; 2],
        dropout: f32,
        adapters: &[Adapter],
    ) -> Result<Self> {
        let mut linear = |name: &str, inputs: usize, outputs: usize| {
            let mut part = builder.part(name);
            Linear::without_bias(&mut part, inputs, outputs, 1)?.with_adapters(&mut part, adapters)
        };
        let (up, gate) = (linear("up", width, inner)?, linear("gate", width, inner)?);
        let down = linear("down", inner, width)?;
        Ok(Self { up, gate, down, bottlenecks: Bottlenecks::new(builder, width, adapters)?, dropout })
    }

    fn forward(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        adapter: Option<usize>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let up = self.up.forward_gelu_adapted(parameters, x, adapter, pass)?;
        let inner = ops::multiply(&up, &self.gate.forward_adapted(parameters, x, adapter, pass)?)?;
        let inner = pass.dropout(&inner, self.dropout)?;
        let y = self.down.forward_adapted(parameters, &inner, adapter, pass)?;
        self.bottlenecks.forward(parameters, y, adapter)
    }
}
