//! Which weights of the softmax are dropped.

use std::ops::Range;

use pulp::Simd;

use super::softmax::LANES;
use crate::cuda::Argument;
use crate::{Error, RandomKey, Result};

/// Numbers that one counter of the generator gives.
const DRAWS: usize = 4;
/// Bits of a counter that are left to the weights of one row: texts of up to 2¹⁸ tokens.
const KEY_BITS: u32 = 16;
/// Bits above those that hold the row of the query.
const QUERY_BITS: u32 = 32;

/// The probability p to drop a weight, and the key of the draws.
pub(super) struct WeightDropout {
    /// `None` where nothing is dropped.
    key: Option<RandomKey>,
    /// Drawn numbers below are dropped.
    threshold: u32,
    /// 1 / (1 − p).
    growth: f32,
}

impl WeightDropout {
    pub(super) fn new(dropout: Option<(f32, RandomKey)>) -> Result<Self> {
        let Some((probability, key)) = dropout else {
            return Ok(Self { key: None, threshold: 0, growth: 1.0 });
        };
        if !(0.0..1.0).contains(&probability) {
            let message = format!("the probability of dropout must lie in [0, 1); found {probability}");
            return Err(Error::shape("self_attention", message));
        }
        let threshold = (f64::from(probability) * f64::from(u32::MAX)) as u32;
        Ok(Self { key: Some(key), threshold, growth: 1.0 / (1.0 - probability) })
    }

    /// What a kernel must know: seed, stream, threshold (0 where nothing is dropped) and growth.
    pub(super) fn arguments(&self) -> [Argument; 4] {
        let RandomKey { seed, stream } = self.key.unwrap_or(RandomKey { seed: 0, stream: 0 });
        [seed.into(), stream.into(), self.threshold.into(), self.growth.into()]
    }

    /// Numbers for rows `block` and columns `keys` of the weights `[n, n]` of one head of the text that begins with row
    /// `start` of all; the keys begin at a multiple of `LANES`.
    ///
    /// Row after row counts on where the last one ended, far from the next row of all that another text may begin with.
    #[inline(always)]
    pub(super) fn draw<'a>(
        &'a self,
        head: usize,
        start: usize,
        n: usize,
        block: Range<usize>,
        keys: &Range<usize>,
        random: &'a mut [u32],
    ) -> Draws<'a> {
        let counters = n.div_ceil(DRAWS);
        let stride = keys.len().div_ceil(DRAWS) * DRAWS;
        if let Some(key) = self.key {
            let first = (head as u64) << (KEY_BITS + QUERY_BITS) | (start as u64) << KEY_BITS;
            // Rows of all keys lie one after another in the stream: one call.
            let rows = if keys.len() == n { block.len() } else { 1 };
            let random = random[..block.len() * stride].chunks_mut(rows * stride);
            for (row, random) in block.step_by(rows).zip(random) {
                key.fill(first + (row * counters + keys.start / DRAWS) as u64, random);
            }
        }
        Draws { dropout: self, random, stride, padded: keys.len().next_multiple_of(LANES) }
    }
}

/// Numbers for a block of rows.
pub(super) struct Draws<'a> {
    dropout: &'a WeightDropout,
    random: &'a [u32],
    stride: usize,
    padded: usize,
}

impl Draws<'_> {
    /// One number for each weight of a row, and others beyond its end.
    #[inline(always)]
    pub(super) fn row<S: Simd>(&self, row: usize) -> &[S::u32s] {
        S::as_simd_u32s(&self.random[row * self.stride..][..self.padded]).0
    }

    #[inline(always)]
    pub(super) fn mask<S: Simd>(&self, simd: S) -> Mask<S> {
        let WeightDropout { threshold, growth, .. } = *self.dropout;
        Mask { threshold: simd.splat_u32s(threshold), growth: simd.splat_f32s(growth) }
    }
}

/// M / (1 − p) of a vector of weights.
pub(super) struct Mask<S: Simd> {
    threshold: S::u32s,
    growth: S::f32s,
}

impl<S: Simd> Mask<S> {
    /// Weights times M / (1 − p), where `random` was drawn for them.
    #[inline(always)]
    pub(super) fn apply(&self, simd: S, weights: S::f32s, random: S::u32s) -> S::f32s {
        let kept = simd.greater_than_or_equal_u32s(random, self.threshold);
        simd.select_f32s(kept, simd.mul_f32s(weights, self.growth), simd.splat_f32s(0.0))
    }
}
