//! The linear-chain conditional random field: a tag a token, scored together with its neighbour's.
//!
//! ```text
//! emissions e [tokens, tags]   transitions A [tags, tags] (from, to)   start s [tags]   end z [tags]
//!
//! score(y) = s(y₁) + Σ_i e_i(y_i) + Σ_{i>1} A(y_{i−1}, y_i) + z(y_n)      for each text of tokens 1..n
//! P(y)     = exp score(y) / Z,   Z = Σ over all tag sequences without a forbidden step
//! ```
//!
//! A forbidden step has probability 0 exactly, and its weight gradient 0. An empty text has one sequence, the empty
//! one, and adds nothing anywhere.
//!
//! Lafferty, McCallum, Pereira, *Conditional Random Fields*, ICML 2001; with an encoder below: Lample et al., *Neural
//! Architectures for Named Entity Recognition*, NAACL 2016.

mod cpu;
mod cuda;
mod exact;
mod forbidden;
mod loss;
mod recursion;
#[cfg(test)]
mod reference;
mod viterbi;

pub use forbidden::Forbidden;
pub use loss::crf_loss;
pub use viterbi::viterbi;

use self::recursion::Recursion;
use crate::cuda::Gpu;
use crate::parallel::map;
use crate::{Error, Offsets, Result, Tensor};

/// The trained weights of a chain, and what it must never do.
#[derive(Clone, Copy, Debug)]
pub struct CrfWeights<'a> {
    /// Weight of each tag after each tag, `[tags, tags]`: row the tag before, column the tag after.
    pub transitions: &'a Tensor,
    /// Weight of each tag at the first token, `[tags]`.
    pub start: &'a Tensor,
    /// Weight of each tag at the last token, `[tags]`.
    pub end: &'a Tensor,
    /// The steps that cannot occur.
    pub forbidden: &'a Forbidden,
}

/// The probability of each tag at each token, `[tokens, tags]`, given the whole text: a constant through which no
/// gradient flows.
///
/// # Errors
/// The shapes do not fit together, every tag sequence of a text is forbidden, or its emissions are not finite.
pub fn crf_marginals(emissions: &Tensor, weights: &CrfWeights<'_>, offsets: &Offsets) -> Result<Tensor> {
    const NAME: &str = "crf_marginals";
    check(emissions, weights, offsets, NAME)?;
    if let Some(gpu) = gpu_of(emissions, weights)? {
        let expectations = cuda::Expectations::new(gpu, emissions, weights, None, offsets)?;
        return match expectations.text_without_sequence(offsets)? {
            None => Ok(expectations.into_marginals()),
            Some(text) => Err(no_sequence(NAME, text, of_text(emissions, offsets, text))),
        };
    }
    let recursion = Recursion::new(Chain::new(weights));
    let texts = map_texts(emissions, offsets, |text, emissions| {
        let sums = recursion.text(emissions);
        if sums.log_partition.is_finite() {
            Ok(sums.marginals)
        } else {
            Err(no_sequence(NAME, text, emissions))
        }
    });
    Tensor::new(texts.into_iter().collect::<Result<Vec<_>>>()?.concat(), emissions.shape())
}

/// The GPU on which one of the inputs lies.
fn gpu_of(emissions: &Tensor, weights: &CrfWeights<'_>) -> Result<Option<&'static Gpu>> {
    Gpu::of([emissions, weights.transitions, weights.start, weights.end])
}

/// Steps of chains that are worth a second thread.
const STEPS_IN_PARALLEL: usize = 100_000;

/// `work(text, its emissions)` of each text.
fn map_texts<T: Send>(
    emissions: &Tensor,
    offsets: &Offsets,
    work: impl Fn(usize, &[f32]) -> T + Sync,
) -> Vec<T> {
    let (tokens, tags) = emissions.rows_columns();
    let of_text = |text| work(text, of_text(emissions, offsets, text));
    if tokens * tags * tags < STEPS_IN_PARALLEL {
        (0..offsets.segments()).map(of_text).collect()
    } else {
        map(0..offsets.segments(), of_text)
    }
}

/// The emissions of one text.
fn of_text<'a>(emissions: &'a Tensor, offsets: &Offsets, text: usize) -> &'a [f32] {
    let (tags, rows) = (emissions.rows_columns().1, offsets.range(text));
    &emissions.data()[rows.start * tags..rows.end * tags]
}

/// The scores as the recursions read them: −∞ where a step is forbidden.
struct Chain {
    tags: usize,
    /// `[tags, tags]`, from and to.
    transitions: Vec<f32>,
    start: Vec<f32>,
    end: Vec<f32>,
}

impl Chain {
    fn new(weights: &CrfWeights<'_>) -> Self {
        let CrfWeights { transitions, start, end, forbidden } = weights;
        let unless = |forbidden: &[bool], weights: &Tensor| {
            let weights = weights.data().iter().zip(forbidden);
            weights.map(|(&weight, &never)| if never { f32::NEG_INFINITY } else { weight }).collect()
        };
        Self {
            tags: forbidden.tags(),
            transitions: unless(forbidden.transitions(), transitions),
            start: unless(forbidden.starts(), start),
            end: end.data().to_vec(),
        }
    }
}

fn check(
    emissions: &Tensor,
    weights: &CrfWeights<'_>,
    offsets: &Offsets,
    operation: &'static str,
) -> Result<()> {
    let tags = weights.forbidden.tags();
    let fault = |what: &str, expected: String, tensor: &Tensor| {
        let message =
            format!("there are {tags} tags, so {what} must be {expected}; found {:?}", tensor.shape());
        Err(Error::shape(operation, message))
    };
    if tags == 0 {
        return Err(Error::shape(operation, "there is no tag: at least one is needed"));
    }
    if emissions.shape().len() != 2 || emissions.shape()[1] != tags {
        return fault("emissions", format!("[tokens, {tags}]"), emissions);
    }
    if weights.transitions.shape() != [tags, tags] {
        return fault("transitions", format!("[{tags}, {tags}]"), weights.transitions);
    }
    for (what, tensor) in [("start", weights.start), ("end", weights.end)] {
        if tensor.shape() != [tags] {
            return fault(what, format!("[{tags}]"), tensor);
        }
    }
    offsets.check_rows(emissions.rows_columns().0, operation)
}

/// Why a text has no best tag sequence and no probabilities.
fn no_sequence(operation: &'static str, text: usize, emissions: &[f32]) -> Error {
    let why = if emissions.iter().all(|value| value.is_finite()) {
        "every tag sequence is forbidden"
    } else {
        "there are emissions that are not finite"
    };
    Error::shape(operation, format!("text {text}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::reference::{Problem, problems};
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, on_each_device, sample};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn marginals_agree_with_all_sequences(problem in problems(-30.0f32..30.0)) {
            let expected = problem.expectations();
            on_each_device(|device| {
                let problem = problem.on(device);
                let found = crf_marginals(&problem.emissions(), &problem.weights(), &problem.offsets());
                let Some(expected) = &expected else {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains("every tag sequence"), "{error}");
                    return;
                };
                // Six tokens in f32, where sums of exponentials up to e^±30 apart are taken.
                assert_close(found.unwrap().data(), &expected.emissions, 1e-5);
            });
        }
    }

    /// Two tags that never meet: two sequences, of which the first is ahead by 2s · 20 nats in the middle of the text, far
    /// beyond what a float can hold as a ratio, and behind in the end, or less so. It gets there in strides or by degrees.
    #[test]
    fn a_sequence_that_is_hopeless_halfway_can_win() {
        for s in [30.0f32, 3.0] {
            let emissions: Vec<f32> =
                (0..41).flat_map(|token| if token < 20 { [s, -s] } else { [1.0 - s, s] }).collect();
            let forbidden = Forbidden::new(2).forbid(0, 1).forbid(1, 0);
            let problem = Problem::with_zero_weights(emissions, &[41], forbidden);
            // score of the first: 20 s + 21 (1 − s), of the second: −20 s + 21 s.
            let first = 1.0 / (1.0 + (2.0 * s - 21.0).exp());
            on_each_device(|device| {
                let problem = problem.on(device);
                let marginals =
                    crf_marginals(&problem.emissions(), &problem.weights(), &problem.offsets()).unwrap();
                for row in marginals.data().chunks(2) {
                    assert_close(row, &[first, 1.0 - first], 1e-6);
                }
            });
        }
    }

    #[test]
    fn long_texts_keep_their_sum() {
        let mut problem =
            Problem::with_zero_weights(sample(&[2000, 7], 1).data().to_vec(), &[2000], Forbidden::new(7));
        problem.transitions = sample(&[7, 7], 2);
        on_each_device(|device| {
            let problem = problem.on(device);
            let marginals =
                crf_marginals(&problem.emissions(), &problem.weights(), &problem.offsets()).unwrap();
            for row in marginals.data().chunks(7) {
                assert_close(&[row.iter().sum()], &[1.0], 2e-5);
            }
        });
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let problem = Problem::with_zero_weights(vec![0.0; 6], &[2], Forbidden::new(3));
        let wrong = Tensor::zeros(&[2, 2]);
        let weights = CrfWeights { transitions: &wrong, ..problem.weights() };
        let error =
            crf_marginals(&problem.emissions(), &weights, &problem.offsets()).unwrap_err().to_string();
        assert_eq!(error, "crf_marginals: there are 3 tags, so transitions must be [3, 3]; found [2, 2]");
        assert!(crf_marginals(&wrong, &problem.weights(), &problem.offsets()).is_err());
        assert!(
            crf_marginals(&problem.emissions(), &problem.weights(), &Offsets::from_lengths([3])).is_err()
        );
        let none = Problem::with_zero_weights(Vec::new(), &[], Forbidden::new(0));
        assert!(crf_marginals(&Tensor::zeros(&[0, 0]), &none.weights(), &none.offsets()).is_err());
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let lengths: Vec<usize> = (0..40).map(|text| text * 7 % 13).collect();
        let tokens: usize = lengths.iter().sum();
        let emissions = sample(&[tokens, 9], 1).data().to_vec();
        let problem = Problem::with_zero_weights(emissions, &lengths, Forbidden::new(9).forbid(2, 3));
        assert_same_on_threads(|| {
            let marginals = crf_marginals(&problem.emissions(), &problem.weights(), &problem.offsets());
            vec![marginals.unwrap().data().to_vec()]
        });
    }
}
