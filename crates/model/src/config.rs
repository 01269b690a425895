use polytask_encoder::{Adapter, EncoderConfig};
use polytask_task::{Task, TaskSettings};
use polytask_tensor::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a model is made of: the encoder, task attention and the tasks.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The shared encoder.
    pub encoder: Box<dyn EncoderConfig>,
    /// How text-level tasks gather their input.
    pub task_attention: TaskAttentionConfig,
    /// The tasks, in the order of the configuration.
    pub tasks: Vec<ModelTask>,
    /// What the encoder's frozen weights were adapted with. A task reads the states of its own adapter, else of the shared
    /// one, else of the encoder alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<Adapter>,
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

/// How tasks gather their input from the states of a text.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskAttentionConfig {
    /// What a text-level task makes of the states of a text.
    pub pooling: Pooling,
    /// Queries a task; what they gather is put side by side.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Whether each task reads a mix of all layers with weights of its own, learnt, instead of the last layer.
    pub layer_mix: bool,
}

impl Default for TaskAttentionConfig {
    fn default() -> Self {
        Self { pooling: Pooling::Attention, heads: 1, layer_mix: false }
    }
}

/// What a text-level task makes of the states of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// What its own learnt queries attend to.
    Attention,
    /// The state of the first piece, which pretrained encoders set apart for the text.
    First,
    /// The mean of all states.
    Mean,
}

impl ModelConfig {
    /// A copy, made as a model folder would make it.
    ///
    /// # Errors
    /// An encoder or a task that does not read what it writes.
    pub fn copy(&self) -> Result<Self> {
        let copy = serde_json::to_value(self).and_then(serde_json::from_value);
        copy.map_err(|error| Error::Damaged { file: "model.json".into(), message: error.to_string() })
    }

    /// The place of the adapter through which a task, by its place, reads.
    pub(crate) fn adapter_of(&self, task: usize) -> Option<usize> {
        let name = Some(&self.tasks[task].settings.name);
        let place = |of: Option<&String>| self.adapters.iter().position(|a| a.task.as_ref() == of);
        place(name).or_else(|| place(None))
    }

    /// The tasks' names, in order.
    pub fn task_names(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().map(|task| task.settings.name.as_str())
    }
}
