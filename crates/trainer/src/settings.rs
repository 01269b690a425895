use polytask_tensor::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DeviceChoice, Schedule};

/// How the model is trained: how often, in which batches, how fast, and when to stop.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerSettings {
    /// Passes over the training data.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub epochs: u64,
    /// Texts a batch at most.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: usize,
    /// Pieces a batch at most; a longer text is a batch of its own.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub batch_tokens: usize,
    /// Batches whose gradients are averaged for one step of the optimizer. A batch without any label does not count; of
    /// the others, one without a label for a task counts as 0 for that task.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub gradient_accumulation: usize,
    /// The highest learning rate, reached at the end of the warm-up.
    #[schemars(range(min = 0.0))]
    pub learning_rate: f32,
    /// How the learning rate falls after the warm-up.
    pub schedule: Schedule,
    /// The share of all steps in which the learning rate rises from 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_ratio: f32,
    /// The norm to which longer gradients are shortened; 0 leaves them as they are.
    #[schemars(range(min = 0.0))]
    pub gradient_clipping: f32,
    /// The decay a step of the exponential moving average of the weights, such as 0.999, which then is what is measured
    /// and kept; 0 keeps the weights themselves.
    #[schemars(range(min = 0.0, max = 0.99999))]
    pub weight_averaging: f32,
    /// Epochs without a better mean of the tasks' main metrics on the dev data after which training ends; 0 never ends
    /// early. The best epoch's model is kept in any case.
    pub early_stopping_patience: u64,
    /// In which numbers products are computed, in training and by the model that comes of it: `f32`; `bf16`, twice as fast
    /// where the processor has AMX or, on AMD, AVX512-BF16, and faster still on a GPU; or `tf32`, fast on a GPU and f32 on the processor. Weights, sums, norms, softmax and losses stay f32.
    pub precision: Precision,
    /// Everything random follows from it: the same seed, the same model.
    pub seed: u64,
    /// On what to compute: `cpu`, `cuda` or `cuda:1`, or `auto`, an NVIDIA GPU where there is one: the first, or of several
    /// ranks on one machine each its own, as with `cuda`. The results differ by rounding.
    pub device: DeviceChoice,
    /// Experimental, and not yet measured: a step on an NVIDIA GPU is one CUDA graph, which takes the processor less than to
    /// launch its kernels one by one. The result does not depend on it; on the processor it changes nothing.
    pub cuda_graphs: bool,
    /// Threads to compute with; 0 takes all cores. The result does not depend on it.
    pub threads: usize,
}

impl Default for TrainerSettings {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 32,
            batch_tokens: 4096,
            gradient_accumulation: 1,
            learning_rate: 1e-3,
            schedule: Schedule::Linear,
            warmup_ratio: 0.1,
            gradient_clipping: 1.0,
            weight_averaging: 0.0,
            early_stopping_patience: 0,
            precision: Precision::F32,
            seed: 0,
            device: DeviceChoice::Auto,
            cuda_graphs: false,
            threads: 0,
        }
    }
}
