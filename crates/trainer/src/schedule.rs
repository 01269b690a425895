use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// In a straight line to 0.
    Linear,
    /// Along half a cosine to 0.
    Cosine,
    /// Not at all.
    Constant,
}

/// The share of the highest learning rate that holds in a step, of `steps` steps in all:
///
/// ```text
/// warm-up   (step + 1) / warmup_steps
/// linear    1 − p      cosine  (1 + cos π p) / 2      constant  1      p: the share of the steps after the warm-up
/// ```
pub fn learning_rate_factor(schedule: Schedule, step: u64, warmup_steps: u64, steps: u64) -> f64 {
    if step < warmup_steps {
        return (step + 1) as f64 / warmup_steps as f64;
    }
    let progress = (step - warmup_steps) as f64 / steps.saturating_sub(warmup_steps).max(1) as f64;
    let progress = progress.min(1.0);
    match schedule {
        Schedule::Linear => 1.0 - progress,
        Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        Schedule::Constant => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls() {
        let factors =
            |schedule| [0, 9, 10, 55, 100].map(|step| learning_rate_factor(schedule, step, 10, 100));
        assert_eq!(factors(Schedule::Linear), [0.1, 1.0, 1.0, 0.5, 0.0]);
        assert_eq!(factors(Schedule::Constant), [0.1, 1.0, 1.0, 1.0, 1.0]);
        let cosine = factors(Schedule::Cosine);
        assert!((cosine[3] - 0.5).abs() < 1e-12 && cosine[4].abs() < 1e-12, "{cosine:?}");
    }

    #[test]
    fn no_warm_up_and_one_step_are_no_fault() {
        assert_eq!(learning_rate_factor(Schedule::Linear, 0, 0, 1), 1.0);
        assert_eq!(learning_rate_factor(Schedule::Cosine, 0, 0, 0), 1.0);
        assert_eq!(learning_rate_factor(Schedule::Linear, 5, 5, 3), 1.0);
    }
}
