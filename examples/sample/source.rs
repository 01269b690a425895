//! Random choices, the same in every run.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::vocabulary::Split;

/// Draws from the lists; what is held out for the dev file is drawn for the dev file only.
pub(crate) struct Source {
    random: ChaCha8Rng,
    dev: bool,
}

impl Source {
    pub(crate) fn new(seed: u64, dev: bool) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), dev }
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    pub(crate) fn one<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// One phrase; for the dev file, one that is held out with probability `held_out`.
    pub(crate) fn pick(&mut self, split: &Split, held_out: f64) -> &'static str {
        let phrases = if self.dev && self.chance(held_out) { split.dev_only } else { split.shared };
        self.one(phrases)
    }

    /// An index, drawn by its percentage.
    pub(crate) fn by_percent(&mut self, percents: impl IntoIterator<Item = u32>) -> usize {
        let drawn = self.random.random_range(0..100);
        let mut sum = 0;
        let passed = percents.into_iter().take_while(|percent| {
            sum += percent;
            sum <= drawn
        });
        passed.count()
    }
}
