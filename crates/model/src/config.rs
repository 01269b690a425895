use polytask_encoder::EncoderConfig;
use polytask_task::{Task, TaskSettings};
use polytask_tensor::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a model is made of: the encoder, task attention and the tasks.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The shared encoder.
    pub encoder: Box<dyn EncoderConfig>,
    /// How text-level tasks gather their input.
    pub task_attention: TaskAttentionConfig,
    /// The tasks, in the order of the configuration.
    pub tasks: Vec<ModelTask>,
    /// In which numbers products are computed.
    #[serde(default)]
    pub precision: Precision,
}

/// One task of a model.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModelTask {
    /// What all tasks have: name, labels, weight.
    pub settings: TaskSettings,
    /// The task type with its own keys and, once fitted, its labels.
    pub task: Box<dyn Task>,
}

/// How text-level tasks gather their input from the states of a text.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskAttentionConfig {
    /// Queries a task; what they gather is put side by side.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
}

impl Default for TaskAttentionConfig {
    fn default() -> Self {
        Self { heads: 1 }
    }
}

impl ModelConfig {
    /// The tasks' names, in order.
    pub fn task_names(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().map(|task| task.settings.name.as_str())
    }
}
