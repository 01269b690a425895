use polytask_tensor::UpdateRule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Optimizer, Update};

/// Stochastic gradient descent with momentum.
///
/// ```text
/// g ← g + λ p                on matrices alone
/// m ← μ m + g                p ← p − η m
/// ```
///
/// As torch.optim.SGD without dampening.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// The decay of the momentum, μ; 0 is plain descent.
    #[schemars(range(min = 0.0, max = 0.99999))]
    pub momentum: f32,
    /// The share of a matrix's values added to its gradient, λ.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f32,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { momentum: 0.9, weight_decay: 0.0 }
    }
}

polytask_config::register!("optimizer", "sgd", Sgd);

#[typetag::serde(name = "sgd")]
impl Optimizer for Sgd {
    fn slots(&self) -> &'static [&'static str] {
        &["momentum"]
    }

    fn update(&self, values: &mut [f32], gradient: &[f32], slots: &mut [&mut [f32]], update: Update) {
        let [momentum] = slots else { return };
        let decay = if update.decays { self.weight_decay } else { 0.0 };
        for ((p, &g), m) in values.iter_mut().zip(gradient).zip(momentum.iter_mut()) {
            *m = self.momentum * *m + update.gradient_factor * g + decay * *p;
            *p -= update.learning_rate * *m;
        }
    }

    fn rule(&self, update: Update) -> Option<UpdateRule> {
        let decay = if update.decays { self.weight_decay } else { 0.0 };
        Some(UpdateRule::Sgd { momentum: self.momentum, decay, learning_rate: update.learning_rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::testing::assert_close;

    /// Golden: torch.optim.SGD([1, −2], lr=0.1, momentum=0.9, weight_decay=0.1) with the gradients (0.5, −1),
    /// (0.25, 3).
    #[test]
    fn agrees_with_pytorch() {
        let optimizer = Sgd { momentum: 0.9, weight_decay: 0.1 };
        let (mut p, mut m) = ([1.0, -2.0], [0.0; 2]);
        for (step, gradient) in [[0.5, -1.0], [0.25, 3.0]].iter().enumerate() {
            let step = step as u64 + 1;
            let update = Update { learning_rate: 0.1, step, gradient_factor: 1.0, decays: true };
            optimizer.update(&mut p, gradient, &mut [&mut m], update);
        }
        assert_close(&p, &GOLDEN, 1e-6);
    }

    const GOLDEN: [f32; 2] = [0.851_6, -2.053_2];
}
