//! The chain on a GPU: the kernels of `kernels/crf*.cu`.

mod expectations;
mod gradients;
mod recursion;
mod viterbi;

pub(super) use expectations::Expectations;
pub(super) use viterbi::best_sequences;

use super::CrfWeights;
use crate::cuda::{Argument, Gpu, Grid, Memory};
use crate::{Offsets, Result, Tensor};

/// Dynamic shared memory that a block has on every GPU, beside the few bytes that the kernels take for themselves.
const SHARED_BYTES: usize = 47 * 1024;
/// The most threads that a block of these kernels may have.
const THREADS: u32 = 256;

/// What a chain is made of, where the kernels find it.
struct Inputs {
    gpu: &'static Gpu,
    emissions: Argument,
    transitions: Argument,
    start: Argument,
    end: Argument,
    /// Steps and then starts, `[tags + 1, tags]` bytes.
    forbidden: Memory,
    offsets: Argument,
    texts: usize,
    tokens: usize,
    tags: usize,
}

impl Inputs {
    fn new(
        gpu: &'static Gpu,
        emissions: &Tensor,
        weights: &CrfWeights<'_>,
        offsets: &Offsets,
    ) -> Result<Self> {
        let CrfWeights { transitions, start, end, forbidden } = weights;
        Ok(Self {
            gpu,
            emissions: gpu.read(emissions)?,
            transitions: gpu.read(transitions)?,
            start: gpu.read(start)?,
            end: gpu.read(end)?,
            forbidden: gpu.upload(&[forbidden.transitions(), forbidden.starts()].concat())?,
            offsets: offsets.on(gpu)?,
            texts: offsets.segments(),
            tokens: offsets.rows(),
            tags: forbidden.tags(),
        })
    }

    /// What the kernels of the whole chain begin with.
    fn first_arguments(&self) -> [Argument; 6] {
        let forbidden = Argument::from(&self.forbidden);
        [self.emissions, self.transitions, self.start, self.end, forbidden, self.offsets]
    }

    /// Room for a value a token and tag.
    fn values(&self) -> Result<Memory> {
        self.gpu.allocate(self.tokens * self.tags)
    }

    /// A block a text, with a thread a tag as far as a block can have so many.
    fn grid_of_texts(&self) -> Grid {
        Grid::blocks(self.texts, self.tags.next_multiple_of(32).min(THREADS as usize) as u32)
    }
}

/// A warp a token.
fn grid_of_tokens(tokens: usize) -> Grid {
    Grid::blocks(tokens.div_ceil(THREADS as usize / 32), THREADS)
}

/// Of two kernels the first, with a matrix in shared memory beside the `bytes` that both need, where there is room for it.
fn with_matrix_in_shared(
    [in_shared, through_cache]: [&'static str; 2],
    grid: Grid,
    bytes: usize,
    bytes_of_matrix: usize,
) -> (&'static str, Grid) {
    if bytes + bytes_of_matrix <= SHARED_BYTES {
        (in_shared, grid.with_shared(bytes + bytes_of_matrix))
    } else {
        (through_cache, grid.with_shared(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::Expectations;
    use crate::cuda::Gpu;
    use crate::ops::crf::reference::Problem;
    use crate::ops::{CrfWeights, Forbidden, crf_loss, crf_marginals, scale, viterbi};
    use crate::testing::{accelerators, assert_close, sample};
    use crate::{Device, Tensor};

    /// Random weights, a quarter of the steps and a third of the starts forbidden.
    fn problem(tags: usize, lengths: &[usize], size: f32) -> Problem {
        let random = |shape: &[usize], stream| scale(&sample(shape, stream), size).unwrap();
        let emissions = random(&[lengths.iter().sum(), tags], 1).data().to_vec();
        let steps = (0..tags * tags).map(|at| (at / tags, at % tags));
        let forbidden = steps.filter(|(from, to)| (7 * from + 3 * to) % 4 == 1);
        let forbidden = forbidden.fold(Forbidden::new(tags), |all, (from, to)| all.forbid(from, to));
        let forbidden = (1..tags).step_by(3).fold(forbidden, Forbidden::forbid_start);
        Problem {
            transitions: random(&[tags, tags], 2),
            start: random(&[tags], 3),
            end: random(&[tags], 4),
            ..Problem::with_zero_weights(emissions, lengths, forbidden)
        }
    }

    /// Two tags that never meet, of which the one wins that is far behind halfway: only logarithms tell.
    fn hopeless_halfway(texts: usize) -> Problem {
        let text = (0..41).flat_map(|token| if token < 20 { [30.0, -30.0] } else { [-29.0, 30.0] });
        let emissions = text.collect::<Vec<f32>>().repeat(texts);
        let forbidden = Forbidden::new(2).forbid(0, 1).forbid(1, 0);
        Problem::with_zero_weights(emissions, &vec![41; texts], forbidden)
    }

    /// Tags of odd and even number; some that need more than one warp, more than shared memory, and more than a thread each;
    /// texts that are empty, of one token and long.
    fn problems() -> Vec<Problem> {
        vec![
            problem(73, &[0, 1, 40, 0, 17, 2], 4.0),
            problem(33, &[9], 1.0),
            problem(130, &[6, 3], 3.0),
            problem(260, &[4, 1], 2.0),
            problem(5, &[520, 1, 3], 5.0),
            problem(2, &(0..150).map(|text| text % 4).collect::<Vec<_>>(), 2.0),
            hopeless_halfway(70),
        ]
    }

    /// Loss, marginals and the gradients, where the tags are the best.
    fn results(problem: &Problem, tags: &[u32], device: Device) -> Vec<Tensor> {
        let problem = problem.on(device);
        let leaves = problem.leaves();
        let weights =
            CrfWeights { transitions: &leaves[1], start: &leaves[2], end: &leaves[3], ..problem.weights() };
        let loss = crf_loss(&leaves[0], &weights, &tags.into(), &problem.offsets()).unwrap();
        let marginals = crf_marginals(&problem.emissions(), &problem.weights(), &problem.offsets()).unwrap();
        let mut results = vec![loss.detach(), marginals];
        let gradients = loss.backward_from(Tensor::scalar(-1.5).to(device).unwrap()).unwrap();
        results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().to_dense().unwrap()));
        assert!(results.iter().all(|result| result.device() == device));
        results
    }

    #[test]
    fn every_device_agrees_with_the_processor() {
        for (which, problem) in problems().iter().enumerate() {
            let best = |problem: &Problem| {
                viterbi(&problem.emissions(), &problem.weights(), &problem.offsets()).unwrap()
            };
            let tags = best(problem);
            let expected = results(problem, &tags, Device::Cpu);
            for device in accelerators() {
                assert_eq!(best(&problem.on(device)), tags, "problem {which}");
                let found = results(problem, &tags, device);
                for (found, expected) in found.iter().zip(&expected) {
                    assert_close(found.data(), expected.data(), 1e-5);
                }
                for (found, again) in found.iter().zip(results(problem, &tags, device)) {
                    assert_eq!(found.data(), again.data());
                }
            }
        }
    }

    #[test]
    fn only_what_is_hopeless_halfway_is_done_in_logarithms() {
        let pairs = |problem: &Problem, device: Device| {
            let problem = problem.on(device);
            let gpu = Gpu::open(device).unwrap();
            let (emissions, offsets) = (problem.emissions(), problem.offsets());
            Expectations::new(gpu, &emissions, &problem.weights(), None, &offsets).unwrap().pairs
        };
        for device in accelerators() {
            let ordinary = pairs(&problem(73, &[40, 17, 2], 4.0), device);
            assert!(ordinary.data().iter().all(|&pair| pair == 0.0));
            assert!(pairs(&hopeless_halfway(1), device).data().iter().sum::<f32>() > 39.0);
        }
    }
}
