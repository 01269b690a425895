//! Any text may carry any subset of labels: what is not there changes nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::collections::BTreeMap;

use polytask_tensor::TensorFile;
use polytask_tests::{Workspace, bits};
use polytask_trainer::{Silent, Trainer};
use proptest::prelude::*;

/// Plain descent on one batch: what the optimizer keeps after its one step, g + 0 · m, is the gradient itself.
const ASSIGNMENTS: [&str; 11] = [
    "encoder.dropout=0.0",
    "encoder.attention_dropout=0.0",
    "encoder.word_dropout=0.0",
    "optimizer.type=sgd",
    "optimizer.momentum=0.0",
    "tasks.intent.weight=1.0",
    "tasks.sentiment.weight=0.5",
    "tasks.entities.weight=2.0",
    "trainer.epochs=1",
    "trainer.batch_size=64",
    "trainer.gradient_clipping=0.0",
];

const TEXTS: usize = 24;
const TASKS: [&str; 3] = ["intent", "sentiment", "entities"];

/// One step: the losses of the tasks that had a label, and the gradient of every parameter.
struct Step {
    losses: BTreeMap<String, f64>,
    gradients: BTreeMap<String, Vec<f32>>,
}

impl Step {
    /// The step on the labels for which `keeps(text, task)` holds, with all texts, or only those that keep one.
    fn new(assignments: &[&str], keeps: impl Fn(usize, usize) -> bool, with_unlabelled: bool) -> Self {
        let workspace = Workspace::new(&[&ASSIGNMENTS[..], assignments].concat());
        let mut prepared = workspace.prepare().unwrap();
        let set = &mut prepared.sets[0];
        set.dev.clear();
        set.train.truncate(TEXTS);
        for (text, example) in set.train.iter_mut().enumerate() {
            let unwanted = example.targets.iter_mut().enumerate().filter(|(task, _)| !keeps(text, *task));
            unwanted.for_each(|(_, target)| *target = None);
        }
        set.train.retain(|example| with_unlabelled || example.targets.iter().any(Option::is_some));
        let folder = workspace.model_folder("model");
        let mut trainer = Trainer::new(prepared, workspace.toml()).unwrap();
        trainer.run(&folder, &mut Silent).unwrap();
        let state = TensorFile::read(&folder.checkpoint()).unwrap();
        let gradient = |name: &str, shape: &[usize]| {
            let momentum = state.tensor(&format!("optimizer.momentum.{name}"), shape).unwrap();
            let mut values = momentum.data().to_vec();
            if name.ends_with("query_key_value.bias") {
                // A bias on the keys moves all scores of a query alike: its gradient is zero but for rounding.
                let third = values.len() / 3;
                values.drain(third..2 * third);
            }
            (name.to_owned(), values)
        };
        let parameters = trainer.model().parameters().iter();
        Self {
            losses: trainer.progress().history[0].losses.iter().cloned().collect(),
            gradients: parameters.map(|(_, p)| gradient(&p.name, p.tensor().shape())).collect(),
        }
    }

    fn of_head(&self, task: &str) -> impl Iterator<Item = (&String, &Vec<f32>)> {
        let prefix = format!("tasks.{task}.");
        self.gradients.iter().filter(move |(name, _)| name.starts_with(&prefix))
    }
}

fn is_zero(gradient: &[f32]) -> bool {
    gradient.iter().all(|value| *value == 0.0)
}

/// Whether two ways to the same sum of float32 agree, relative to its largest value.
fn are_near(found: &[f32], expected: &[f32]) -> bool {
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).all(|(f, e)| (f - e).abs() <= 1e-5 * largest.max(1e-3))
}

#[test]
fn texts_without_a_label_change_neither_loss_nor_head() {
    // `intent` has labels on half of the texts, the others on all of them.
    let among_others = Step::new(&[], |text, task| task != 0 || text < TEXTS / 2, true);
    let alone = Step::new(&[], |text, task| task == 0 && text < TEXTS / 2, false);
    assert_eq!(alone.losses.keys().collect::<Vec<_>>(), ["intent"]);
    assert!((among_others.losses["intent"] - alone.losses["intent"]).abs() < 1e-6);
    for ((name, found), (_, expected)) in among_others.of_head("intent").zip(alone.of_head("intent")) {
        assert!(!is_zero(expected) && are_near(found, expected), "{name}: {found:?}, alone {expected:?}");
    }
}

#[test]
fn a_task_without_any_label_in_a_batch_adds_nothing() {
    for (task, name) in TASKS.iter().enumerate() {
        let step = Step::new(&[], |_, other| other != task, true);
        assert!(!step.losses.contains_key(*name) && step.losses.len() == 2);
        assert!(step.of_head(name).all(|(_, gradient)| is_zero(gradient)), "{name}");
        let others = TASKS.iter().filter(|other| *other != name);
        others.for_each(|other| {
            assert!(step.of_head(other).all(|(_, gradient)| !is_zero(gradient)), "{other}")
        });
    }
}

/// Weight decay would move a query whose gradient is zero; one without a gradient stays as it is.
#[test]
fn a_task_without_any_label_in_a_batch_is_left_alone() {
    for (task, name) in TASKS.iter().enumerate() {
        let workspace = Workspace::new(&["trainer.epochs=1", "trainer.batch_size=64"]);
        let mut prepared = workspace.prepare().unwrap();
        prepared.sets[0].train.iter_mut().for_each(|example| example.targets[task] = None);
        let before = bits(prepared.model.parameters());
        let mut trainer = Trainer::new(prepared, workspace.toml()).unwrap();
        trainer.run(&workspace.model_folder("model"), &mut Silent).unwrap();
        assert_eq!(trainer.progress().step, 1);
        for ((parameter, before), (_, after)) in before.iter().zip(bits(trainer.model().parameters())) {
            let is_own = parameter.starts_with(&format!("tasks.{name}."));
            let is_other = parameter.starts_with("tasks.") && !is_own;
            assert!(!is_own || *before == after, "{parameter} moved");
            assert!(!is_other || *before != after, "{parameter} did not move");
        }
    }
}

#[test]
fn accumulated_gradients_are_the_mean_over_the_batches_that_have_one() {
    let accumulated = |batch_size: &str, batches: &str, keeps: fn(usize) -> bool| {
        Step::new(&[batch_size, batches], |text, _| keeps(text), true).gradients
    };
    // A group that is cut short by the end of the epoch.
    let [two, three] = ["trainer.gradient_accumulation=2", "trainer.gradient_accumulation=3"]
        .map(|batches| accumulated("trainer.batch_size=12", batches, |_| true));
    assert!(two == three);
    let batches = "trainer.gradient_accumulation=24";
    let among_unlabelled = accumulated("trainer.batch_size=1", batches, |text| text == 1);
    let alone = Step::new(&[], |text, _| text == 1, false).gradients;
    for (name, gradient) in &alone {
        assert!(are_near(&among_unlabelled[name], gradient), "{name}");
    }
    assert!(alone.values().any(|gradient| !is_zero(gradient)));
}

#[test]
fn a_task_of_weight_zero_is_measured_and_moves_nothing() {
    let joint = Step::new(&["tasks.sentiment.weight=0.0"], |_, task| task < 2, true);
    let alone = Step::new(&[], |_, task| task == 0, true);
    assert!(joint.losses.contains_key("sentiment"));
    for (name, gradient) in &joint.gradients {
        assert!(are_near(gradient, &alone.gradients[name]), "{name}");
    }
    assert!(joint.of_head("sentiment").all(|(_, gradient)| is_zero(gradient)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever labels are there, the gradient is the sum of the gradients of the weighted losses, each task alone.
    #[test]
    fn gradients_of_any_labels_add_up(labels in prop::collection::vec(0_u8..8, TEXTS)) {
        let has = |text: usize, task: usize| labels[text] & 1 << task != 0;
        let joint = Step::new(&[], has, true);
        let alone = [0, 1, 2].map(|only| Step::new(&[], |text, task| task == only && has(text, task), true));
        for (name, found) in &joint.gradients {
            let sum = |place| alone.iter().map(|step| step.gradients[name][place]).sum::<f32>();
            let sum: Vec<f32> = (0..found.len()).map(sum).collect();
            prop_assert!(are_near(found, &sum), "{}: {:?}, sum {:?}", name, found, sum);
        }
        let losses: BTreeMap<String, f64> = alone.into_iter().flat_map(|step| step.losses).collect();
        prop_assert!(joint.losses.keys().eq(losses.keys()));
        // The products of the states with several queries at once may add in another order.
        prop_assert!(joint.losses.iter().all(|(task, loss)| (loss - losses[task]).abs() < 1e-6));
    }
}
