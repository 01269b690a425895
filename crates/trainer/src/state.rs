//! Where training stands: what, with the tensors, makes a checkpoint.

use polytask_model::Evaluation;
use serde::{Deserialize, Serialize};

/// The counts of a training run. Everything random is a function of the seed and of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Whole epochs trained.
    pub epoch: u64,
    /// Batches of the current epoch trained.
    pub batch: usize,
    /// Batches since the start of training.
    pub batches: u64,
    /// Optimizer steps since the start of training.
    pub step: u64,
    /// Sums over the current epoch.
    pub current: Totals,
    /// Sums over the whole run.
    pub total: Totals,
    /// The best mean of the tasks' main metrics so far.
    pub best: Option<f64>,
    /// Epochs since then.
    pub epochs_without_improvement: u64,
    /// All epochs trained so far.
    pub history: Vec<EpochRecord>,
}

/// Sums over some batches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// For each task the sum of its batches' losses.
    pub losses: Vec<f64>,
    /// For each task the batches that had labels for it.
    pub counts: Vec<u64>,
    /// Pieces.
    pub tokens: u64,
    /// Pieces that a padded batch would have computed.
    pub padded_tokens: u64,
    /// Texts.
    pub examples: u64,
    /// Seconds of training, measuring and saving left out.
    pub seconds: f64,
}

impl Totals {
    pub(crate) fn new(tasks: usize) -> Self {
        Self { losses: vec![0.0; tasks], counts: vec![0; tasks], ..Self::default() }
    }

    /// The mean loss of each task; `None` where no batch had a label for it.
    pub fn mean_losses(&self) -> Vec<Option<f64>> {
        let mean = |(loss, &count): (&f64, &u64)| (count > 0).then(|| loss / count as f64);
        self.losses.iter().zip(&self.counts).map(mean).collect()
    }

    /// Counts a batch of texts, given the pieces of each.
    pub fn count_texts(&mut self, pieces: impl Iterator<Item = usize>) {
        let (mut texts, mut longest) = (0, 0);
        for pieces in pieces {
            texts += 1;
            self.tokens += pieces as u64;
            longest = longest.max(pieces as u64);
        }
        self.examples += texts;
        self.padded_tokens += texts * longest;
    }

    /// Counts a batch's losses, one a task that had labels in it.
    pub(crate) fn count_losses(&mut self, losses: &[Option<f64>]) {
        for ((sum, count), loss) in self.losses.iter_mut().zip(&mut self.counts).zip(losses) {
            if let Some(loss) = loss {
                *sum += loss;
                *count += 1;
            }
        }
    }

    /// The share of a padded batch that would have been padding.
    pub fn padding(&self) -> f64 {
        if self.padded_tokens == 0 { 0.0 } else { 1.0 - self.tokens as f64 / self.padded_tokens as f64 }
    }

    /// Pieces trained on a second.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    pub(crate) fn add(&mut self, other: &Totals) {
        self.losses.iter_mut().zip(&other.losses).for_each(|(sum, term)| *sum += term);
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, term)| *sum += term);
        self.tokens += other.tokens;
        self.padded_tokens += other.padded_tokens;
        self.examples += other.examples;
        self.seconds += other.seconds;
    }
}

/// One epoch of the training history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Optimizer steps since the start of training.
    pub step: u64,
    /// The learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// The mean loss of each task that had labels.
    pub losses: Vec<(String, f64)>,
    /// The reports on the dev data.
    pub dev: Evaluation,
    /// The mean of the tasks' main metrics on the dev data.
    pub mean_metric: Option<f64>,
    /// Seconds of training in this epoch.
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_what_padded_batches_would_add() {
        let mut totals = Totals::default();
        assert_eq!(totals.padding(), 0.0);
        totals.count_texts([1, 4].into_iter());
        totals.count_texts(std::iter::empty());
        assert_eq!((totals.tokens, totals.padded_tokens, totals.examples), (5, 8, 2));
        assert_eq!(totals.padding(), 3.0 / 8.0);
    }
}
