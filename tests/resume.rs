//! A run that was interrupted and resumed is, bit for bit, the run that never stopped.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;

use polytask_tests::{
    CONFIGURATION, StopAfter, Workspace, assert_says, bits, first_lines, tensor_bytes, without_seconds,
};
use polytask_trainer::{Ending, Silent};

/// 8 batches an epoch, in groups of 3, 3 and 2; the average follows the first 8 of the 15 steps.
const ASSIGNMENTS: [&str; 4] = [
    "trainer.epochs=5",
    "trainer.gradient_accumulation=3",
    "trainer.weight_averaging=0.9",
    "encoder.dropout=0.3",
];

fn resumed_equals_uninterrupted(optimizer: &str) {
    let optimizer = format!("optimizer.type={optimizer}");
    let workspace = Workspace::new(&[&ASSIGNMENTS[..], &[&optimizer]].concat());
    let (straight, broken) = (workspace.model_folder("straight"), workspace.model_folder("broken"));
    let mut uninterrupted = workspace.trainer();
    assert_eq!(uninterrupted.run(&straight, &mut Silent).unwrap(), Ending::Finished);

    // In the middle of the first epoch, between the last group of the second and its evaluation, before the last group
    // of the third.
    assert_eq!(workspace.trainer().run(&broken, &mut StopAfter(1)).unwrap(), Ending::Interrupted);
    for (batch, groups, stops_at) in [(3, 5, (1, 8)), (8, 2, (2, 6))] {
        let mut resumed = workspace.resume(&broken).unwrap();
        assert_eq!(resumed.progress().batch, batch);
        assert_eq!(resumed.run(&broken, &mut StopAfter(groups)).unwrap(), Ending::Interrupted);
        assert_eq!((resumed.progress().epoch, resumed.progress().batch), stops_at);
    }
    let mut resumed = workspace.resume(&broken).unwrap();
    assert_eq!(resumed.run(&broken, &mut Silent).unwrap(), Ending::Finished);

    assert_eq!(without_seconds(resumed.progress()), without_seconds(uninterrupted.progress()));
    assert_eq!(resumed.progress().step, 15);
    assert_eq!(bits(resumed.model().parameters()), bits(uninterrupted.model().parameters()));
    assert_eq!(bits(resumed.kept_parameters()), bits(uninterrupted.kept_parameters()));
    assert_ne!(bits(resumed.kept_parameters()), bits(resumed.model().parameters()), "the average takes part");
    let checkpoints = [&straight, &broken].map(|folder| tensor_bytes(&folder.checkpoint()));
    assert!(checkpoints[0] == checkpoints[1], "weights, average and optimizer state");
    assert_eq!(bits(straight.load().unwrap().parameters()), bits(broken.load().unwrap().parameters()));
    assert_eq!(straight.evaluation().unwrap(), broken.evaluation().unwrap());
}

#[test]
fn with_adamw() {
    resumed_equals_uninterrupted("adamw");
}

#[test]
fn with_sgd() {
    resumed_equals_uninterrupted("sgd");
}

#[test]
fn a_run_that_is_finished_stays_as_it_is() {
    let workspace = Workspace::new(&["trainer.epochs=1"]);
    let folder = workspace.train("model").unwrap();
    let before = tensor_bytes(&folder.checkpoint());
    let mut again = workspace.resume(&folder).unwrap();
    assert_eq!(again.run(&folder, &mut Silent).unwrap(), Ending::Finished);
    assert!(before == tensor_bytes(&folder.checkpoint()));
}

#[test]
fn another_configuration_is_refused() {
    let workspace = Workspace::new(&["trainer.epochs=1"]);
    let folder = workspace.train("model").unwrap();
    let other = Workspace::new(&["trainer.epochs=1", "trainer.learning_rate=0.5"]);
    let message = other.resume(&folder).unwrap_err().to_string();
    let difference = "made with another configuration: `trainer.learning_rate` was 0.005, now it is 0.5; train into another folder";
    assert_says(&message, &["checkpoint.safetensors: ", difference]);
    let message = Workspace::new(&["trainer.epochs=2"]).resume(&folder).unwrap_err().to_string();
    assert_says(&message, &["`trainer.epochs` was 1, now it is 2 (the learning-rate schedule depends on"]);
}

#[test]
fn a_comment_and_the_number_of_threads_may_change() {
    let workspace = Workspace::new(&["trainer.epochs=1"]);
    let folder = workspace.train("model").unwrap();
    let commented = format!("# Again.\n{CONFIGURATION}");
    let other = Workspace::with(&commented, &["trainer.threads=1", "trainer.epochs=1"]);
    assert_eq!(other.resume(&folder).unwrap().progress(), workspace.resume(&folder).unwrap().progress());
}

#[test]
fn other_data_is_refused() {
    let workspace = Workspace::new(&["trainer.epochs=1"]);
    let folder = workspace.train("model").unwrap();
    for file in ["train.jsonl", "dev.jsonl"] {
        let sound = fs::read_to_string(workspace.path().join(file)).unwrap();
        let mut lines: Vec<&str> = sound.lines().collect();
        lines.swap(1, 2);
        let fewer = first_lines(&sound, lines.len() - 1);
        for changed in [lines.join("\n"), fewer, sound.replacen("\"positive\"", "\"negative\"", 1)] {
            assert_ne!(changed, sound);
            workspace.write(file, changed);
            let message = workspace.resume(&folder).unwrap_err().to_string();
            let expected = "checkpoint.safetensors: the training data changed since the checkpoint was made";
            assert_says(&message, &[expected]);
        }
        workspace.write(file, &sound);
        workspace.resume(&folder).unwrap();
    }
}

#[test]
fn there_must_be_something_to_resume() {
    let workspace = Workspace::new(&[]);
    let message = workspace.resume(&workspace.model_folder("nothing")).unwrap_err().to_string();
    assert!(message.contains("no checkpoint to resume from"), "{message}");
}
