//! From epoch to epoch: the learning rate, which model is kept, and when training ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use polytask_config::schemars;
use polytask_data::{Label, PackedBatch};
use polytask_model::ModelFolder;
use polytask_task::metrics::Report;
use polytask_task::{Prediction, Target, Task, TaskOutput, Text};
use polytask_tensor::{Pass, Tensor, ops};
use polytask_tests::{
    StopAfter, Workspace, answers, assert_says, bits, tensor_bytes, texts, without_seconds,
};
use polytask_trainer::{Ending, EpochRecord, Schedule, Silent, learning_rate_factor};
use serde_json::Value;

/// So small a rate that no weight moves: the first epoch is the best there will be.
const NO_PROGRESS: [&str; 3] =
    ["trainer.epochs=9", "trainer.learning_rate=1e-30", "trainer.early_stopping_patience=2"];

#[test]
fn training_ends_when_the_metrics_no_longer_get_better() {
    let workspace = Workspace::new(&NO_PROGRESS);
    let folder = workspace.model_folder("straight");
    let mut straight = workspace.trainer();
    assert_eq!(straight.run(&folder, &mut Silent).unwrap(), Ending::StoppedEarly);
    assert_eq!((straight.progress().epoch, straight.progress().epochs_without_improvement), (3, 2));

    // Interrupted in the second epoch, of 8 batches each.
    let broken = workspace.model_folder("broken");
    assert_eq!(workspace.trainer().run(&broken, &mut StopAfter(10)).unwrap(), Ending::Interrupted);
    let mut resumed = workspace.resume(&broken).unwrap();
    assert_eq!(resumed.run(&broken, &mut Silent).unwrap(), Ending::StoppedEarly);
    assert_eq!(without_seconds(resumed.progress()), without_seconds(straight.progress()));

    let before = tensor_bytes(&broken.checkpoint());
    let mut again = workspace.resume(&broken).unwrap();
    assert_eq!(again.run(&broken, &mut Silent).unwrap(), Ending::StoppedEarly);
    assert!(before == tensor_bytes(&broken.checkpoint()), "there was nothing left to do");
}

#[test]
fn without_dev_data_all_epochs_are_trained_and_the_last_is_kept() {
    let workspace = Workspace::new(&["trainer.epochs=3", "trainer.early_stopping_patience=1"]);
    let mut prepared = workspace.prepare().unwrap();
    prepared.sets[0].dev.clear();
    let folder = workspace.model_folder("model");
    let mut trainer = polytask_trainer::Trainer::new(prepared, workspace.toml()).unwrap();
    assert_eq!(trainer.run(&folder, &mut Silent).unwrap(), Ending::Finished);
    assert_eq!(bits(folder.load().unwrap().parameters()), bits(trainer.kept_parameters()));
}

/// Several pools of texts, cut anew in each epoch: the number of batches varies.
#[test]
fn the_schedule_ends_with_the_last_step_though_epochs_differ_in_length() {
    let workspace = Workspace::new(&[
        "trainer.epochs=5",
        "trainer.batch_size=4",
        "trainer.batch_tokens=120",
        "trainer.gradient_accumulation=2",
        "trainer.warmup_ratio=0.25",
        "trainer.learning_rate=0.5",
        "optimizer.type=sgd",
        "trainer.gradient_clipping=1e-6",
    ]);
    let rows = fs::read_to_string(workspace.path().join("train.jsonl")).unwrap();
    workspace.write("train.jsonl", rows.repeat(4));
    let prepared = workspace.prepare().unwrap();
    let lengths: Vec<usize> = (0..5).map(|epoch| prepared.plan(epoch).unwrap().len()).collect();
    assert!(lengths.iter().any(|length| *length != lengths[0]), "the plans must differ: {lengths:?}");
    let steps: u64 = lengths.iter().map(|length| length.div_ceil(2) as u64).sum();
    let mut trainer = workspace.trainer();
    trainer.run(&workspace.model_folder("model"), &mut Silent).unwrap();

    let history = &trainer.progress().history;
    assert_eq!(history[4].step, steps);
    for record in history {
        // Steps count from 1 in the history, from 0 in the schedule.
        let factor = learning_rate_factor(Schedule::Linear, record.step - 1, steps / 4, steps);
        assert_eq!(record.learning_rate, 0.5 * factor, "epoch {}", record.epoch);
    }
    assert!((history[4].learning_rate - 0.5 / (steps - steps / 4) as f64).abs() < 1e-12);
}

/// A task whose metric is no number, and that may predict too little.
#[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(crate = "polytask_config::schemars")]
#[derive(Default)]
struct Erratic {
    /// The metric of each evaluation of a run; what is negative or missing is no number.
    metrics: Vec<f64>,
    /// Predictions that are left out.
    missing: usize,
    #[serde(skip)]
    evaluations: AtomicUsize,
}

polytask_config::register!("task", "erratic", Erratic);

#[typetag::serde(name = "erratic")]
impl Task for Erratic {
    fn outputs(&self) -> usize {
        1
    }

    fn target(&self, label: &Label, _text: Text<'_>) -> Result<Target> {
        let is_positive = *label == Label::Text("positive".into());
        Ok(Target::Values(vec![f32::from(u8::from(is_positive))]))
    }

    fn loss(&self, output: TaskOutput<'_>, targets: &[&Target]) -> Result<Tensor> {
        let targets = Tensor::new(Target::all_values(targets)?, output.logits.shape())?;
        Ok(ops::mean_squared_error(output.logits, &targets)?)
    }

    fn decode(&self, output: TaskOutput<'_>) -> Result<Vec<Prediction>> {
        anyhow::ensure!(!output.logits.is_tracked(), "nothing is recorded where no gradient is asked for");
        let values = output.logits.data().iter().skip(self.missing);
        let predict = |&value| Prediction { target: Target::Values(vec![value]), confidence: Vec::new() };
        Ok(values.map(predict).collect())
    }

    fn answer(&self, _prediction: &Prediction, _text: Text<'_>) -> Value {
        Value::Null
    }

    fn report(&self, gold: &[&Target], _predicted: &[&Target]) -> Result<Report> {
        let value = self.metrics.get(self.evaluations.fetch_add(1, Ordering::Relaxed));
        let value = value.copied().filter(|value| *value >= 0.0).unwrap_or(f64::NAN);
        let summary = vec![("the same".into(), value)];
        let (classes, averages) = (Vec::new(), Vec::new());
        Ok(Report { metric: "whim".into(), value, summary, classes, averages, examples: gold.len() })
    }
}

fn erratic(assignments: &[&str]) -> Workspace {
    let configuration = "
        encoder = { width = 16, layers = 1, heads = 2, word_shapes = 64 }
        tokenizer.vocabulary_size = 200
        data = [{ name = 'sample', train = 'train.jsonl', dev = 'dev.jsonl' }]
        tasks = [{ name = 'mood', type = 'erratic', label = 'sample.sentiment' }]
        trainer = { epochs = 4, batch_size = 64 }";
    Workspace::with(configuration, assignments)
}

/// The main metric of the model that was kept.
fn kept_metric(folder: &ModelFolder) -> f64 {
    folder.evaluation().unwrap().unwrap()[0].1.value
}

#[test]
fn an_epoch_whose_metric_is_no_number_is_never_the_best() {
    let workspace = erratic(&["tasks.mood.metrics=[-1.0, 0.5]"]);
    let folder = workspace.model_folder("model");
    // One batch an epoch: interrupted in the second, before its evaluation.
    assert_eq!(workspace.trainer().run(&folder, &mut StopAfter(2)).unwrap(), Ending::Interrupted);
    assert!(kept_metric(&folder).is_nan(), "the only model there is");
    answers(&folder, &texts(), &[]);

    let mut resumed = workspace.resume(&folder).unwrap();
    assert_eq!(resumed.run(&folder, &mut Silent).unwrap(), Ending::Finished);
    // A resumed run counts its evaluations anew: epoch 3 is its second.
    let means: Vec<Option<f64>> =
        resumed.progress().history.iter().map(|record| record.mean_metric).collect();
    assert_eq!(means, [None, None, Some(0.5), None]);
    assert_eq!((resumed.progress().best, resumed.progress().epochs_without_improvement), (Some(0.5), 1));
    assert_eq!(kept_metric(&folder), 0.5);
    assert_ne!(bits(folder.load().unwrap().parameters()), bits(resumed.kept_parameters()), "epoch 4");

    let history: Vec<EpochRecord> =
        serde_json::from_str(&fs::read_to_string(folder.history()).unwrap()).unwrap();
    assert!(history[3].dev[0].1.value.is_nan() && history[3].dev[0].1.summary[0].1.is_nan());
    assert_eq!(workspace.resume(&folder).unwrap().progress().epoch, 4);
}

#[test]
fn a_task_that_predicts_too_little_is_named() {
    let workspace = erratic(&["tasks.mood.missing=1"]);
    let message = workspace.train("model").unwrap_err().to_string();
    assert_says(&message, &["task `mood`: `decode` made ", " predictions for "]);
    let message =
        workspace.trainer().model().predict(&["One.", "Two."], &[0], false).unwrap_err().to_string();
    assert_eq!(message, "task `mood`: `decode` made 1 predictions for 2 texts");
}

#[test]
fn texts_that_are_not_there_cannot_be_asked_for() {
    let trainer = Workspace::new(&[]).trainer();
    let model = trainer.model();
    let encoded = model.tokenizer().encode("Hello there", &[0..5, 6..11]).unwrap();
    let batch = PackedBatch::pack(&[&encoded, &encoded]);
    let message = |wanted: &[Vec<usize>]| {
        model.forward(model.parameters(), &batch, wanted, &mut Pass::inference()).unwrap_err().to_string()
    };
    assert_eq!(message(&[vec![0]]), "model: 1 lists of wanted texts for 3 tasks");
    for texts in [vec![2], vec![1, 0], vec![0, 0]] {
        let expected =
            "model: the texts wanted of task `sentiment` must be ascending and below the number of texts (2)";
        assert_eq!(message(&[vec![], texts.clone(), vec![1]]), format!("{expected}: {texts:?}"));
    }
}

#[test]
fn another_seed_draws_other_weights() {
    let matrices = |seed: &str| -> Vec<(String, Vec<f32>)> {
        let trainer = Workspace::new(&[seed]).trainer();
        let matrices = trainer.model().parameters().iter().filter(|(_, p)| p.tensor().shape().len() == 2);
        matrices.map(|(_, p)| (p.name.clone(), p.tensor().data().to_vec())).collect()
    };
    let (first, second) = (matrices("trainer.seed=1"), matrices("trainer.seed=2"));
    assert!(first.iter().any(|(name, _)| name.starts_with("encoder.layers.0.attention")));
    for ((name, first), (_, second)) in first.iter().zip(&second) {
        // A CRF's transitions begin at 0.
        let is_drawn = first.iter().any(|value| *value != 0.0);
        assert!(!is_drawn || first != second, "{name}");
    }
    assert_eq!(first, matrices("trainer.seed=1"));
}
