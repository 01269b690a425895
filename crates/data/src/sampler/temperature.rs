//! Between proportion and equality.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by_temperature;
use crate::Sampler;

/// Each data set by a root of its size, p_d ∝ n_d^(1/T): T = 1 is in proportion, a large T gives all sets
/// the same share (Arivazhagan et al. 2019, arXiv:1907.05019, use T = 5).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// T, greater than 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

polytask_config::register!("sampler", "temperature", Temperature);

#[typetag::serde(name = "temperature")]
impl Sampler for Temperature {
    fn plan(&self, batches: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize> {
        by_temperature(batches, self.temperature, rng)
    }
}
