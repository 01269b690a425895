//! Sums over all tag sequences of one text, in probabilities: α forward, β backward, each row rescaled to a maximum of 1.
//!
//! ```text
//! F = exp(A − max A)      x_t = exp(e_t − max e_t)      α_1 ∝ exp(s) ⊙ x_1      β_n ∝ exp(z)
//! α_t ∝ (α_{t−1} F) ⊙ x_t      β_{t−1} ∝ F (x_t ⊙ β_t)      Z: what the rescaling took out, times α_nᵀ β_n
//!
//! P(y_t = j) = α_t(j) β_t(j) / α_tᵀ β_t
//! P(y_{t−1} = i, y_t = j) = α_{t−1}(i) F(i,j) r_t(j)           r_t = x_t ⊙ β_t / (α_{t−1}ᵀ F (x_t ⊙ β_t))
//! ```
//!
//! So a token costs one product of a vector and F each way, F is made once, and the only logarithms are those of the
//! scales. A sequence that falls below 10⁻³⁸ of the best at some token is lost. What that can do to any probability is
//! bounded by the tags, the smallest scale and the smallest αᵀβ; where the bound is not far below the precision of f32,
//! the text is done again in logarithms (`exact.rs`): slow and rare.

use super::{Chain, exact};
use crate::exponential::exp;
use crate::lanes::{self, vectorized};

/// Rows are filled up with zeros to a multiple of this, so that they are whole vectors.
const PADDED_TO: usize = 32;
/// Terms of a product that are added side by side.
const TERMS: usize = 4;
/// The least (smallest scale) · (smallest αᵀβ): what is lost, 10⁻³⁸ a tag and term, is then below 10⁻⁹ of all for 100 tags.
const LEAST: f32 = 1e-25;

pub(super) struct Recursion {
    chain: Chain,
    /// The length of a padded row.
    pub(super) stride: usize,
    /// F `[tags, stride]`, from and to, with rows of zeros up to a multiple of [`TERMS`].
    pub(super) factors: Vec<f32>,
    /// Fᵀ, alike.
    transposed: Vec<f32>,
    /// exp(s − max s) and exp(z − max z), `[stride]`.
    start: Vec<f32>,
    end: Vec<f32>,
    /// The logarithm that a step takes out, max A, and that the ends of a text take out, max s + max z.
    log_of_step: f64,
    log_of_ends: f64,
}

/// What is expected of one text.
pub(super) struct Text {
    /// log Z: −∞ where every sequence is forbidden, 0 for an empty text.
    pub(super) log_partition: f64,
    /// P(y_t = j) `[tokens, tags]`.
    pub(super) marginals: Vec<f32>,
    /// α and r of the token after it, `[tokens, stride]`; zero where the text was done in logarithms.
    pub(super) shares: Vec<f32>,
    pub(super) ratios: Vec<f32>,
    /// Σ_t P(y_{t−1} = i, y_t = j), `[tags, tags]`, where the text was done in logarithms; else nothing.
    pub(super) pairs: Vec<f32>,
}

impl Recursion {
    pub(super) fn new(chain: Chain) -> Self {
        let tags = chain.tags;
        let stride = tags.next_multiple_of(PADDED_TO);
        let (steps, log_of_step) = scaled(&chain.transitions);
        let mut factors = vec![0.0; tags.next_multiple_of(TERMS) * stride];
        let mut transposed = factors.clone();
        for (from, row) in steps.chunks_exact(tags).enumerate() {
            factors[from * stride..from * stride + tags].copy_from_slice(row);
            transposed[from..].iter_mut().step_by(stride).zip(row).for_each(|(place, &value)| *place = value);
        }
        let ([mut start, mut end], mut log_of_ends) = ([Vec::new(), Vec::new()], 0.0);
        for (weights, ends) in [(&chain.start, &mut start), (&chain.end, &mut end)] {
            let (values, log) = scaled(weights);
            *ends = values;
            ends.resize(stride, 0.0);
            log_of_ends += log;
        }
        Self { chain, stride, factors, transposed, start, end, log_of_step, log_of_ends }
    }

    pub(super) fn tags(&self) -> usize {
        self.chain.tags
    }

    /// What is expected of the text with these emissions `[tokens, tags]`.
    pub(super) fn text(&self, emissions: &[f32]) -> Text {
        let tags = self.chain.tags;
        let padded = emissions.len() / tags * self.stride;
        let mut text = Text {
            log_partition: 0.0,
            marginals: vec![0.0; emissions.len()],
            shares: vec![0.0; padded],
            ratios: vec![0.0; padded],
            pairs: Vec::new(),
        };
        if !emissions.is_empty() && !sums(self, emissions, &mut text) {
            exact::sums(&self.chain, emissions, &mut text);
        }
        text
    }
}

/// exp(weights − m) and m, the maximum; 0 where it is −∞, so that it can be subtracted.
fn scaled(weights: &[f32]) -> (Vec<f32>, f64) {
    let mut values = weights.to_vec();
    let largest = Some(lanes::max(weights)).filter(|max| max.is_finite()).unwrap_or(0.0);
    exponentials(&mut values, largest);
    (values, f64::from(largest))
}

vectorized! {
    fn exponentials(values: &mut [f32], shift: f32) {
        values.iter_mut().for_each(|value| *value = exp(*value - shift));
    }
}

vectorized! {
    /// Fills in the text; whether its numbers can be trusted.
    fn sums(recursion: &Recursion, emissions: &[f32], text: &mut Text) -> bool {
        let (tags, stride) = (recursion.chain.tags, recursion.stride);
        // x of all tokens; α takes its place.
        let mut factors = vec![f32::NEG_INFINITY; text.shares.len()];
        let mut log = recursion.log_of_ends;
        for (row, emissions) in factors.chunks_exact_mut(stride).zip(emissions.chunks_exact(tags)) {
            row[..tags].copy_from_slice(emissions);
            let max = lanes::max(row);
            row.iter_mut().for_each(|value| *value -= max);
            log += f64::from(max);
        }
        factors.iter_mut().for_each(|value| *value = exp(*value));

        let mut smallest_scale = f32::INFINITY;
        let mut sums = recursion.start.clone();
        for (token, factors) in factors.chunks_exact(stride).enumerate() {
            let (before, rest) = text.shares.split_at_mut(token * stride);
            let shares = &mut rest[..stride];
            if token > 0 {
                product(&before[(token - 1) * stride..], &recursion.factors, &mut sums);
                log += recursion.log_of_step;
            }
            shares.iter_mut().zip(&sums).zip(factors).for_each(|((share, sum), factor)| *share = sum * factor);
            let scale = rescale(shares);
            smallest_scale = smaller(smallest_scale, scale);
            log += f64::from(scale).ln();
        }

        let mut smallest_agreement = f32::INFINITY;
        let mut following = recursion.end.clone();
        let mut weights = vec![0.0; stride];
        for token in (0..factors.len() / stride).rev() {
            let row = token * stride..(token + 1) * stride;
            let (shares, factors) = (&text.shares[row.clone()], &factors[row]);
            let agreement = lanes::sum_pairs(shares, &following, |share, following| share * following);
            smallest_agreement = smaller(smallest_agreement, agreement);
            if (token + 1) * stride == text.shares.len() {
                log += f64::from(agreement).ln();
            }
            let marginals = &mut text.marginals[token * tags..(token + 1) * tags];
            for ((marginal, share), following) in marginals.iter_mut().zip(shares).zip(&following) {
                *marginal = share * following / agreement;
            }
            if token == 0 {
                break;
            }
            weights.iter_mut().zip(factors).zip(&following).for_each(|((weight, factor), following)| {
                *weight = factor * following;
            });
            product(&weights, &recursion.transposed, &mut following);
            let before = (token - 1) * stride..token * stride;
            let total = lanes::sum_pairs(&text.shares[before.clone()], &following, |share, sum| share * sum);
            text.ratios[before].iter_mut().zip(&weights).for_each(|(ratio, weight)| *ratio = weight / total);
            smallest_scale = smaller(smallest_scale, rescale(&mut following));
        }
        text.log_partition = log;
        log.is_finite() && smallest_scale * smallest_agreement >= LEAST
    }
}

/// The smaller of two; NaN where the second is.
#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if b > a { a } else { b }
}

/// Divides a row by its maximum, which it returns.
#[inline(always)]
fn rescale(row: &mut [f32]) -> f32 {
    let max = lanes::max(row);
    row.iter_mut().for_each(|value| *value /= max);
    max
}

/// `result(c) = Σ_i weights(i) matrix(i, c)`, padded as F is.
#[inline(always)]
fn product(weights: &[f32], matrix: &[f32], result: &mut [f32]) {
    let stride = result.len();
    for (block, result) in result.as_chunks_mut::<PADDED_TO>().0.iter_mut().enumerate() {
        let mut sums = [[0.0; PADDED_TO]; TERMS];
        for (weights, rows) in weights.as_chunks::<TERMS>().0.iter().zip(matrix.chunks_exact(TERMS * stride))
        {
            for (term, sums) in sums.iter_mut().enumerate() {
                let row = &rows[term * stride + block * PADDED_TO..][..PADDED_TO];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weights[term] * value);
            }
        }
        let [a, b, c, d] = sums;
        for (i, result) in result.iter_mut().enumerate() {
            *result = (a[i] + b[i]) + (c[i] + d[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::ops::{CrfWeights, Forbidden};
    use crate::testing::{assert_close, sample};

    /// A text done in both ways; its transitions' probabilities as Σ_t of the pairs.
    #[test]
    fn probabilities_and_logarithms_agree() {
        let (tags, tokens) = (79, 12);
        let times = |tensor: Tensor, factor: f32| crate::ops::scale(&tensor, factor).unwrap();
        let emissions = times(sample(&[tokens, tags], 1), 8.0);
        let [transitions, start, end] =
            [&[tags, tags][..], &[tags], &[tags]].map(|shape| times(sample(shape, 2), 3.0));
        let forbidden = Forbidden::new(tags).forbid(3, 5).forbid_start(4);
        let weights =
            CrfWeights { transitions: &transitions, start: &start, end: &end, forbidden: &forbidden };
        let recursion = Recursion::new(Chain::new(&weights));

        let found = recursion.text(emissions.data());
        assert!(found.pairs.is_empty(), "the text needed logarithms");
        let mut exact = recursion.text(emissions.data());
        exact::sums(&recursion.chain, emissions.data(), &mut exact);
        // 12 tokens in f32, a sum of 79 terms each.
        assert!((found.log_partition - exact.log_partition).abs() < 1e-5);
        assert_close(&found.marginals, &exact.marginals, 1e-5);
        let stride = recursion.stride;
        let rows = found.shares.chunks_exact(stride).zip(found.ratios.chunks_exact(stride));
        let mut pairs = vec![0.0; tags * tags];
        for (shares, ratios) in rows {
            for (at, pair) in pairs.iter_mut().enumerate() {
                let (from, to) = (at / tags, at % tags);
                *pair += shares[from] * recursion.factors[from * stride + to] * ratios[to];
            }
        }
        assert_close(&pairs, &exact.pairs, 1e-5);
    }
}
