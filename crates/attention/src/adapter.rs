use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Few parameters beside those of a pretrained encoder, which then keep their values: only the adapters and the tasks' own
/// parameters are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterConfig {
    /// The rank of what is added to each matrix of attention and feed-forward networks, as in LoRA; 0 leaves it out.
    #[schemars(range(max = 1024))]
    pub lora_rank: usize,
    /// What is added is multiplied by `lora_alpha` / `lora_rank`.
    #[schemars(range(min = 0.001, max = 10_000.0))]
    pub lora_alpha: f32,
    /// The share of values dropped in training from what `lora_rank` reads.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub lora_dropout: f32,
    /// The inner width of a small network behind each attention and each feed-forward network; 0 leaves it out.
    #[schemars(range(max = 16_384))]
    pub bottleneck: usize,
    /// Whether each task has adapters of its own, and with them a pass of the encoder of its own; else all tasks share them.
    pub per_task: bool,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self { lora_rank: 0, lora_alpha: 16.0, lora_dropout: 0.0, bottleneck: 0, per_task: false }
    }
}

/// One set of adapters of an encoder: in each layer those of one task, or those that tasks share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// The task whose they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Their sizes.
    pub config: AdapterConfig,
}

/// The parts of a layer that hold adapters.
const KINDS: [&str; 2] = [LORA, BOTTLENECK];
pub(crate) const LORA: &str = "lora";
pub(crate) const BOTTLENECK: &str = "bottleneck";

impl Adapter {
    /// What its parameters of one kind are called beneath their layer: `lora`, or `lora.TASK`.
    pub(crate) fn part(&self, kind: &str) -> String {
        self.task.iter().fold(kind.into(), |part, task| format!("{part}.{task}"))
    }

    /// Whether a parameter, by its full name, is one of its own.
    pub fn owns(&self, parameter: &str) -> bool {
        let parts: Vec<&str> = parameter.split('.').collect();
        let owned = |(place, part): (usize, &&str)| {
            // Behind the kind stands what the parameter is, or before that the task.
            let task = (parts.len() == place + 3).then(|| parts[place + 1]);
            KINDS.contains(part) && parts.len() <= place + 3 && task == self.task.as_deref()
        };
        // The first: a task may have the name of a kind.
        parts.iter().enumerate().find(|(_, part)| KINDS.contains(*part)).is_some_and(owned)
    }

    /// Whether a parameter, by its full name, belongs to any adapter.
    pub fn is_part_of_one(parameter: &str) -> bool {
        let layer = parameter.strip_prefix("encoder.layers.");
        layer.is_some_and(|layer| layer.split('.').any(|part| KINDS.contains(&part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_knows_its_parameters_by_their_names() {
        let adapter = |task: Option<&str>| Adapter { task: task.map(Into::into), config: Default::default() };
        let names = [
            "up.lora.a",
            "up.lora.mood.b",
            "bottleneck.mood.down",
            "bottleneck.down",
            "up.weight",
            "norm.gain",
        ];
        let names = names.map(|name| format!("encoder.layers.0.feed_forward.{name}"));
        let owned = |task| names.each_ref().map(|name| adapter(task).owns(name));
        assert_eq!(owned(None), [true, false, false, true, false, false]);
        assert_eq!(owned(Some("mood")), [false, true, true, false, false, false]);
        assert_eq!(owned(Some("topic")), [false; 6]);
        let odd = "encoder.layers.0.feed_forward.up.lora.lora.a";
        assert_eq!([None, Some("lora")].map(|task| adapter(task).owns(odd)), [false, true]);
        let any = names.each_ref().map(|name| Adapter::is_part_of_one(name));
        assert_eq!(any, [true, true, true, true, false, false]);
        assert!(!Adapter::is_part_of_one("tasks.lora.head.weight"));
    }
}
