use super::{Chain, CrfWeights, check, cuda, gpu_of, map_texts, no_sequence, of_text};
use crate::lanes::vectorized;
use crate::{Offsets, Result, Tensor};

/// The tag sequence of highest score for each text, packed: `[tokens]` tags. Where sequences tie, the lowest tag wins,
/// decided from the last token to the first.
///
/// ```text
/// δ_1(j) = s(j) + e_1(j)     δ_t(j) = e_t(j) + max_i (δ_{t−1}(i) + A(i,j))     y_n = argmax_j (δ_n(j) + z(j))
/// ```
///
/// Viterbi, *Error Bounds for Convolutional Codes*, IEEE Transactions on Information Theory 13(2), 1967.
///
/// # Errors
/// The shapes do not fit together, every tag sequence of a text is forbidden, or an emission is NaN or +∞.
pub fn viterbi(emissions: &Tensor, weights: &CrfWeights<'_>, offsets: &Offsets) -> Result<Vec<u32>> {
    const NAME: &str = "viterbi";
    check(emissions, weights, offsets, NAME)?;
    if let Some(gpu) = gpu_of(emissions, weights)? {
        let sequences = cuda::best_sequences(gpu, emissions, weights, offsets)?;
        return sequences.map_err(|text| no_sequence(NAME, text, of_text(emissions, offsets, text)));
    }
    let chain = Chain::new(weights);
    let texts = map_texts(emissions, offsets, |text, emissions| {
        best_sequence(&chain, emissions).ok_or_else(|| no_sequence(NAME, text, emissions))
    });
    Ok(texts.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

fn best_sequence(chain: &Chain, emissions: &[f32]) -> Option<Vec<u32>> {
    let tags = chain.tags;
    if emissions.iter().any(|emission| emission.is_nan() || *emission == f32::INFINITY) {
        return None;
    }
    let mut rows = emissions.chunks_exact(tags);
    let Some(first) = rows.next() else { return Some(Vec::new()) };
    let mut scores: Vec<f64> = chain.start.iter().copied().map(f64::from).collect();
    add(&mut scores, first);
    let mut came_from = vec![0; emissions.len()];
    let mut before = vec![0.0; tags];
    for (row, came_from) in rows.zip(came_from.chunks_exact_mut(tags).skip(1)) {
        std::mem::swap(&mut before, &mut scores);
        best_steps(&before, &chain.transitions, &mut scores, came_from);
        add(&mut scores, row);
    }
    add(&mut scores, &chain.end);
    let mut tag = first_maximum(&scores)?;
    let mut sequence = vec![0; emissions.len() / tags];
    for (place, came_from) in sequence.iter_mut().zip(came_from.chunks_exact(tags)).rev() {
        *place = tag;
        tag = came_from[tag as usize];
    }
    Some(sequence)
}

fn add(scores: &mut [f64], weights: &[f32]) {
    scores.iter_mut().zip(weights).for_each(|(score, &weight)| *score += f64::from(weight));
}

vectorized! {
    /// max_i (before(i) + A(i,j)) of each j, and the first i that has it.
    fn best_steps(before: &[f64], transitions: &[f32], best: &mut [f64], came_from: &mut [u32]) {
        best.fill(f64::NEG_INFINITY);
        for (from, (score, weights)) in before.iter().zip(transitions.chunks_exact(best.len())).enumerate() {
            for ((best, came_from), &weight) in best.iter_mut().zip(&mut *came_from).zip(weights) {
                let score = score + f64::from(weight);
                *came_from = if score > *best { from as u32 } else { *came_from };
                *best = if score > *best { score } else { *best };
            }
        }
    }
}

/// Where the first of the greatest scores stands; `None` where all are −∞.
fn first_maximum(scores: &[f64]) -> Option<u32> {
    let mut best = (None, f64::NEG_INFINITY);
    for (tag, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (Some(tag as u32), score);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::super::reference::{Problem, problems};
    use super::*;
    use crate::ops::{Forbidden, crf_marginals};
    use crate::testing::on_each_device;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]
        /// Small integers: many sequences tie, and f64 adds them exactly.
        #[test]
        fn the_best_of_all_sequences_is_found(problem in problems((-2i8..3).prop_map(f32::from))) {
            let expected = problem.best_sequences();
            on_each_device(|device| {
                let problem = problem.on(device);
                let found = viterbi(&problem.emissions(), &problem.weights(), &problem.offsets());
                match &expected {
                    Some(expected) => assert_eq!(&found.unwrap(), expected),
                    None => assert!(found.unwrap_err().to_string().contains("every tag sequence")),
                }
            });
        }
    }

    #[test]
    fn a_forbidden_step_is_not_taken_however_good_it_looks() {
        // Greedily 0 then 1; without that step the best is 1, 1, and without the start 1 it is 0, 0.
        let emissions = vec![5.0, 0.0, 0.0, 9.0];
        let decode = |forbidden: Forbidden| {
            let problem = Problem::with_zero_weights(emissions.clone(), &[2], forbidden);
            viterbi(&problem.emissions(), &problem.weights(), &problem.offsets()).unwrap()
        };
        assert_eq!(decode(Forbidden::new(2)), [0, 1]);
        assert_eq!(decode(Forbidden::new(2).forbid(0, 1)), [1, 1]);
        assert_eq!(decode(Forbidden::new(2).forbid(0, 1).forbid_start(1)), [0, 0]);
    }

    #[test]
    fn a_text_without_any_sequence_is_named() {
        let forbidden = Forbidden::new(2).forbid(0, 0).forbid(0, 1).forbid(1, 0).forbid(1, 1);
        let problem = Problem::with_zero_weights(vec![0.0; 6], &[1, 0, 2], forbidden);
        on_each_device(|device| {
            let problem = problem.on(device);
            let found = viterbi(&problem.emissions(), &problem.weights(), &problem.offsets());
            assert_eq!(found.unwrap_err().to_string(), "viterbi: text 2: every tag sequence is forbidden");
        });
    }

    #[test]
    fn emissions_that_are_not_finite_are_named() {
        let problem = Problem::with_zero_weights(vec![f32::NAN; 4], &[2], Forbidden::new(2));
        on_each_device(|device| {
            let problem = problem.on(device);
            let found = viterbi(&problem.emissions(), &problem.weights(), &problem.offsets());
            let expected = "viterbi: text 0: there are emissions that are not finite";
            assert_eq!(found.unwrap_err().to_string(), expected);
            let marginals = crf_marginals(&problem.emissions(), &problem.weights(), &problem.offsets());
            assert!(marginals.unwrap_err().to_string().contains("not finite"));
        });
    }
}
