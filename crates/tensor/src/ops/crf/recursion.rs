//! Sums over all tag sequences of one text: forward in logarithms, backward in probabilities.
//!
//! ```text
//! α_1(j) = s(j) + e_1(j)
//! α_t(j) = e_t(j) + log Σ_i exp(α_{t−1}(i) + A(i,j))          log Z = log Σ_j exp(α_n(j) + z(j))
//!
//! p_t(i) = exp(α_t(i) − max α_t)    F = exp(A − max A)        v_t(j) = Σ_i p_{t−1}(i) F(i,j)
//! α_t(j) = e_t(j) + max α_{t−1} + max A + log v_t(j)
//!
//! γ_n(j) = exp(α_n(j) + z(j) − log Z)                         r_t(j) = γ_t(j) / v_t(j)
//! P(y_{t−1} = i, y_t = j) = p_{t−1}(i) F(i,j) r_t(j)          γ_{t−1}(i) = p_{t−1}(i) Σ_j F(i,j) r_t(j)
//! ```
//!
//! So a token costs one product of a vector and F each way, and F is made once. The second half is the chain rule
//! applied to the first: γ_t = ∂ log Z / ∂ e_t. Where v_t(j) is so small that terms of it may have been lost in f32,
//! the sum is taken in logarithms instead: exact, slow, rare.

use super::Chain;
use crate::exponential::exp;

/// Below this a sum v may lack terms: those under 1e-38 are gone, and 1e-38 / 1e-28 is what f32 cannot tell from 0.
const SMALLEST_SUM: f32 = 1e-28;

pub(super) struct Recursion {
    chain: Chain,
    /// max A.
    largest: f64,
    /// F, `[from, to]`.
    factors: Vec<f32>,
    /// F, `[to, from]`.
    transposed: Vec<f32>,
}

/// What the forward pass of one text leaves, `[tokens, tags]` each.
pub(super) struct Forward {
    /// α.
    logarithms: Vec<f64>,
    /// p.
    pub(super) shares: Vec<f32>,
    /// v; zero at the first token.
    sums: Vec<f32>,
    /// log Z: −∞ where every sequence is forbidden, 0 for an empty text.
    pub(super) log_partition: f64,
}

/// What the backward pass of one text finds.
pub(super) struct Backward {
    /// γ `[tokens, tags]`.
    pub(super) marginals: Vec<f32>,
    /// r of the token after, `[tokens, tags]`; zero at the last token.
    pub(super) ratios: Vec<f32>,
    /// Probabilities of pairs that `shares` and `ratios` do not hold: (from · tags + to, probability).
    pub(super) exact_pairs: Vec<(usize, f32)>,
}

impl Recursion {
    pub(super) fn new(chain: Chain) -> Self {
        let largest = finite_maximum(&chain.transitions);
        let factors: Vec<f32> =
            chain.transitions.iter().map(|weight| (weight - largest).exp() as f32).collect();
        let tags = chain.tags;
        let transposed = (0..tags * tags).map(|at| factors[at % tags * tags + at / tags]).collect();
        Self { chain, largest, factors, transposed }
    }

    /// F `[tags, tags]`, from and to.
    pub(super) fn factors(&self) -> &[f32] {
        &self.factors
    }

    pub(super) fn forward(&self, emissions: &[f32]) -> Forward {
        let tags = self.chain.tags;
        let mut logarithms: Vec<f64> = emissions.iter().copied().map(f64::from).collect();
        let mut shares = vec![0.0; emissions.len()];
        let mut sums = vec![0.0; emissions.len()];
        let mut largest_before = 0.0;
        for at in (0..emissions.len()).step_by(tags) {
            let (earlier, rest) = logarithms.split_at_mut(at);
            let here = &mut rest[..tags];
            if at == 0 {
                here.iter_mut().zip(&self.chain.start).for_each(|(log, start)| *log += start);
            } else {
                let before = &earlier[at - tags..];
                let sums = &mut sums[at..at + tags];
                add_rows(sums, &shares[at - tags..at], &self.factors);
                for (to, (log, &sum)) in here.iter_mut().zip(&*sums).enumerate() {
                    *log += if sum >= SMALLEST_SUM {
                        largest_before + self.largest + f64::from(sum).ln()
                    } else {
                        self.exact_sum(before, to)
                    };
                }
            }
            largest_before = finite_maximum(here);
            for (share, log) in shares[at..].iter_mut().zip(&*here) {
                *share = exp((log - largest_before) as f32);
            }
        }
        let last = &logarithms[emissions.len().saturating_sub(tags)..];
        let log_partition = match last {
            [] => 0.0,
            last => log_sum_exp(last.iter().zip(&self.chain.end).map(|(log, end)| log + end)),
        };
        Forward { logarithms, shares, sums, log_partition }
    }

    pub(super) fn backward(&self, forward: &Forward) -> Backward {
        let tags = self.chain.tags;
        let values = forward.shares.len();
        let mut marginals = vec![0.0; values];
        let mut ratios = vec![0.0; values];
        let mut exact_pairs = Vec::new();
        let last = values.saturating_sub(tags);
        for (tag, marginal) in marginals[last..].iter_mut().enumerate() {
            let log = forward.logarithms[last + tag] + self.chain.end[tag];
            *marginal = (log - forward.log_partition).exp() as f32;
        }
        for at in (tags..values).step_by(tags).rev() {
            let (earlier, here) = marginals.split_at_mut(at);
            let before = &mut earlier[at - tags..];
            let sums = &forward.sums[at..at + tags];
            let ratios = &mut ratios[at - tags..at];
            for ((ratio, &marginal), &sum) in ratios.iter_mut().zip(&*here).zip(sums) {
                *ratio = if sum >= SMALLEST_SUM { marginal / sum } else { 0.0 };
            }
            add_rows(before, ratios, &self.transposed);
            let shares = &forward.shares[at - tags..at];
            before.iter_mut().zip(shares).for_each(|(marginal, share)| *marginal *= share);
            for to in (0..tags).filter(|&to| sums[to] < SMALLEST_SUM && here[to] > 0.0) {
                let pairs = self.exact_pairs(&forward.logarithms[at - tags..at], to, here[to]);
                for &(pair, probability) in &pairs {
                    before[pair / tags] += probability;
                }
                exact_pairs.extend(pairs);
            }
        }
        Backward { marginals, ratios, exact_pairs }
    }

    /// P(y_{t−1} = i, y_t = to) of all i, from α_{t−1} and P(y_t = to).
    fn exact_pairs(&self, before: &[f64], to: usize, marginal: f32) -> Vec<(usize, f32)> {
        let total = self.exact_sum(before, to);
        let pair = |(from, log): (usize, &f64)| {
            let pair = from * self.chain.tags + to;
            (pair, (log + self.chain.transitions[pair] - total).exp() as f32 * marginal)
        };
        before.iter().enumerate().map(pair).collect()
    }

    /// log Σ_i exp(α(i) + A(i, to)).
    fn exact_sum(&self, before: &[f64], to: usize) -> f64 {
        let into = self.chain.transitions[to..].iter().step_by(self.chain.tags);
        log_sum_exp(before.iter().zip(into).map(|(log, weight)| log + weight))
    }
}

/// `sum += Σ_i weights(i) · row i of matrix`.
fn add_rows(sum: &mut [f32], weights: &[f32], matrix: &[f32]) {
    for (&weight, row) in weights.iter().zip(matrix.chunks_exact(sum.len())) {
        if weight != 0.0 {
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
    }
}

/// The maximum, or 0 where it is −∞, so that it can be subtracted.
fn finite_maximum(values: &[f64]) -> f64 {
    let maximum = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if maximum == f64::NEG_INFINITY { 0.0 } else { maximum }
}

pub(super) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let maximum = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if maximum == f64::NEG_INFINITY {
        return maximum;
    }
    maximum + values.map(|value| (value - maximum).exp()).sum::<f64>().ln()
}
