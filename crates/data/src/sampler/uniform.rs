//! All data sets alike.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by_temperature;
use crate::Sampler;

/// All data sets alike, p_d = 1 / (number of sets that have batches), in random order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uniform {}

polytask_config::register!("sampler", "uniform", Uniform);

#[typetag::serde(name = "uniform")]
impl Sampler for Uniform {
    fn plan(&self, batches: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize> {
        by_temperature(batches, f64::INFINITY, rng)
    }
}
