//! One data set after the other.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Sampler;

/// One data set after the other, in fixed turns: step i takes set i modulo the number of sets that have
/// batches.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoundRobin {}

polytask_config::register!("sampler", "round_robin", RoundRobin);

#[typetag::serde(name = "round_robin")]
impl Sampler for RoundRobin {
    fn plan(&self, batches: &[usize], _rng: &mut ChaCha8Rng) -> Vec<usize> {
        let sets = batches.iter().enumerate().filter(|(_, n)| **n > 0).map(|(data_set, _)| data_set);
        sets.cycle().take(batches.iter().sum()).collect()
    }
}
