//! Each data set by its size.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Sampler;

/// Each data set by its size, p_d ∝ n_d: every batch of every set once an epoch, in random order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proportional {}

polytask_config::register!("sampler", "proportional", Proportional);

#[typetag::serde(name = "proportional")]
impl Sampler for Proportional {
    fn plan(&self, batches: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut plan: Vec<usize> =
            batches.iter().enumerate().flat_map(|(data_set, &n)| std::iter::repeat_n(data_set, n)).collect();
        plan.shuffle(rng);
        plan
    }
}
