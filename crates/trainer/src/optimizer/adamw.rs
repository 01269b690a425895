use polytask_tensor::UpdateRule;
use polytask_tensor::prefetch::{STRIP, prefetch};
use pulp::{Arch, NullaryFnOnce};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Optimizer, Update};

/// Adam with weight decay apart from the gradient.
///
/// ```text
/// m ← β₁ m + (1 − β₁) g      v ← β₂ v + (1 − β₂) g²
/// p ← p − η λ p              on matrices alone
/// p ← p − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
///
/// Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, 2019. Rows of an embedding that a batch did not
/// touch stay as they are, moments included (as PyTorch's SparseAdam).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// The decay of the mean of the gradients, β₁.
    #[schemars(range(min = 0.0, max = 0.99999))]
    pub beta1: f32,
    /// The decay of the mean of their squares, β₂.
    #[schemars(range(min = 0.0, max = 0.99999))]
    pub beta2: f32,
    /// What keeps the quotient finite, ε.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub epsilon: f32,
    /// The share of a matrix's values taken off a step, times the learning rate, λ.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

polytask_config::register!("optimizer", "adamw", AdamW);

#[typetag::serde(name = "adamw")]
impl Optimizer for AdamW {
    fn slots(&self) -> &'static [&'static str] {
        &["first_moment", "second_moment"]
    }

    fn update(&self, values: &mut [f32], gradient: &[f32], slots: &mut [&mut [f32]], update: Update) {
        let [first_moments, second_moments] = slots else { return };
        let gradient_factor = update.gradient_factor;
        let Factors { keep, rate, scale } = self.factors(update);
        let Self { beta1, beta2, epsilon, .. } = *self;
        Arch::new().dispatch(Values {
            values,
            gradient,
            first_moments,
            second_moments,
            gradient_factor,
            beta1,
            beta2,
            keep,
            rate,
            scale,
            epsilon,
        });
    }

    fn rule(&self, update: Update) -> Option<UpdateRule> {
        let Factors { keep, rate, scale } = self.factors(update);
        let Self { beta1, beta2, epsilon, .. } = *self;
        Some(UpdateRule::AdamW { beta1, beta2, epsilon, keep, rate, scale })
    }
}

impl AdamW {
    fn factors(&self, update: Update) -> Factors {
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(update.step as f64);
        let decay = if update.decays { update.learning_rate * self.weight_decay } else { 0.0 };
        Factors {
            keep: 1.0 - decay,
            rate: (f64::from(update.learning_rate) / correction(self.beta1)) as f32,
            scale: (1.0 / correction(self.beta2).sqrt()) as f32,
        }
    }
}

/// What of the step and the learning rate goes into each value.
struct Factors {
    /// 1 − η λ
    keep: f32,
    /// η / (1 − β₁ᵗ)
    rate: f32,
    /// 1 / √(1 − β₂ᵗ)
    scale: f32,
}

/// The loop, to be compiled for the vectors of the processor at hand.
struct Values<'a> {
    values: &'a mut [f32],
    gradient: &'a [f32],
    first_moments: &'a mut [f32],
    second_moments: &'a mut [f32],
    gradient_factor: f32,
    beta1: f32,
    beta2: f32,
    keep: f32,
    rate: f32,
    scale: f32,
    epsilon: f32,
}

impl NullaryFnOnce for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { gradient_factor, beta1, beta2, keep, rate, scale, epsilon, .. } = self;
        let moments = self.first_moments.chunks_mut(STRIP).zip(self.second_moments.chunks_mut(STRIP));
        let values = self.values.chunks_mut(STRIP).zip(self.gradient.chunks(STRIP));
        for ((values, gradient), (first_moments, second_moments)) in values.zip(moments) {
            prefetch(values);
            prefetch(gradient);
            prefetch(first_moments);
            prefetch(second_moments);
            let moments = first_moments.iter_mut().zip(second_moments);
            for ((p, g), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
                let g = gradient_factor * g;
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                *p = keep * *p - rate * *m / (scale * v.sqrt() + epsilon);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::testing::assert_close;

    /// Golden: torch.optim.AdamW([1, −2], lr=0.1, weight_decay=0.1) with the gradients (0.5, −1), (0.25, 3).
    #[test]
    fn agrees_with_pytorch() {
        let optimizer = AdamW { weight_decay: 0.1, ..AdamW::default() };
        let (mut p, mut m, mut v) = ([1.0, -2.0], [0.0; 2], [0.0; 2]);
        for (step, gradient) in [[0.5, -1.0], [0.25, 3.0]].iter().enumerate() {
            let step = step as u64 + 1;
            let update = Update { learning_rate: 0.1, step, gradient_factor: 1.0, decays: true };
            optimizer.update(&mut p, gradient, &mut [&mut m, &mut v], update);
        }
        assert_close(&p, &GOLDEN, 1e-6);
    }

    #[test]
    fn an_epsilon_of_zero_is_refused() {
        let document = polytask_config::Document::parse("train.toml", "[optimizer]\nepsilon = 0.0").unwrap();
        let section = document.root().section_or_empty("optimizer").unwrap();
        let message = section.read_plugin::<Box<dyn Optimizer>>("optimizer", Some("adamw")).unwrap_err();
        assert!(message.to_string().contains("`epsilon`"), "{message}");
    }

    const GOLDEN: [f32; 2] = [0.787_882_09, -1.910_618_9];
}
