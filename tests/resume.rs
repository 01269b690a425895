//! A run that was interrupted and resumed is, bit for bit, the run that never stopped.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use polytask_tests::{StopAfter, Workspace, bits, tensor_bytes, without_seconds};
use polytask_trainer::{Ending, Silent};

/// 8 batches an epoch, in 4 groups of 2; the average changes every 8 steps.
const ASSIGNMENTS: [&str; 4] = [
    "trainer.epochs=4",
    "trainer.gradient_accumulation=2",
    "trainer.weight_averaging=0.9",
    "encoder.dropout=0.3",
];

fn resumed_equals_uninterrupted(optimizer: &str) {
    let optimizer = format!("optimizer.type={optimizer}");
    let workspace = Workspace::new(&[&ASSIGNMENTS[..], &[&optimizer]].concat());
    let (straight, broken) = (workspace.model_folder("straight"), workspace.model_folder("broken"));
    let mut uninterrupted = workspace.trainer();
    assert_eq!(uninterrupted.run(&straight, &mut Silent).unwrap(), Ending::Finished);

    // In the middle of the first epoch, and of the third.
    assert_eq!(workspace.trainer().run(&broken, &mut StopAfter(2)).unwrap(), Ending::Interrupted);
    let mut second = workspace.resume(&broken).unwrap();
    assert_eq!((second.progress().epoch, second.progress().batch), (0, 4));
    assert_eq!(second.run(&broken, &mut StopAfter(9)).unwrap(), Ending::Interrupted);
    let mut resumed = workspace.resume(&broken).unwrap();
    assert_eq!((resumed.progress().epoch, resumed.progress().batch), (2, 6));
    assert_eq!(resumed.run(&broken, &mut Silent).unwrap(), Ending::Finished);

    assert_eq!(without_seconds(resumed.progress()), without_seconds(uninterrupted.progress()));
    assert_eq!(resumed.progress().step, 16);
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
    let difference = "was `learning_rate = 5e-3`, now it is `learning_rate = 0.5`";
    assert!(message.contains("made with another configuration: line "), "{message}");
    assert!(message.contains(difference) && message.contains("train into another folder"), "{message}");
}

#[test]
fn there_must_be_something_to_resume() {
    let workspace = Workspace::new(&[]);
    let message = workspace.resume(&workspace.model_folder("nothing")).unwrap_err().to_string();
    assert!(message.contains("no checkpoint to resume from"), "{message}");
}
