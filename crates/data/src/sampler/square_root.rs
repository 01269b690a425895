//! Each data set by the square root of its size.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by_temperature;
use crate::Sampler;

/// Each data set by the square root of its size, p_d ∝ √n_d: small sets come more often than in
/// proportion (Stickland, Murray 2019, arXiv:1902.02671).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SquareRoot {}

polytask_config::register!("sampler", "square_root", SquareRoot);

#[typetag::serde(name = "square_root")]
impl Sampler for SquareRoot {
    fn plan(&self, batches: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize> {
        by_temperature(batches, 2.0, rng)
    }
}
