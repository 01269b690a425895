//! The plan of an epoch: which rows of which data set make up each step.
//!
//! A function of the seed and the epoch alone: training that is resumed meets the same batches.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::{Error, Result, Sampler};

/// Texts are sorted by length within pools of so many batches: large pools save padding elsewhere and
/// even out the batches, small ones keep the order random.
const POOL: usize = 50;

/// How large a batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most texts of a batch; 0 counts as 1.
    pub texts: usize,
    /// The most tokens of a batch; a longer text is a batch of its own.
    pub tokens: usize,
}

impl BatchLimits {
    fn admit(&self, texts: usize, tokens: usize) -> bool {
        texts == 0 || texts < self.texts && tokens <= self.tokens
    }
}

/// One step of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The data set, by its place among all.
    pub data_set: usize,
    /// The rows of the batch, by their place in the data set.
    pub rows: Vec<usize>,
}

/// Batches of one data set for one epoch: texts of like length together, batches in random order, each
/// text once. A function of its arguments alone.
///
/// `lengths` are the tokens of each text; a batch lists texts by their place there.
pub fn batches(lengths: &[usize], limits: BatchLimits, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    shuffled_batches(lengths, limits, &mut generator(seed, epoch, 0, 0))
}

/// The steps of an epoch over several data sets, `lengths[d]` being the tokens of the texts of data set `d`.
///
/// The sampler says which data set each step takes its batch from. A data set that is asked for more
/// batches than it has is shuffled anew and starts over.
///
/// # Errors
/// The sampler names a data set without batches, or one that does not exist.
pub fn plan_epoch(
    lengths: &[Vec<usize>],
    limits: BatchLimits,
    sampler: &dyn Sampler,
    seed: u64,
    epoch: u64,
) -> Result<Vec<Step>> {
    let shuffle = |data_set: usize, pass: u64| {
        let texts = lengths.get(data_set).map(Vec::as_slice).unwrap_or_default();
        let mut batches = shuffled_batches(texts, limits, &mut generator(seed, epoch, data_set as u64, pass));
        batches.reverse(); // they are taken from the end
        batches
    };
    let mut waiting: Vec<Vec<Vec<usize>>> = (0..lengths.len()).map(|data_set| shuffle(data_set, 0)).collect();
    let sizes: Vec<usize> = waiting.iter().map(Vec::len).collect();
    let mut passes = vec![0; lengths.len()];
    let plan = sampler.plan(&sizes, &mut generator(seed, epoch, u64::MAX, 0));
    let mut steps = Vec::with_capacity(plan.len());
    for (step, data_set) in plan.into_iter().enumerate() {
        let nothing = Error::Sampler { step, data_set, data_sets: lengths.len() };
        let (Some(batches), Some(pass)) = (waiting.get_mut(data_set), passes.get_mut(data_set)) else {
            return Err(nothing);
        };
        if batches.is_empty() {
            *pass += 1;
            *batches = shuffle(data_set, *pass);
        }
        steps.push(Step { data_set, rows: batches.pop().ok_or(nothing)? });
    }
    Ok(steps)
}

/// An independent stream of random numbers for each data set and each pass over it: the four numbers are
/// the 256-bit key of ChaCha.
fn generator(seed: u64, epoch: u64, data_set: u64, pass: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, number) in key.chunks_exact_mut(8).zip([seed, epoch, data_set, pass]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

fn shuffled_batches(lengths: &[usize], limits: BatchLimits, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.shuffle(rng);
    let pool_limits =
        BatchLimits { texts: limits.texts.saturating_mul(POOL), tokens: limits.tokens.saturating_mul(POOL) };
    let mut batches = Vec::new();
    for mut pool in cut(order, lengths, pool_limits) {
        pool.sort_by_key(|&text| lengths[text]);
        batches.extend(cut(pool, lengths, limits));
    }
    batches.shuffle(rng);
    batches
}

/// Cuts texts, in their order, into groups as large as the limits admit.
fn cut(order: Vec<usize>, lengths: &[usize], limits: BatchLimits) -> Vec<Vec<usize>> {
    let mut groups = Vec::new();
    let (mut group, mut tokens) = (Vec::new(), 0_usize);
    for text in order {
        tokens = tokens.saturating_add(lengths[text]);
        if !limits.admit(group.len(), tokens) {
            groups.push(std::mem::take(&mut group));
            tokens = lengths[text];
        }
        group.push(text);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Proportional, RoundRobin, Uniform};

    const LIMITS: BatchLimits = BatchLimits { texts: 4, tokens: 40 };

    fn lengths(count: usize) -> Vec<usize> {
        (0..count).map(|n| 1 + n * 37 % 30).collect()
    }

    proptest! {
        #[test]
        fn each_text_comes_once_and_limits_hold(
            lengths in prop::collection::vec(0_usize..60, 0..300),
            texts in 0_usize..9,
            tokens in 0_usize..100,
            seed: u64,
            epoch: u64,
        ) {
            let limits = BatchLimits { texts, tokens };
            let batches = batches(&lengths, limits, seed, epoch);
            for batch in &batches {
                let sum: usize = batch.iter().map(|&text| lengths[text]).sum();
                prop_assert!(batch.len() == 1 || batch.len() <= texts && sum <= tokens, "{:?}: {}", batch, sum);
            }
            let mut all: Vec<usize> = batches.into_iter().flatten().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn a_plan_depends_on_seed_and_epoch_alone(seed: u64, epoch: u64) {
            let sets = [lengths(50), lengths(120)];
            let plan = |seed, epoch| plan_epoch(&sets, LIMITS, &Uniform {}, seed, epoch).unwrap();
            prop_assert_eq!(plan(seed, epoch), plan(seed, epoch));
            prop_assert_ne!(plan(seed, epoch), plan(seed, epoch.wrapping_add(1)));
            prop_assert_ne!(plan(seed, epoch), plan(seed.wrapping_add(1), epoch));
        }
    }

    #[test]
    fn texts_of_like_length_stand_together() {
        let lengths: Vec<usize> = (0..2000).map(|n| 1 + n * 37 % 100).collect();
        let limits = BatchLimits { texts: 20, tokens: usize::MAX };
        let spread = |batches: &[Vec<usize>]| -> usize {
            let ends = |batch: &Vec<usize>| {
                let own = || batch.iter().map(|&text| lengths[text]);
                own().max().unwrap_or(0) - own().min().unwrap_or(0)
            };
            batches.iter().map(ends).sum::<usize>() / batches.len()
        };
        assert!(spread(&batches(&lengths, limits, 1, 0)) <= 4);
        let unsorted: Vec<Vec<usize>> = (0..2000).collect::<Vec<_>>().chunks(20).map(<[_]>::to_vec).collect();
        assert!(spread(&unsorted) > 50);
    }

    #[test]
    fn the_order_of_batches_is_random() {
        let lengths: Vec<usize> = (1..=400).collect();
        let first =
            |epoch| batches(&lengths, BatchLimits { texts: 8, tokens: usize::MAX }, 0, epoch)[0].clone();
        assert!((1..5).any(|epoch| first(epoch) != first(0)));
        assert!((0..5).any(|epoch| first(epoch)[0] > 8), "not always the shortest first");
    }

    #[test]
    fn proportional_visits_every_row_once() {
        let sets = [lengths(50), Vec::new(), lengths(7)];
        let steps = plan_epoch(&sets, LIMITS, &Proportional {}, 3, 1).unwrap();
        for (data_set, lengths) in sets.iter().enumerate() {
            let own = steps.iter().filter(|step| step.data_set == data_set);
            let mut rows: Vec<usize> = own.flat_map(|step| step.rows.clone()).collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_small_set_starts_over_in_a_new_order() {
        let limits = BatchLimits { texts: 1, tokens: 100 };
        let steps = plan_epoch(&[lengths(40), lengths(10)], limits, &RoundRobin {}, 0, 0).unwrap();
        let rows: Vec<usize> =
            steps.iter().filter(|step| step.data_set == 1).flat_map(|step| step.rows.clone()).collect();
        assert_eq!(rows.len(), 25);
        assert_ne!(rows[..10], rows[10..20]);
        for pass in [&rows[..10], &rows[10..20]] {
            let mut pass = pass.to_vec();
            pass.sort_unstable();
            assert_eq!(pass, (0..10).collect::<Vec<_>>());
        }
    }

    /// Names a data set that has nothing.
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Wrong {}

    #[typetag::serde(name = "wrong")]
    impl Sampler for Wrong {
        fn plan(&self, _batches: &[usize], _rng: &mut ChaCha8Rng) -> Vec<usize> {
            vec![0, 1]
        }
    }

    #[test]
    fn a_sampler_that_names_an_empty_set_is_an_error() {
        let message =
            |sets: &[Vec<usize>]| plan_epoch(sets, LIMITS, &Wrong {}, 0, 0).unwrap_err().to_string();
        let expected = |sets| {
            format!("the sampler gave step 1 to data set 1, which has no batches ({sets} data sets exist)")
        };
        assert_eq!(message(&[lengths(3), Vec::new()]), expected(2));
        assert_eq!(message(&[lengths(3)]), expected(1));
    }
}
