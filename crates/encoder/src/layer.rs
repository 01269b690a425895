//! One layer of the transformer.

use polytask_attention::{Adapter, Bottlenecks, LayerNorm, Linear, SelfAttention};
use polytask_tensor::{Offsets, ParameterBuilder, Parameters, Pass, Result, Tensor, ops};

use crate::Norm;
use crate::stack::Layer;

/// What a layer is made of.
#[derive(Debug)]
pub(crate) struct LayerSizes {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    /// The inner width of the feed-forward network.
    pub(crate) feed_forward: usize,
    pub(crate) norm: Norm,
    /// What the norms add to the variance.
    pub(crate) epsilon: f32,
    /// Neighbours on each side that the convolution reads; 0 leaves it out.
    pub(crate) window: usize,
    pub(crate) dropout: f32,
    pub(crate) attention_dropout: f32,
}

/// Blocks in a row, each around a residual:
///
/// ```text
/// pre-norm    x ← x + dropout(block(norm(x)))
/// post-norm   x ← norm(x + dropout(block(x)))
///
/// block: convolution (only with a window), self-attention, feed-forward
/// ```
#[derive(Debug)]
pub(crate) struct TransformerLayer {
    convolution: Option<Block<Convolution>>,
    attention: Block<SelfAttention>,
    feed_forward: Block<FeedForward>,
    norm: Norm,
    dropout: f32,
}

#[derive(Debug)]
struct Block<T> {
    inside: T,
    norm: LayerNorm,
}

impl TransformerLayer {
    pub(crate) fn new(
        sizes: &LayerSizes,
        adapters: &[Adapter],
        builder: &mut ParameterBuilder<'_>,
    ) -> Result<Self> {
        let LayerSizes { width, heads, feed_forward, norm, epsilon, dropout, attention_dropout, .. } = *sizes;
        let convolution = match sizes.window {
            0 => None,
            radius => Some(Block {
                inside: Convolution::new(&mut builder.part("convolution"), width, radius)?,
                norm: LayerNorm::new(&mut builder.part("convolution_norm"), width, epsilon)?,
            }),
        };
        let mut part = builder.part("attention");
        let attention = SelfAttention::new(&mut part, width, heads, attention_dropout)?;
        let attention = Block {
            inside: attention.with_adapters(&mut part, adapters)?,
            norm: LayerNorm::new(&mut builder.part("attention_norm"), width, epsilon)?,
        };
        let feed_forward = Block {
            inside: FeedForward::new(&mut builder.part("feed_forward"), width, feed_forward, adapters)?,
            norm: LayerNorm::new(&mut builder.part("feed_forward_norm"), width, epsilon)?,
        };
        Ok(Self { convolution, attention, feed_forward, norm, dropout })
    }

    fn residual(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        norm: &LayerNorm,
        pass: &mut Pass,
        block: impl FnOnce(&Tensor, &mut Pass) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let dropout = |pass: &mut Pass| pass.next_key().map(|key| (self.dropout, key));
        match self.norm {
            Norm::Pre => {
                let branch = block(&norm.forward(parameters, x)?, pass)?;
                ops::residual(x, &branch, dropout(pass))
            }
            Norm::Post => {
                let branch = block(x, pass)?;
                norm.forward_residual(parameters, x, &branch, dropout(pass))
            }
        }
    }
}

impl Layer for TransformerLayer {
    fn forward(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        texts: &Offsets,
        adapter: Option<usize>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        if let Some(Block { inside, norm }) = &self.convolution {
            x = self.residual(parameters, &x, norm, pass, |x, _| inside.forward(parameters, x, texts))?;
        }
        let Block { inside, norm } = &self.attention;
        x = self.residual(parameters, &x, norm, pass, |x, pass| {
            inside.forward_adapted(parameters, x, texts, adapter, pass)
        })?;
        let Block { inside, norm } = &self.feed_forward;
        self.residual(parameters, &x, norm, pass, |x, pass| inside.forward(parameters, x, adapter, pass))
    }
}

/// gelu([x_{i−r} … x_{i+r}] W + b): local context, which attention alone is slow to learn on small data.
#[derive(Debug)]
struct Convolution {
    linear: Linear,
    radius: usize,
}

impl Convolution {
    fn new(builder: &mut ParameterBuilder<'_>, width: usize, radius: usize) -> Result<Self> {
        Ok(Self { linear: Linear::new(builder, (2 * radius + 1) * width, width)?, radius })
    }

    fn forward(&self, parameters: &Parameters, x: &Tensor, texts: &Offsets) -> Result<Tensor> {
        self.linear.forward_gelu(parameters, &ops::window(x, texts, self.radius)?)
    }
}

/// gelu(x W_up + b_up) W_down + b_down.
#[derive(Debug)]
struct FeedForward {
    up: Linear,
    down: Linear,
    bottlenecks: Bottlenecks,
}

impl FeedForward {
    fn new(
        builder: &mut ParameterBuilder<'_>,
        width: usize,
        inner: usize,
        adapters: &[Adapter],
    ) -> Result<Self> {
        let mut linear = |name: &str, inputs: usize, outputs: usize| {
            let mut part = builder.part(name);
            Linear::new(&mut part, inputs, outputs)?.with_adapters(&mut part, adapters)
        };
        let (up, down) = (linear("up", width, inner)?, linear("down", inner, width)?);
        Ok(Self { up, down, bottlenecks: Bottlenecks::new(builder, width, adapters)? })
    }

    fn forward(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        adapter: Option<usize>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let y = self.up.feed_forward_adapted(&self.down, parameters, x, adapter, pass)?;
        self.bottlenecks.forward(parameters, y, adapter)
    }
}
