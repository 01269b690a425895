//! Self-attention: each token reads the tokens of its own text, in several heads.
//!
//! ```text
//! Q, K, V, O [tokens, width]; of a text of n tokens and a head, columns of width d = width / heads: [n, d]
//! S = Q Kᵀ / √d     W = softmax of each row of S     W̃ = M ⊙ W / (1 − p)     O = W̃ V        all [n, n] but O
//!
//! dV = W̃ᵀ dO        dW = M ⊙ (dO Vᵀ) / (1 − p)       dS = W ⊙ (dW − Σ_columns W ⊙ dW)
//! dQ = dS K / √d    dK = dSᵀ Q / √d
//! ```
//!
//! Texts lie packed and do not see each other, so nothing is padded and no sum crosses texts. The dropout mask M ∈ {0, 1}
//! is a function of the key, the head and the position; the backward draws it again.
//!
//! Kept for the backward: Q, K, V, W. To make W again from Q and K (as FlashAttention does) would save heads · n² values
//! a text, and make a step over texts of 20 tokens slower by a third; for such texts W is smaller than Q.
//!
//! Vaswani et al., *Attention Is All You Need*, NeurIPS 2017, equation 1.

mod cpu;
#[cfg(test)]
mod tests;

use crate::{Buffer, Error, Gradient, Offsets, Operation, RandomKey, Result, Tensor};

/// softmax(Q Kᵀ / √d) V within each text and each head of d = width / heads columns: `[tokens, width]` of query, key and
/// value `[tokens, width]` each. `offsets` are the texts; `dropout` is the probability to drop a weight of the softmax,
/// and the key of the draws.
///
/// # Errors
/// The shapes differ, the offsets do not cover the tokens, the heads do not divide the width, or the probability is not
/// in [0, 1).
///
/// ```
/// # use polytask_tensor::{Offsets, Tensor, ops::self_attention};
/// let x = Tensor::new(vec![1.0, 2.0, 3.0, 4.0], &[2, 2])?;
/// let alone = Offsets::from_lengths([1, 1]);
/// assert_eq!(self_attention(&x, &x, &x, &alone, 2, None)?.data(), x.data());
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn self_attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    offsets: &Offsets,
    heads: usize,
    dropout: Option<(f32, RandomKey)>,
) -> Result<Tensor> {
    check(query, key, value, offsets, heads)?;
    let dropout = dropout.map(|(probability, key)| WeightDropout::new(probability, key)).transpose()?;
    let shape = Shape { offsets: offsets.clone(), width: query.rows_columns().1, heads, dropout };
    let (output, weights) = cpu::forward(&shape, query.data(), key.data(), value.data());
    let [query, key, value] = [query, key, value].map(Tensor::clone);
    let operation = SelfAttention { query, key, value, weights, shape };
    let output = Buffer::new(output, operation.query.shape())?;
    Ok(output.recorded(operation))
}

fn check(query: &Tensor, key: &Tensor, value: &Tensor, offsets: &Offsets, heads: usize) -> Result<()> {
    let refuse = |message| Err(Error::shape("self_attention", message));
    let (tokens, width) = query.rows_columns();
    for (name, other) in [("key", key), ("value", value)] {
        if other.shape() != query.shape() {
            return refuse(format!("query is {:?}, {name} {:?}", query.shape(), other.shape()));
        }
    }
    if heads == 0 || width == 0 || width % heads != 0 {
        return refuse(format!("{heads} heads do not divide a width of {width}"));
    }
    offsets.check_rows(tokens, "self_attention")
}

/// What holds for all texts of the call.
struct Shape {
    offsets: Offsets,
    width: usize,
    heads: usize,
    dropout: Option<WeightDropout>,
}

/// Which weights to drop, and by what the others grow.
struct WeightDropout {
    key: RandomKey,
    /// Drawn numbers below are dropped.
    probability: f32,
}

impl WeightDropout {
    fn new(probability: f32, key: RandomKey) -> Result<Self> {
        if !(0.0..1.0).contains(&probability) {
            let message = format!("the probability of dropout must lie in [0, 1); found {probability}");
            return Err(Error::shape("self_attention", message));
        }
        Ok(Self { key, probability })
    }
}

struct SelfAttention {
    query: Tensor,
    key: Tensor,
    value: Tensor,
    /// W of each text, `[heads, n, n]`, text after text.
    weights: Vec<f32>,
    shape: Shape,
}

impl Operation for SelfAttention {
    fn name(&self) -> &'static str {
        "self_attention"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.query, &self.key, &self.value]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let gradients = cpu::backward(self, gradient.data());
        let gradient = |values| Ok(Some(Tensor::new(values, self.query.shape())?.into()));
        gradients.into_iter().map(gradient).collect()
    }
}
