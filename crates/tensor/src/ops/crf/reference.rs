//! Small chains, and what is true of them by adding up every tag sequence in f64.

use proptest::prelude::*;

use super::exact::log_sum_exp;
use super::{CrfWeights, Forbidden};
use crate::{Device, Offsets, Tensor};

/// The inputs of a chain over some texts.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) device: Device,
    pub(super) tags: usize,
    pub(super) lengths: Vec<usize>,
    pub(super) emissions: Vec<f32>,
    pub(super) transitions: Tensor,
    pub(super) start: Tensor,
    pub(super) end: Tensor,
    pub(super) forbidden: Forbidden,
}

/// Probabilities or counts of each tag at each token, of each pair of neighbours, and of the first and the last tag.
pub(super) struct Expectations {
    pub(super) log_partition: f64,
    pub(super) emissions: Vec<f32>,
    pub(super) transitions: Vec<f32>,
    pub(super) start: Vec<f32>,
    pub(super) end: Vec<f32>,
}

/// Up to 5 tags and three texts of up to 6 tokens, with a quarter of the steps forbidden.
pub(super) fn problems(weight: impl Strategy<Value = f32> + Clone) -> impl Strategy<Value = Problem> {
    (1usize..=5, prop::collection::vec(0usize..=6, 0..=3)).prop_flat_map(move |(tags, lengths)| {
        let values = lengths.iter().sum::<usize>() * tags;
        let weights = |count: usize| prop::collection::vec(weight.clone(), count);
        let barred = |count: usize| prop::collection::vec(prop::bool::weighted(0.25), count);
        let all = (
            weights(values),
            weights(tags * tags),
            weights(tags),
            weights(tags),
            barred(tags * tags),
            barred(tags),
        );
        all.prop_map(move |(emissions, transitions, start, end, steps, starts)| {
            let mut forbidden = Forbidden::new(tags);
            for at in (0..tags * tags).filter(|&at| steps[at]) {
                forbidden = forbidden.forbid(at / tags, at % tags);
            }
            for tag in (0..tags).filter(|&tag| starts[tag]) {
                forbidden = forbidden.forbid_start(tag);
            }
            Problem {
                device: Device::Cpu,
                tags,
                lengths: lengths.clone(),
                emissions,
                transitions: Tensor::new(transitions, &[tags, tags]).unwrap(),
                start: Tensor::new(start, &[tags]).unwrap(),
                end: Tensor::new(end, &[tags]).unwrap(),
                forbidden,
            }
        })
    })
}

impl Problem {
    pub(super) fn with_zero_weights(emissions: Vec<f32>, lengths: &[usize], forbidden: Forbidden) -> Self {
        let tags = forbidden.tags();
        let [start, end] = [Tensor::zeros(&[tags]), Tensor::zeros(&[tags])];
        Self {
            device: Device::Cpu,
            tags,
            lengths: lengths.to_vec(),
            emissions,
            transitions: Tensor::zeros(&[tags, tags]),
            start,
            end,
            forbidden,
        }
    }

    /// The same with its tensors on a device.
    pub(super) fn on(&self, device: Device) -> Self {
        let [transitions, start, end] =
            [&self.transitions, &self.start, &self.end].map(|weights| weights.to(device).unwrap());
        Self { device, transitions, start, end, ..self.clone() }
    }

    pub(super) fn emissions(&self) -> Tensor {
        let emissions = Tensor::new(self.emissions.clone(), &[self.tokens(), self.tags]).unwrap();
        emissions.to(self.device).unwrap()
    }

    pub(super) fn weights(&self) -> CrfWeights<'_> {
        CrfWeights {
            transitions: &self.transitions,
            start: &self.start,
            end: &self.end,
            forbidden: &self.forbidden,
        }
    }

    pub(super) fn offsets(&self) -> Offsets {
        Offsets::from_lengths(self.lengths.iter().copied())
    }

    pub(super) fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Emissions, transitions, start and end.
    pub(super) fn leaves(&self) -> [Tensor; 4] {
        [self.emissions().leaf(), self.transitions.leaf(), self.start.leaf(), self.end.leaf()]
    }

    /// Every allowed tag sequence of one text, the last token counting fastest upwards from the first place.
    fn sequences(&self, text: usize) -> Vec<Vec<u32>> {
        let length = self.lengths[text];
        let all = (0..self.tags.pow(length as u32)).map(|number| {
            (0..length)
                .map(|place| (number / self.tags.pow(place as u32) % self.tags) as u32)
                .collect::<Vec<_>>()
        });
        let allowed = |sequence: &Vec<u32>| {
            sequence.first().is_none_or(|&tag| !self.forbidden.start(tag as usize))
                && sequence
                    .windows(2)
                    .all(|pair| !self.forbidden.transition(pair[0] as usize, pair[1] as usize))
        };
        all.filter(allowed).collect()
    }

    fn score_in(&self, text: usize, sequence: &[u32]) -> f64 {
        let first_token: usize = self.lengths[..text].iter().sum();
        let mut score = 0.0;
        for (place, &tag) in sequence.iter().enumerate() {
            let tag = tag as usize;
            score += f64::from(self.emissions[(first_token + place) * self.tags + tag]);
            if place == 0 {
                score += f64::from(self.start.data()[tag]);
            } else {
                score += f64::from(self.transitions.row(sequence[place - 1] as usize)[tag]);
            }
            if place + 1 == sequence.len() {
                score += f64::from(self.end.data()[tag]);
            }
        }
        score
    }

    fn by_text<'a>(&self, packed: &'a [u32]) -> Vec<&'a [u32]> {
        self.offsets().iter().map(|rows| &packed[rows]).collect()
    }

    pub(super) fn score(&self, packed: &[u32]) -> f64 {
        self.by_text(packed).iter().enumerate().map(|(text, sequence)| self.score_in(text, sequence)).sum()
    }

    /// The best sequence of each text, packed; of equals the one that is lowest read from its end.
    pub(super) fn best_sequences(&self) -> Option<Vec<u32>> {
        let best = |text| {
            // In this order the first of the best is the one lowest at the last token, then at the one before.
            let mut best: Option<(f64, Vec<u32>)> = None;
            for sequence in self.sequences(text) {
                let score = self.score_in(text, &sequence);
                if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
                    best = Some((score, sequence));
                }
            }
            best.map(|(_, sequence)| sequence)
        };
        let texts: Option<Vec<Vec<u32>>> = (0..self.lengths.len()).map(best).collect();
        texts.map(|texts| texts.concat())
    }

    /// Some allowed sequence of each text, packed.
    pub(super) fn a_sequence(&self, choice: usize) -> Option<Vec<u32>> {
        let one = |text| {
            let sequences = self.sequences(text);
            sequences.get(choice.checked_rem(sequences.len())?).cloned()
        };
        let texts: Option<Vec<Vec<u32>>> = (0..self.lengths.len()).map(one).collect();
        texts.map(|texts| texts.concat())
    }

    pub(super) fn counts(&self, packed: &[u32]) -> Expectations {
        let mut sums = Sums::new(self);
        for (text, sequence) in self.by_text(packed).into_iter().enumerate() {
            sums.add(self, text, sequence, 1.0);
        }
        sums.into_expectations(0.0)
    }

    /// The expectations under the chain's distribution; `None` where a text has no allowed sequence.
    pub(super) fn expectations(&self) -> Option<Expectations> {
        let mut sums = Sums::new(self);
        let mut log_partitions = 0.0;
        for text in 0..self.lengths.len() {
            let sequences = self.sequences(text);
            let log_partition = log_sum_exp(sequences.iter().map(|sequence| self.score_in(text, sequence)));
            if sequences.is_empty() {
                return None;
            }
            for sequence in &sequences {
                let probability = (self.score_in(text, sequence) - log_partition).exp();
                sums.add(self, text, sequence, probability);
            }
            log_partitions += log_partition;
        }
        Some(sums.into_expectations(log_partitions))
    }
}

struct Sums {
    emissions: Vec<f64>,
    transitions: Vec<f64>,
    start: Vec<f64>,
    end: Vec<f64>,
}

impl Sums {
    fn new(problem: &Problem) -> Self {
        let zeros = |count: usize| vec![0.0; count];
        let tags = problem.tags;
        let [emissions, transitions] = [zeros(problem.emissions.len()), zeros(tags * tags)];
        Self { emissions, transitions, start: zeros(tags), end: zeros(tags) }
    }

    fn add(&mut self, problem: &Problem, text: usize, sequence: &[u32], probability: f64) {
        let first_token: usize = problem.lengths[..text].iter().sum();
        for (place, &tag) in sequence.iter().enumerate() {
            self.emissions[(first_token + place) * problem.tags + tag as usize] += probability;
        }
        for pair in sequence.windows(2) {
            self.transitions[pair[0] as usize * problem.tags + pair[1] as usize] += probability;
        }
        if let (Some(&first), Some(&last)) = (sequence.first(), sequence.last()) {
            self.start[first as usize] += probability;
            self.end[last as usize] += probability;
        }
    }

    fn into_expectations(self, log_partition: f64) -> Expectations {
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
        Expectations {
            log_partition,
            emissions: narrow(self.emissions),
            transitions: narrow(self.transitions),
            start: narrow(self.start),
            end: narrow(self.end),
        }
    }
}
