//! Which parameters are trained, and how fast each.

use polytask_encoder::Adapter;
use polytask_tensor::Parameters;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the encoder is trained beside the tasks: which of its parts keep their values, and how much slower than the tasks the
/// others learn. With `[adapters]` all of the encoder's own parts keep their values, and the adapters learn from the start.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FineTuning {
    /// Whether the encoder's embeddings keep their values.
    pub frozen_embeddings: bool,
    /// How many layers, from the lowest up, keep their values, with the embeddings below them.
    #[schemars(range(max = 256))]
    pub frozen_layers: usize,
    /// The learning rate of each layer as a share of that of the layer above it; the embeddings are below all layers.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub layer_decay: f32,
    /// The learning rate of the tasks' own parameters, which begin anew, in times the encoder's.
    #[schemars(range(min = 0.01, max = 1000.0))]
    pub task_learning_rate: f32,
    /// Gradual unfreezing: at first the tasks and a norm behind the last layer alone are trained, and each time after so many epochs one more layer from the
    /// top, at last the embeddings; 0 trains all from the start.
    #[schemars(range(max = 1_000_000_000))]
    pub unfreeze_epochs: u64,
    /// Where tasks are added to a trained model, those alone: all else keeps its values.
    #[serde(skip)]
    #[schemars(skip)]
    pub only_tasks: Option<Vec<String>>,
}

impl Default for FineTuning {
    fn default() -> Self {
        Self {
            frozen_embeddings: false,
            frozen_layers: 0,
            layer_decay: 1.0,
            task_learning_rate: 1.0,
            unfreeze_epochs: 0,
            only_tasks: None,
        }
    }
}

/// Where a parameter stands, from what a text meets first to what it meets last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Embeddings,
    Layer(usize),
    /// Behind the layers, in the encoder.
    Top,
    /// Beside the encoder's own parameters.
    Adapter,
    Task,
}

impl Place {
    fn of(full_name: &str) -> Self {
        let Some(name) = full_name.strip_prefix("encoder.") else { return Self::Task };
        if Adapter::is_part_of_one(full_name) {
            return Self::Adapter;
        }
        let layer = name.strip_prefix("layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
        match layer {
            Some(layer) => Self::Layer(layer),
            None if name.starts_with("embeddings.") => Self::Embeddings,
            None => Self::Top,
        }
    }
}

impl FineTuning {
    /// Freezes what is not trained in an epoch, counted from 0, and lets the rest be trained.
    pub(crate) fn set_trained(&self, parameters: &mut Parameters, epoch: u64) {
        let (layers, frozen) = (layers(parameters), self.frozen(parameters));
        let places: Vec<_> = parameters.iter().map(|(id, p)| (id, Place::of(&p.name))).collect();
        for ((id, place), is_frozen) in places.into_iter().zip(frozen) {
            parameters.set_trained(id, !is_frozen && self.is_unfrozen(place, layers, epoch));
        }
    }

    /// What the learning rate of each parameter is multiplied by; 0 where it is never trained.
    pub(crate) fn learning_rate_factors(&self, parameters: &Parameters) -> Vec<f32> {
        let layers = layers(parameters);
        let factor = |place: Place| match place {
            Place::Task => self.task_learning_rate,
            Place::Top | Place::Adapter => 1.0,
            Place::Layer(layer) => self.layer_decay.powi((layers - 1 - layer) as i32),
            Place::Embeddings => self.layer_decay.powi(layers as i32),
        };
        let factors = parameters.iter().map(|(_, parameter)| factor(Place::of(&parameter.name)));
        factors
            .zip(self.frozen(parameters))
            // A decay over many layers may leave nothing that a number can hold; what is trained is not frozen for it.
            .map(|(factor, frozen)| if frozen { 0.0 } else { factor.max(f32::MIN_POSITIVE) })
            .collect()
    }

    /// Which parameters are never trained.
    fn frozen(&self, parameters: &Parameters) -> Vec<bool> {
        let has_adapters = parameters.iter().any(|(_, p)| Adapter::is_part_of_one(&p.name));
        let is_frozen = |name: &str| match &self.only_tasks {
            Some(tasks) => !tasks.iter().any(|task| belongs_to(name, task)),
            None => match Place::of(name) {
                Place::Adapter | Place::Task => false,
                _ if has_adapters => true,
                Place::Embeddings => self.frozen_embeddings || self.frozen_layers > 0,
                Place::Layer(layer) => layer < self.frozen_layers,
                Place::Top => false,
            },
        };
        parameters.iter().map(|(_, parameter)| is_frozen(&parameter.name)).collect()
    }

    /// Whether gradual unfreezing has come to a place by an epoch.
    fn is_unfrozen(&self, place: Place, layers: usize, epoch: u64) -> bool {
        let below_top = match place {
            Place::Embeddings => layers,
            Place::Layer(layer) => layers - 1 - layer,
            Place::Top | Place::Adapter | Place::Task => return true,
        };
        epoch.checked_div(self.unfreeze_epochs).is_none_or(|unfrozen| (below_top as u64) < unfrozen)
    }
}

/// Whether a parameter is one of a task: its head, its own, or its adapter's.
fn belongs_to(parameter: &str, task: &str) -> bool {
    let adapter = Adapter { task: Some(task.into()), config: Default::default() };
    parameter.starts_with(&format!("tasks.{task}."))
        || Adapter::is_part_of_one(parameter) && adapter.owns(parameter)
}

/// How many layers the encoder has.
fn layers(parameters: &Parameters) -> usize {
    let layer = |name: &str| match Place::of(name) {
        Place::Layer(layer) => layer + 1,
        _ => 0,
    };
    parameters.iter().map(|(_, parameter)| layer(&parameter.name)).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::Tensor;

    const NAMES: [&str; 5] = [
        "encoder.embeddings.pieces.weight",
        "encoder.layers.0.attention.output.weight",
        "encoder.layers.1.attention.output.weight",
        "encoder.norm.gain",
        "tasks.topic.head.weight",
    ];

    fn parameters() -> Parameters {
        let mut parameters = Parameters::default();
        for name in NAMES {
            parameters.insert(name, &Tensor::zeros(&[2])).unwrap();
        }
        parameters
    }

    fn trained(fine_tuning: &FineTuning, epoch: u64) -> [bool; 5] {
        let mut parameters = parameters();
        fine_tuning.set_trained(&mut parameters, epoch);
        NAMES.map(|name| parameters.get(parameters.find(name).unwrap()).is_tracked())
    }

    #[test]
    fn by_default_all_is_trained_alike() {
        let default = FineTuning::default();
        assert_eq!(trained(&default, 0), [true; 5]);
        assert_eq!(default.learning_rate_factors(&parameters()), [1.0; 5]);
    }

    #[test]
    fn layers_are_frozen_from_below() {
        let frozen = |frozen_layers| FineTuning { frozen_layers, ..FineTuning::default() };
        assert_eq!(trained(&frozen(1), 0), [false, false, true, true, true]);
        assert_eq!(frozen(1).learning_rate_factors(&parameters()), [0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(trained(&frozen(9), 7), [false, false, false, true, true]);
        let embeddings = FineTuning { frozen_embeddings: true, ..FineTuning::default() };
        assert_eq!(trained(&embeddings, 0), [false, true, true, true, true]);
    }

    #[test]
    fn lower_layers_learn_more_slowly() {
        let decay = FineTuning { layer_decay: 0.5, task_learning_rate: 10.0, ..FineTuning::default() };
        assert_eq!(decay.learning_rate_factors(&parameters()), [0.25, 0.5, 1.0, 1.0, 10.0]);
    }

    #[test]
    fn beside_adapters_the_encoder_keeps_its_values() {
        let mut parameters = parameters();
        let adapters = ["up.lora.a", "up.lora.topic.b", "bottleneck.mood.up"];
        for name in adapters.map(|name| format!("encoder.layers.1.feed_forward.{name}")) {
            parameters.insert(&name, &Tensor::zeros(&[2])).unwrap();
        }
        let fine_tuning = FineTuning { task_learning_rate: 3.0, unfreeze_epochs: 9, ..FineTuning::default() };
        let factors = fine_tuning.learning_rate_factors(&parameters);
        assert_eq!(factors, [0.0, 0.0, 0.0, 0.0, 3.0, 1.0, 1.0, 1.0]);
        fine_tuning.set_trained(&mut parameters, 0);
        let trained = parameters.iter().map(|(_, parameter)| parameter.is_trained());
        assert!(trained.eq(factors.iter().map(|factor| *factor > 0.0)));
        let added = FineTuning { only_tasks: Some(vec!["topic".into()]), ..FineTuning::default() };
        let factors = added.learning_rate_factors(&parameters);
        assert_eq!(factors, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn layers_are_unfrozen_from_above() {
        let gradual = FineTuning { unfreeze_epochs: 2, ..FineTuning::default() };
        assert_eq!(trained(&gradual, 1), [false, false, false, true, true]);
        assert_eq!(trained(&gradual, 2), [false, false, true, true, true]);
        assert_eq!(trained(&gradual, 5), [false, true, true, true, true]);
        assert_eq!(trained(&gradual, 6), [true; 5]);
        assert_eq!(gradual.learning_rate_factors(&parameters()), [1.0; 5]);
    }
}
