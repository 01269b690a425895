//! Self-attention: each token reads the tokens of its own text, in several heads.
//!
//! ```text
//! rows of Q, K, V side by side [tokens, 3 · width]   →   O [tokens, width]
//! of a text of n tokens and a head, columns of width d = width / heads: [n, d]
//! S = Q Kᵀ / √d     W = softmax of each row of S     W̃ = M ⊙ W / (1 − p)     O = W̃ V        all [n, n] but O
//!
//! dV = W̃ᵀ dO        dW = M ⊙ (dO Vᵀ) / (1 − p)       dS = W ⊙ (dW − Σ_columns W ⊙ dW)
//! dQ = dS K / √d    dK = dSᵀ Q / √d
//! ```
//!
//! With a window r (local attention), S_ij = −∞ where |i − j| > r; the scores of keys that no row of a block sees are not
//! computed.
//!
//! Texts lie packed and do not see each other, so nothing is padded and no sum crosses texts. The dropout mask M ∈ {0, 1}
//! is a function of the key, the head and the position; the backward draws it again.
//!
//! S and W exist for a block of rows at a time, near the processor. Kept for the backward: Q, K, V, and of each row of S
//! its maximum and the inverse of its sum of exponentials, from which W is made again (Dao et al., *FlashAttention*,
//! NeurIPS 2022, which keeps the two as one logarithm, as the kernels of a GPU do).
//!
//! Vaswani et al., *Attention Is All You Need*, NeurIPS 2017, equation 1; the window: Beltagy et al.,
//! *Longformer*, 2020.

mod cuda;
mod dropout;
mod head;
mod product;
mod softmax;
mod tasks;
#[cfg(test)]
mod tests;

use std::ops::Range;

use cuda::Kernels;
use dropout::WeightDropout;

use crate::cuda::Gpu;
use crate::{Buffer, Error, Gradient, Offsets, Operation, RandomKey, Result, Tensor};

/// softmax(Q Kᵀ / √d) V within each text and each head of d = width / heads columns: `[tokens, width]` of the rows of
/// query, key and value side by side, `[tokens, 3 · width]`. `offsets` are the texts. With a `window` a token sees only
/// the tokens of its text that are at most so many places away, on either side. `dropout` is the probability to drop a
/// weight of the softmax, and the key of the draws.
///
/// # Errors
/// The columns are not 3 · width for a width that the heads divide, the offsets do not cover the tokens, or the
/// probability is not in [0, 1).
///
/// ```
/// # use polytask_tensor::{Offsets, Tensor, ops::self_attention};
/// // Two tokens: query [1, 2], key [3, 4], value [5, 6], and the same again. Each is a text, and sees only itself.
/// let projections = Tensor::new([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; 2].concat(), &[2, 6])?;
/// let alone = Offsets::from_lengths([1, 1]);
/// assert_eq!(self_attention(&projections, &alone, 2, None, None)?.data(), [5.0, 6.0, 5.0, 6.0]);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn self_attention(
    projections: &Tensor,
    offsets: &Offsets,
    heads: usize,
    window: Option<usize>,
    dropout: Option<(f32, RandomKey)>,
) -> Result<Tensor> {
    let (tokens, columns) = projections.rows_columns();
    if heads == 0 || columns == 0 || columns % (3 * heads) != 0 {
        let found = projections.shape();
        let message =
            format!("{heads} heads need [tokens, 3 · width] with a width that they divide; found {found:?}");
        return Err(Error::shape("self_attention", message));
    }
    offsets.check_rows(tokens, "self_attention")?;
    let dropout = WeightDropout::new(dropout)?;
    let window = window.unwrap_or(usize::MAX);
    let shape = Shape { offsets: offsets.clone(), width: columns / 3, heads, window, dropout };
    if let (Some(gpu), Some(kernels)) = (Gpu::of([projections])?, Kernels::of(&shape)) {
        let [output, log_sums] = kernels.forward(gpu, &shape, projections)?;
        let statistics = Tensor::on_gpu(log_sums, &[heads, tokens]);
        let output = Buffer::on_gpu(output, &[tokens, shape.width]);
        return Ok(output.recorded(SelfAttention { projections: projections.clone(), statistics, shape }));
    }
    let (output, statistics) = tasks::forward(&shape, projections.data());
    let output = Buffer::new(output, &[tokens, shape.width])?;
    let statistics = Tensor::of(statistics, &[tokens * heads, 2])?;
    Ok(output.recorded(SelfAttention { projections: projections.clone(), statistics, shape }))
}

/// What holds for all texts of the call.
struct Shape {
    offsets: Offsets,
    width: usize,
    heads: usize,
    /// How far a token sees; `usize::MAX` where it sees its whole text.
    window: usize,
    dropout: WeightDropout,
}

impl Shape {
    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// The keys that some rows of queries of a text of n tokens see.
    fn seen(&self, queries: Range<usize>, n: usize) -> Range<usize> {
        queries.start.saturating_sub(self.window)..queries.end.saturating_add(self.window).min(n)
    }
}

struct SelfAttention {
    projections: Tensor,
    /// The [statistics](softmax::RowStatistics) of the rows of S, `[heads, n, 2]` of each text, text after text. Where the
    /// kernels made them, their logarithms of Σ exp S, `[heads, tokens]`.
    statistics: Tensor,
    shape: Shape,
}

impl Operation for SelfAttention {
    fn name(&self) -> &'static str {
        "self_attention"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.projections]
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        // The statistics tell who made them: a gradient on a GPU does not.
        if let (Some(gpu), Some(kernels)) = (Gpu::of([&self.statistics])?, Kernels::of(&self.shape)) {
            let inputs = [&self.projections, output, &self.statistics, gradient];
            let values = kernels.backward(gpu, &self.shape, inputs)?;
            return Ok(vec![Some(Tensor::on_gpu(values, self.projections.shape()).into())]);
        }
        let values =
            tasks::backward(&self.shape, self.projections.data(), self.statistics.data(), gradient.data());
        Ok(vec![Some(Tensor::of(values, self.projections.shape())?.into())])
    }
}
