//! Optimizers: what a gradient does to a parameter.

mod adamw;
mod part;
mod sgd;
mod state;

use std::fmt::Debug;

pub use adamw::AdamW;
use polytask_tensor::UpdateRule;
pub use sgd::Sgd;
pub use state::OptimizerState;

/// An optimizer that treats every value alike and alone, chosen by `type` under `[optimizer]`.
#[typetag::serde(tag = "type")]
pub trait Optimizer: Debug + Send + Sync {
    /// What it keeps for each value from step to step, such as a momentum: one name each.
    fn slots(&self) -> &'static [&'static str];

    /// One step for some values of one parameter; `slots[k]` are what it keeps for them under the k-th name of
    /// [`slots`](Self::slots). The gradient is to be multiplied by `update.gradient_factor`.
    fn update(&self, values: &mut [f32], gradient: &[f32], slots: &mut [&mut [f32]], update: Update);

    /// The same as a GPU's kernel does it for a whole parameter, with the factor of the gradients' norm in place of
    /// `update.gradient_factor`. Where there is no kernel, the values go to the processor and back in each step.
    fn rule(&self, update: Update) -> Option<UpdateRule> {
        let _ = update;
        None
    }
}

/// What holds for one parameter in one step.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// The step, from 1.
    pub step: u64,
    /// What the gradient is multiplied by before anything else: clipping, and the mean over several batches.
    pub gradient_factor: f32,
    /// Whether weight decay applies: to matrices, not to biases and the gains of norms.
    pub decays: bool,
}
