use super::{CrfWeights, Forbidden, check, cpu, cuda, gpu_of};
use crate::{Buffer, Error, Gradient, Ids, Offsets, Operation, Result, Tensor};

const NAME: &str = "crf_loss";

/// The negative log-likelihood of the texts' tags, summed over texts and divided by the number of tokens; a scalar,
/// 0 where there is no token. A mean over tokens has the size of a cross entropy over tokens, however long the texts,
/// so that it sits well beside the losses of other tasks.
///
/// ```text
/// emissions e [tokens, tags]   tags y [tokens]     loss = Σ_texts (log Z − score(y)) / tokens
/// de_t(j)  = P(y_t = j) − [y_t = j]                dA(i,j) = Σ_t P(y_{t−1} = i, y_t = j) − [y_{t−1} = i, y_t = j]
/// ds, dz   as de of the first and of the last token, summed over texts;    all divided by tokens
/// ```
///
/// Kept for the backward: the probabilities of each text, three numbers a token and tag.
///
/// # Errors
/// The shapes do not fit together, a tag does not exist, or the tags of a text take a forbidden step.
pub fn crf_loss(
    emissions: &Tensor,
    weights: &CrfWeights<'_>,
    tags: &Ids,
    offsets: &Offsets,
) -> Result<Tensor> {
    check(emissions, weights, offsets, NAME)?;
    if tags.len() != offsets.rows() {
        let message = format!("there are {} tokens, but {} tags for them", offsets.rows(), tags.len());
        return Err(Error::shape(NAME, message));
    }
    tags.check_below(weights.forbidden.tags(), NAME)?;
    for (text, rows) in offsets.iter().enumerate() {
        check_allowed(&tags.as_slice()[rows], weights.forbidden, text)?;
    }
    let (loss, expectations) = if let Some(gpu) = gpu_of(emissions, weights)? {
        let expectations = cuda::Expectations::new(gpu, emissions, weights, Some(tags), offsets)?;
        (Buffer::on_gpu(expectations.mean_loss(offsets)?, &[]), Expectations::OnGpu(expectations))
    } else {
        let expectations = cpu::Expectations::new(emissions, weights, offsets);
        let loss = expectations.log_partition() - cpu::score(emissions, weights, tags, offsets);
        let mean = (loss / offsets.rows().max(1) as f64) as f32;
        (Buffer::new(vec![mean], &[])?, Expectations::OnCpu(expectations))
    };
    Ok(loss.recorded(CrfLoss {
        emissions: emissions.clone(),
        transitions: weights.transitions.clone(),
        start: weights.start.clone(),
        end: weights.end.clone(),
        tags: tags.clone(),
        offsets: offsets.clone(),
        expectations,
    }))
}

fn check_allowed(tags: &[u32], forbidden: &Forbidden, text: usize) -> Result<()> {
    if let Some(&first) = tags.first().filter(|&&tag| forbidden.start(tag as usize)) {
        return Err(Error::shape(NAME, format!("text {text}: tag {first} at token 0 cannot start a text")));
    }
    let step = tags.windows(2).position(|pair| forbidden.transition(pair[0] as usize, pair[1] as usize));
    step.map_or(Ok(()), |before| {
        let (from, to, token) = (tags[before], tags[before + 1], before + 1);
        Err(Error::shape(NAME, format!("text {text}: tag {to} at token {token} cannot follow tag {from}")))
    })
}

struct CrfLoss {
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    tags: Ids,
    offsets: Offsets,
    expectations: Expectations,
}

enum Expectations {
    OnCpu(cpu::Expectations),
    OnGpu(cuda::Expectations),
}

impl Operation for CrfLoss {
    fn name(&self) -> &'static str {
        NAME
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.emissions, &self.transitions, &self.start, &self.end]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let gradients = match &self.expectations {
            Expectations::OnCpu(expectations) => {
                let factor = gradient.item()? / self.offsets.rows().max(1) as f32;
                expectations.gradients(&self.tags, &self.offsets, factor)?
            }
            Expectations::OnGpu(expectations) => {
                expectations.gradients(&self.tags, &self.offsets, gradient)?
            }
        };
        Ok(gradients.into_iter().map(|gradient| Some(gradient.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{Expectations, Problem, problems};
    use super::{CrfWeights, Forbidden, Offsets, Result, Tensor, crf_loss};
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, on_each_device, sample};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn the_loss_and_its_gradients_agree_with_all_sequences(
            problem in problems(-30.0f32..30.0), choice: usize,
        ) {
            let (Some(expected), Some(gold)) = (problem.expectations(), problem.a_sequence(choice)) else { return Ok(()) };
            on_each_device(|device| check(&problem.on(device), &expected, &gold));
        }
    }

    #[track_caller]
    fn check(problem: &Problem, expected: &Expectations, gold: &[u32]) {
        let leaves = problem.leaves();
        let weights =
            CrfWeights { transitions: &leaves[1], start: &leaves[2], end: &leaves[3], ..problem.weights() };
        let loss = crf_loss(&leaves[0], &weights, &gold.into(), &problem.offsets()).unwrap();
        let tokens = problem.tokens().max(1) as f32;
        let mean = (expected.log_partition - problem.score(gold)) as f32 / tokens;
        assert_close(loss.data(), &[mean], 1e-5);
        let gradients = loss.backward().unwrap();
        let counts = problem.counts(gold);
        let parts = [
            (&expected.emissions, &counts.emissions),
            (&expected.transitions, &counts.transitions),
            (&expected.start, &counts.start),
            (&expected.end, &counts.end),
        ];
        for (leaf, (probabilities, counts)) in leaves.iter().zip(parts) {
            let differences = probabilities.iter().zip(counts).map(|(p, c)| (p - c) / tokens);
            let gradient: Vec<f32> = differences.collect();
            assert_close(gradients.get(leaf).unwrap().values(), &gradient, 1e-5);
        }
    }

    fn loss(inputs: &[Tensor], forbidden: &Forbidden, tags: &[u32], lengths: &[usize]) -> Result<Tensor> {
        let [emissions, transitions, start, end] = inputs else { panic!("four inputs") };
        let weights = CrfWeights { transitions, start, end, forbidden };
        crf_loss(emissions, &weights, &tags.into(), &Offsets::from_lengths(lengths.iter().copied()))
    }

    fn inputs(tokens: usize, tags: usize) -> [Tensor; 4] {
        [sample(&[tokens, tags], 1), sample(&[tags, tags], 2), sample(&[tags], 3), sample(&[tags], 4)]
    }

    #[test]
    fn gradients_agree_with_differences() {
        let gold: Vec<u32> = (0..12).map(|token| token * 5 % 3).collect();
        let forbidden = Forbidden::new(3).forbid(1, 2).forbid_start(2);
        for lengths in [&[2usize][..], &[5, 0, 1, 6], &[0, 3, 3, 0]] {
            let tokens = lengths.iter().sum();
            check_gradients(&inputs(tokens, 3), |t| loss(t, &forbidden, &gold[..tokens], lengths));
        }
        // One token: no transition takes part.
        let one = inputs(1, 4);
        let parts = [one[0].clone(), one[2].clone(), one[3].clone()];
        check_gradients(&parts, |t| {
            let inputs = [t[0].clone(), one[1].clone(), t[1].clone(), t[2].clone()];
            loss(&inputs, &Forbidden::new(4), &[2], &[1])
        });
    }

    #[test]
    fn one_tag_is_certain_and_no_token_is_no_fault() {
        let certain = inputs(4, 1).map(|tensor| tensor.leaf());
        let value = loss(&certain, &Forbidden::new(1), &[0; 4], &[3, 1]).unwrap();
        assert_close(value.data(), &[0.0], 1e-6);
        let gradients = value.backward().unwrap();
        assert_close(gradients.get(&certain[1]).unwrap().values(), &[0.0], 1e-6);
        let empty = inputs(0, 3).map(|tensor| tensor.leaf());
        let value = loss(&empty, &Forbidden::new(3), &[], &[0, 0]).unwrap();
        assert_eq!(value.data(), [0.0]);
        assert_eq!(value.backward().unwrap().get(&empty[1]).unwrap().values(), [0.0; 9]);
    }

    #[test]
    fn forbidden_steps_of_the_gold_tags_are_named() {
        let forbidden = Forbidden::new(3).forbid(0, 2).forbid_start(2);
        let error = |tags: &[u32]| loss(&inputs(5, 3), &forbidden, tags, &[1, 4]).unwrap_err().to_string();
        assert_eq!(error(&[0, 1, 2, 0, 2]), "crf_loss: text 1: tag 2 at token 3 cannot follow tag 0");
        assert_eq!(error(&[0, 2, 2, 2, 2]), "crf_loss: text 1: tag 2 at token 0 cannot start a text");
        assert_eq!(error(&[0, 1, 3, 0, 1]), "crf_loss: id 3 at position 2 is not below 3");
        assert_eq!(error(&[0, 1]), "crf_loss: there are 5 tokens, but 2 tags for them");
    }

    #[test]
    fn forbidden_steps_get_no_gradient() {
        let leaves = inputs(6, 3).map(|tensor| tensor.leaf());
        let forbidden = Forbidden::new(3).forbid(0, 2).forbid_start(2);
        let value = loss(&leaves, &forbidden, &[0, 1, 2, 2, 0, 0], &[2, 0, 4]);
        assert!(value.is_err(), "text 2 starts with a forbidden tag");
        let value = loss(&leaves, &forbidden, &[0, 1, 1, 2, 0, 0], &[2, 0, 4]).unwrap();
        let gradients = value.backward().unwrap();
        assert_eq!(gradients.get(&leaves[1]).unwrap().values()[2], 0.0);
        assert_eq!(gradients.get(&leaves[2]).unwrap().values()[2], 0.0);
    }

    /// What cannot be represented as a ratio, in the backward too: see the same text in the marginals' tests.
    #[test]
    fn a_sequence_that_is_hopeless_halfway_gets_its_gradient() {
        let emissions: Vec<f32> =
            (0..41).flat_map(|token| if token < 20 { [30.0, -30.0] } else { [-29.0, 30.0] }).collect();
        let problem =
            Problem::with_zero_weights(emissions, &[41], Forbidden::new(2).forbid(0, 1).forbid(1, 0));
        on_each_device(|device| {
            let leaves = problem.on(device).leaves();
            let value = loss(&leaves, &problem.forbidden, &[0; 41], &[41]).unwrap();
            assert_close(value.data(), &[39.0 / 41.0], 1e-6);
            let gradients = value.backward().unwrap();
            let expected = [-40.0 / 41.0, 0.0, 0.0, 40.0 / 41.0];
            assert_close(gradients.get(&leaves[1]).unwrap().values(), &expected, 1e-6);
        });
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let lengths: Vec<usize> = (0..32).map(|text| text * 7 % 20).collect();
        let tokens: usize = lengths.iter().sum();
        let gold: Vec<u32> = (0..tokens as u32).map(|token| token * 31 % 73).collect();
        let inputs = inputs(tokens, 73);
        assert_same_on_threads(|| {
            let leaves: Vec<Tensor> = inputs.iter().map(Tensor::leaf).collect();
            let value = loss(&leaves, &Forbidden::new(73), &gold, &lengths).unwrap();
            let mut results = vec![value.data().to_vec()];
            let gradients = value.backward().unwrap();
            results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
            results
        });
    }
}
