//! Which data set each step of an epoch takes its batch from.

mod proportional;
mod round_robin;
mod square_root;
mod temperature;
mod uniform;

use std::fmt::Debug;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

pub use proportional::Proportional;
pub use round_robin::RoundRobin;
pub use square_root::SquareRoot;
pub use temperature::Temperature;
pub use uniform::Uniform;

/// Which data set each step of an epoch takes its batch from.
///
/// A plugin: `type` in `[sampler]` names it.
#[typetag::serde(tag = "type")]
pub trait Sampler: Debug + Send + Sync {
    /// The data set of each step of an epoch, where data set `d` has `batches[d]` batches.
    ///
    /// A set may be named more often than it has batches, and starts over then; a set of 0 batches may
    /// not be named. All chance comes from `rng`.
    fn plan(&self, batches: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize>;
}

/// As many steps as there are batches, of which data set d gets the share p_d ∝ n_d^(1/T), in random order.
///
/// The shares are met within one step (systematic sampling: one random offset u for the whole epoch,
/// step i falls to the set that holds the point (i + u) / steps of the summed shares), so that every set
/// with a small share comes at least now and then.
fn by_temperature(batches: &[usize], temperature: f64, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let steps: usize = batches.iter().sum();
    let largest = batches.iter().copied().max().unwrap_or(0) as f64;
    let weight = |n: usize| if n == 0 { 0.0 } else { (n as f64 / largest).powf(1.0 / temperature) };
    let total: f64 = batches.iter().map(|&n| weight(n)).sum();
    let offset: f64 = rng.random();
    let mut plan = Vec::with_capacity(steps);
    let mut summed = 0.0;
    for (data_set, &n) in batches.iter().enumerate() {
        summed += weight(n);
        let end = summed / total * steps as f64;
        while n > 0 && plan.len() < steps && plan.len() as f64 + offset < end {
            plan.push(data_set);
        }
    }
    plan.shuffle(rng);
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    fn counts(sampler: &dyn Sampler, batches: &[usize], seed: u64) -> Vec<usize> {
        let plan = sampler.plan(batches, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(plan.len(), batches.iter().sum::<usize>(), "an epoch has as many steps as batches");
        (0..batches.len()).map(|set| plan.iter().filter(|&&planned| planned == set).count()).collect()
    }

    fn sampler(toml: &str) -> Box<dyn Sampler> {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn shares_follow_the_formula() {
        let batches = [900, 100, 0, 25];
        let cases = [
            ("type = 'proportional'", [900, 100, 0, 25]),
            // 1025 × (30, 10, 0, 5) / 45
            ("type = 'square_root'", [683, 228, 0, 114]),
            // 1025 × (900^¼, 100^¼, 0, 25^¼) / (5.4772 + 3.1623 + 2.2361)
            ("type = 'temperature'\ntemperature = 4.0", [516, 298, 0, 211]),
            ("type = 'uniform'", [342, 342, 0, 341]),
            ("type = 'round_robin'", [342, 342, 0, 341]),
        ];
        for (toml, expected) in cases {
            for (found, expected) in counts(&*sampler(toml), &batches, 7).into_iter().zip(expected) {
                assert!(found.abs_diff(expected) <= 1, "{toml}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn a_small_share_comes_now_and_then() {
        let cold = Temperature { temperature: 0.5 };
        let visited = (0..50_000).filter(|&seed| counts(&cold, &[10, 1], seed)[1] > 0).count();
        // 11 × 1 / (100 + 1) = 0.109 steps an epoch.
        assert!((5_200..5_700).contains(&visited), "{visited}");
    }

    #[test]
    fn no_batches_no_steps() {
        for name in ["proportional", "square_root", "uniform", "round_robin"] {
            let sampler = sampler(&format!("type = '{name}'"));
            assert_eq!(counts(&*sampler, &[], 0), [0; 0]);
            assert_eq!(counts(&*sampler, &[0, 0], 0), [0, 0]);
        }
    }

    #[test]
    fn all_are_registered() {
        let names: Vec<&str> = polytask_config::plugins("sampler").iter().map(|plugin| plugin.name).collect();
        assert_eq!(names, ["proportional", "round_robin", "square_root", "temperature", "uniform"]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = toml::from_str::<Box<dyn Sampler>>("type = 'uniform'\ntemperature = 2.0").unwrap_err();
        assert!(error.message().contains("unknown field `temperature`"), "{error}");
    }

    proptest! {
        #[test]
        fn every_share_is_met_within_one_step(
            batches in prop::collection::vec(0_usize..200, 1..6),
            temperature in 0.3_f64..20.0,
            seed: u64,
        ) {
            let steps: usize = batches.iter().sum();
            let weights: Vec<f64> =
                batches.iter().map(|&n| if n == 0 { 0.0 } else { (n as f64).powf(1.0 / temperature) }).collect();
            let total: f64 = weights.iter().sum();
            let found = counts(&Temperature { temperature }, &batches, seed);
            for (found, weight) in found.into_iter().zip(&weights) {
                let share = if steps == 0 { 0.0 } else { steps as f64 * weight / total };
                prop_assert!((found as f64 - share).abs() < 1.0 + 1e-6, "{} for a share of {}", found, share);
            }
        }
    }
}
