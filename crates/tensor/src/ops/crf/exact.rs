//! The same sums in logarithms and f64, for texts in which a sequence that is hopeless halfway may win in the end.
//!
//! ```text
//! α_1(j) = s(j) + e_1(j)      α_t(j) = e_t(j) + log Σ_i exp(α_{t−1}(i) + A(i,j))      log Z = log Σ_j exp(α_n(j) + z(j))
//! β_n(i) = z(i)               β_{t−1}(i) = log Σ_j exp(A(i,j) + e_t(j) + β_t(j))
//! P(y_t = j) = exp(α_t(j) + β_t(j) − log Z)
//! P(y_{t−1} = i, y_t = j) = exp(α_{t−1}(i) + A(i,j) + e_t(j) + β_t(j) − log Z)
//! ```

use super::Chain;
use super::recursion::Text;

/// Fills in the text, which has at least one token.
pub(super) fn sums(chain: &Chain, emissions: &[f32], text: &mut Text) {
    let tags = chain.tags;
    let step = |from: usize, to: usize| f64::from(chain.transitions[from * tags + to]);
    let rows: Vec<&[f32]> = emissions.chunks_exact(tags).collect();

    let first = rows[0].iter().zip(&chain.start).map(|(&e, &start)| f64::from(e) + f64::from(start));
    let mut forward: Vec<Vec<f64>> = vec![first.collect()];
    for (token, row) in rows.iter().enumerate().skip(1) {
        let before = &forward[token - 1];
        let into = |to: usize| log_sum_exp((0..tags).map(|from| before[from] + step(from, to)));
        forward.push(row.iter().enumerate().map(|(to, &e)| f64::from(e) + into(to)).collect());
    }
    let mut backward: Vec<f64> = chain.end.iter().copied().map(f64::from).collect();
    let last = &forward[rows.len() - 1];
    text.log_partition = log_sum_exp((0..tags).map(|tag| last[tag] + backward[tag]));

    text.shares.fill(0.0);
    text.ratios.fill(0.0);
    text.pairs = vec![0.0; tags * tags];
    for token in (0..rows.len()).rev() {
        let marginals = &mut text.marginals[token * tags..(token + 1) * tags];
        for ((marginal, before), after) in marginals.iter_mut().zip(&forward[token]).zip(&backward) {
            *marginal = (before + after - text.log_partition).exp() as f32;
        }
        if token == 0 {
            break;
        }
        backward.iter_mut().zip(rows[token]).for_each(|(after, &e)| *after += f64::from(e));
        for (at, pair) in text.pairs.iter_mut().enumerate() {
            let (from, to) = (at / tags, at % tags);
            let log = forward[token - 1][from] + step(from, to) + backward[to];
            *pair += (log - text.log_partition).exp() as f32;
        }
        let out_of = |from: usize| log_sum_exp((0..tags).map(|to| step(from, to) + backward[to]));
        backward = (0..tags).map(out_of).collect();
    }
}

pub(super) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let maximum = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if maximum == f64::NEG_INFINITY {
        return maximum;
    }
    maximum + values.map(|value| (value - maximum).exp()).sum::<f64>().ln()
}
