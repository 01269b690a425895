//! One layer of the transformer.

use polytask_attention::{LayerNorm, Linear, SelfAttention};
use polytask_tensor::{Offsets, ParameterBuilder, Parameters, Pass, Result, Tensor, ops};

use crate::{Norm, Transformer};

/// Blocks in a row, each around a residual:
///
/// ```text
/// pre-norm    x ← x + dropout(block(norm(x)))
/// post-norm   x ← norm(x + dropout(block(x)))
///
/// block: convolution (only with a window), self-attention, feed-forward
/// ```
#[derive(Debug)]
pub(crate) struct Layer {
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

impl Layer {
    pub(crate) fn new(config: &Transformer, builder: &mut ParameterBuilder<'_>) -> Result<Self> {
        let width = config.width;
        let convolution = match config.window {
            0 => None,
            radius => Some(Block {
                inside: Convolution::new(&mut builder.part("convolution"), width, radius)?,
                norm: LayerNorm::new(&mut builder.part("convolution_norm"), width)?,
            }),
        };
        let attention = Block {
            inside: SelfAttention::new(
                &mut builder.part("attention"),
                width,
                config.heads,
                config.attention_dropout,
            )?,
            norm: LayerNorm::new(&mut builder.part("attention_norm"), width)?,
        };
        let feed_forward = Block {
            inside: FeedForward::new(&mut builder.part("feed_forward"), width, config.feed_forward_width())?,
            norm: LayerNorm::new(&mut builder.part("feed_forward_norm"), width)?,
        };
        Ok(Self { convolution, attention, feed_forward, norm: config.norm, dropout: config.dropout })
    }

    /// `[tokens, width]` → `[tokens, width]`.
    pub(crate) fn forward(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        texts: &Offsets,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        if let Some(Block { inside, norm }) = &self.convolution {
            x = self.residual(parameters, &x, norm, pass, |x, _| inside.forward(parameters, x, texts))?;
        }
        let Block { inside, norm } = &self.attention;
        x =
            self.residual(parameters, &x, norm, pass, |x, pass| inside.forward(parameters, x, texts, pass))?;
        let Block { inside, norm } = &self.feed_forward;
        self.residual(parameters, &x, norm, pass, |x, _| inside.forward(parameters, x))
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
}

impl FeedForward {
    fn new(builder: &mut ParameterBuilder<'_>, width: usize, inner: usize) -> Result<Self> {
        let up = Linear::new(&mut builder.part("up"), width, inner)?;
        let down = Linear::new(&mut builder.part("down"), inner, width)?;
        Ok(Self { up, down })
    }

    fn forward(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        self.down.forward(parameters, &self.up.forward_gelu(parameters, x)?)
    }
}
