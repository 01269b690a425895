//! Between proportion and equality.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

use super::by_temperature;
use crate::Sampler;

/// Each data set by a root of its size, p_d ∝ n_d^(1/T): T = 1 is in proportion, a large T gives all sets
/// the same share (Arivazhagan et al. 2019, arXiv:1907.05019, use T = 5).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// T, greater than 0.
    #[serde(deserialize_with = "positive")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err(D::Error::invalid_value(Unexpected::Float(number), &"a temperature greater than 0"))
    }
}

polytask_config::register!("sampler", "temperature", Temperature);

#[typetag::serde(name = "temperature")]
impl Sampler for Temperature {
    fn plan(&self, batches: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize> {
        by_temperature(batches, self.temperature, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temperature_must_be_positive() {
        for wrong in ["0.0", "-1.0", "nan", "inf"] {
            let error = toml::from_str::<Temperature>(&format!("temperature = {wrong}")).unwrap_err();
            assert!(error.message().contains("expected a temperature greater than 0"), "{error}");
        }
    }
}
