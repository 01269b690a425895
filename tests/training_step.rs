//! One training step beside PyTorch's: `golden/training_step.py` computes it in float64 from the formulas alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::path::Path;

use polytask_classification::Classification;
use polytask_data::{Encoded, Proportional, Tokenizer};
use polytask_encoder::{Norm, Transformer};
use polytask_model::{Example, Model, ModelConfig, ModelFolder, ModelTask, TaskAttentionConfig, pack};
use polytask_ner::{Decoder, Ner};
use polytask_sentiment::Sentiment;
use polytask_task::{Classes, Labels, Target, Task, TaskSettings};
use polytask_tensor::{Gradient, Pass, Precision, Tensor, TensorFile, ops};
use polytask_trainer::{
    AdamW, FineTuning, Prepared, PreparedSet, Schedule, Silent, Trainer, TrainerSettings, gradient_norm,
};
use serde_json::json;

/// float32 against float64, relative to the largest value of a tensor: a gradient goes through some ten products of
/// 8 to 16 terms, each off by 6e-8 at most.
const TOLERANCE: f32 = 1e-5;

const LEARNING_RATE: f32 = 1e-3;
const TASKS: [&str; 3] = ["topic", "sentiment", "tagger"];

/// The golden file, and the variant to compare with.
struct Golden {
    file: TensorFile,
    norm: Norm,
}

impl Golden {
    fn new(norm: Norm) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/training_step.safetensors");
        Self { file: TensorFile::read(Path::new(path)).unwrap(), norm }
    }

    fn prefix(&self) -> &'static str {
        match self.norm {
            Norm::Pre => "pre",
            Norm::Post => "post",
        }
    }

    /// A tensor of this variant.
    fn tensor(&self, name: &str, shape: &[usize]) -> Tensor {
        self.file.tensor(&format!("{}.{name}", self.prefix()), shape).unwrap()
    }

    /// Whole numbers of the input.
    fn input(&self, name: &str, length: usize) -> Vec<u32> {
        let values = self.file.tensor(&format!("inputs.{name}"), &[length]).unwrap();
        values.data().iter().map(|&value| value as u32).collect()
    }

    fn examples(&self) -> Vec<Example> {
        let (pieces, lengths) = (self.input("pieces", 9), self.input("lengths", 3));
        let (topic, sentiment) = (self.input("labels.topic", 3), self.input("labels.sentiment", 3));
        let tags = self.input("labels.tagger", 9);
        let mut start = 0;
        let example = |(text, &length): (usize, &u32)| {
            let range = start..start + length as usize;
            start = range.end;
            let encoded = Encoded {
                ids: pieces[range.clone()].to_vec(),
                piece_offsets: (0..=length).collect(),
                shapes: vec![[0; 4]; range.len()],
                truncated_words: 0,
            };
            let ids = [vec![topic[text]], vec![sentiment[text]], tags[range].to_vec()];
            Example { encoded, targets: ids.map(|ids| Some(Target::Ids(ids))).to_vec() }
        };
        lengths.iter().enumerate().map(example).collect()
    }

    /// The model with the parameters before the step.
    fn model(&self) -> Model {
        let mut model = Model::new(self.config(), tokenizer(), 0).unwrap();
        let prefix = format!("{}.parameters.", self.prefix());
        let names = self.file.names().into_iter().filter(|name| name.starts_with(&prefix)).count();
        assert_eq!(model.parameters().len(), names, "the model has every parameter of the file");
        let drawn = model.parameters().clone();
        for (id, parameter) in drawn.iter() {
            let values = self.tensor(&format!("parameters.{}", parameter.name), parameter.tensor().shape());
            model.parameters_mut().update(id, |old| old.copy_from_slice(values.data()));
        }
        model
    }

    fn config(&self) -> ModelConfig {
        let encoder = Transformer {
            width: 8,
            layers: 2,
            heads: 2,
            feed_forward: 16,
            norm: self.norm,
            window: 0,
            word_shapes: 0,
            dropout: 0.0,
            attention_dropout: 0.0,
            word_dropout: 0.0,
            ..Transformer::default()
        };
        let tasks: [(f32, Box<dyn Task>); 3] = [
            (1.0, Box::new(Classification { labels: classes(4), ..Classification::default() })),
            (0.5, Box::new(Sentiment { labels: classes(3), ..Sentiment::default() })),
            // 2 types: the tags `O`, and `B-` and `I-` of each.
            (2.0, Box::new(Ner { labels: classes(2), decoder: Decoder::Softmax })),
        ];
        let task = |(name, (weight, task)): (&str, (f32, Box<dyn Task>))| {
            let label = Labels::One(format!("data.{name}"));
            ModelTask { settings: TaskSettings { name: name.into(), label, weight }, task }
        };
        let tasks = TASKS.into_iter().zip(tasks).map(task).collect();
        let task_attention = TaskAttentionConfig::default();
        let (encoder, adapters) = (Box::new(encoder), Vec::new());
        ModelConfig { encoder, task_attention, tasks, adapters, precision: Precision::F32 }
    }
}

fn classes(count: usize) -> Classes {
    (0..count).map(|class| class.to_string()).collect::<Vec<_>>().into()
}

/// Seven pieces, five a text at most.
fn tokenizer() -> Tokenizer {
    let vocabulary = json!({ "[UNK]": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6 });
    let json = json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0 },
        "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" },
    });
    Tokenizer::from_json(&json.to_string()).unwrap()
}

/// The values that the loss tells anything of. A key's bias, the middle third of its layer's, moves no attention weight: its
/// gradient is 0 but for rounding, of which the first step of Adam makes anything up to the learning rate.
fn determined(name: &str, values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    if name.ends_with("query_key_value.bias") {
        let third = values.len() / 3;
        values.drain(third..2 * third);
    }
    values
}

#[track_caller]
fn assert_near(name: &str, found: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert_eq!(found.len(), expected.len(), "{name}");
    for (f, e) in found.iter().zip(expected) {
        assert!(
            (f - e).abs() <= TOLERANCE * largest,
            "{name}: found {f}, expected {e}, the largest is {largest}"
        );
    }
}

fn gradients_agree(norm: Norm) {
    let golden = Golden::new(norm);
    let model = golden.model();
    let examples = golden.examples();
    let batch = pack(&examples);
    let everywhere = vec![vec![0, 1, 2]; 3];
    let forward = model.forward(model.parameters(), &batch, &everywhere, &mut Pass::training(0, 0)).unwrap();
    let mut total = Tensor::scalar(0.0);
    for (index, name) in TASKS.iter().enumerate() {
        let output = forward.outputs[index].as_ref().unwrap();
        let logits = golden.tensor(&format!("logits.{name}"), output.logits.shape());
        assert_near(name, output.logits.data(), logits.data());
        let targets: Vec<&Target> =
            examples.iter().filter_map(|example| example.targets[index].as_ref()).collect();
        let loss =
            model.with_task(index, model.parameters(), output, |task, output| task.loss(output, &targets));
        let loss = loss.unwrap();
        assert_near(name, loss.data(), golden.tensor(&format!("losses.{name}"), &[]).data());
        let weight = model.config().tasks[index].settings.weight;
        total = ops::add(&total, &ops::scale(&loss, weight).unwrap()).unwrap();
    }
    assert_near("total", total.data(), golden.tensor("losses.total", &[]).data());

    let mut gradients = total.backward().unwrap();
    let mut taken: Vec<Gradient> = Vec::new();
    for (_, parameter) in model.parameters().iter() {
        let (name, tensor) = (&parameter.name, parameter.tensor());
        let gradient = gradients.take(tensor).unwrap();
        let expected = golden.tensor(&format!("gradients.{name}"), tensor.shape());
        let gradient_values = determined(name, gradient.to_dense().unwrap().data());
        assert_near(name, &gradient_values, &determined(name, expected.data()));
        taken.push(gradient);
    }
    let norm = gradient_norm(&taken);
    assert_near("norm", &[norm as f32], golden.tensor("gradient_norm", &[]).data());
}

/// The trainer as users run it: batch, summed loss, backward, clipping and AdamW.
fn the_step_agrees(norm: Norm) {
    let golden = Golden::new(norm);
    let settings = TrainerSettings {
        epochs: 1,
        learning_rate: LEARNING_RATE,
        schedule: Schedule::Constant,
        warmup_ratio: 0.0,
        gradient_clipping: 1.0,
        ..TrainerSettings::default()
    };
    let prepared = Prepared {
        model: golden.model(),
        sets: vec![PreparedSet { name: "data".into(), train: golden.examples(), dev: Vec::new() }],
        sampler: Box::new(Proportional {}),
        optimizer: Box::new(AdamW::default()),
        settings,
        fine_tuning: FineTuning::default(),
    };
    let mut trainer = Trainer::new(prepared, String::new()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = ModelFolder::new(folder.path());
    trainer.run(&folder, &mut Silent).unwrap();

    assert_eq!(trainer.progress().step, 1);
    for (index, (name, loss)) in trainer.progress().history[0].losses.iter().enumerate() {
        assert_eq!(name, TASKS[index]);
        assert_near(name, &[*loss as f32], golden.tensor(&format!("losses.{name}"), &[]).data());
    }
    let state = TensorFile::read(&folder.checkpoint()).unwrap();
    let norm = golden.tensor("gradient_norm", &[]).item().unwrap();
    for (_, parameter) in trainer.model().parameters().iter() {
        let (name, tensor) = (&parameter.name, parameter.tensor());
        let updated = golden.tensor(&format!("updated.{name}"), tensor.shape());
        assert_near(name, &determined(name, tensor.data()), &determined(name, updated.data()));
        // Adam's first step hardly depends on the size of the gradient; its first moment, (1 − β₁) g, does.
        let gradient = golden.tensor(&format!("gradients.{name}"), tensor.shape());
        let moment: Vec<f32> = gradient.data().iter().map(|g| 0.1 * g / norm).collect();
        let found = state.tensor(&format!("optimizer.first_moment.{name}"), tensor.shape()).unwrap();
        assert_near(name, &determined(name, found.data()), &determined(name, &moment));
    }
}

#[test]
fn gradients_agree_with_norms_before_each_block() {
    gradients_agree(Norm::Pre);
}

#[test]
fn gradients_agree_with_norms_after_each_block() {
    gradients_agree(Norm::Post);
}

#[test]
fn the_step_agrees_with_norms_before_each_block() {
    the_step_agrees(Norm::Pre);
}

#[test]
fn the_step_agrees_with_norms_after_each_block() {
    the_step_agrees(Norm::Post);
}
