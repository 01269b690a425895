//! From rows to answers: train, save, load, predict.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;

use polytask_tests::{Workspace, answers, bits, texts};
use polytask_trainer::Silent;
use serde_json::Value;

#[test]
fn the_losses_fall() {
    let workspace = Workspace::new(&["trainer.epochs=3", "trainer.learning_rate=1e-2"]);
    let mut trainer = workspace.trainer();
    trainer.run(&workspace.model_folder("model"), &mut Silent).unwrap();
    let history = &trainer.progress().history;
    assert_eq!(history.len(), 3);
    for (first, last) in history[0].losses.iter().zip(&history[2].losses) {
        assert!(last.1 < first.1, "the loss of {} went from {} to {}", first.0, first.1, last.1);
    }
}

#[test]
fn a_saved_model_is_the_trained_one() {
    // The first epoch is the best, and kept: the trainer's own weights are those in the folder.
    let workspace = Workspace::new(&["trainer.epochs=1", "trainer.learning_rate=1e-2"]);
    let folder = workspace.model_folder("model");
    let mut trainer = workspace.trainer();
    trainer.run(&folder, &mut Silent).unwrap();
    assert_eq!(bits(folder.load().unwrap().parameters()), bits(trainer.kept_parameters()));
    assert_eq!(folder.evaluation().unwrap().unwrap(), trainer.evaluate().unwrap());

    let model = trainer.model();
    let texts = texts();
    let unsaved =
        model.predict(&texts.iter().map(String::as_str).collect::<Vec<_>>(), &[0, 1, 2], true).unwrap();
    assert_eq!(answers(&folder, &texts, &[]), serde_json::to_string(&unsaved).unwrap());
}

#[test]
fn a_moved_folder_without_its_training_state_answers_the_same() {
    let workspace = Workspace::new(&["trainer.epochs=1"]);
    let folder = workspace.train("model").unwrap();
    let before = answers(&folder, &texts(), &[]);
    fs::remove_file(folder.checkpoint()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = polytask_model::ModelFolder::new(elsewhere.path().join("moved"));
    fs::rename(folder.path(), moved.path()).unwrap();
    drop(workspace);
    assert_eq!(answers(&moved, &texts(), &[]), before);
}

#[test]
fn a_subset_of_the_tasks_answers_as_all_do() {
    let workspace = Workspace::new(&["trainer.epochs=1"]);
    let folder = workspace.train("model").unwrap();
    let all: Vec<Value> = serde_json::from_str(&answers(&folder, &texts(), &[])).unwrap();
    for tasks in [&["entities"][..], &["sentiment"], &["intent", "entities"]] {
        let some: Vec<Value> = serde_json::from_str(&answers(&folder, &texts(), tasks)).unwrap();
        for (some, all) in some.iter().zip(&all) {
            let (some, all) = (some["tasks"].as_object().unwrap(), &all["tasks"]);
            assert_eq!(some.keys().collect::<Vec<_>>(), tasks.iter().collect::<Vec<_>>());
            assert!(
                some.iter().all(|(task, answer)| are_near(answer, &all[task])),
                "{some:?} is not part of {all:?}"
            );
        }
    }
}

#[test]
fn one_text_alone_answers_as_in_a_batch() {
    let workspace = Workspace::new(&["trainer.epochs=1"]);
    let folder = workspace.train("model").unwrap();
    let texts = texts();
    let batch: Vec<Value> = serde_json::from_str(&answers(&folder, &texts, &[])).unwrap();
    for (text, in_batch) in texts.iter().zip(batch) {
        let alone: Vec<Value> =
            serde_json::from_str(&answers(&folder, std::slice::from_ref(text), &[])).unwrap();
        assert!(are_near(&alone[0]["tasks"], &in_batch["tasks"]), "{text}: {} {in_batch}", alone[0]);
    }
}

/// Equal but for the last of the four decimals that answers show: a product of fewer rows or columns may add in another order.
fn are_near(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1.5e-4,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_near(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.keys().eq(b.keys()) && a.iter().all(|(key, a)| are_near(a, &b[key]))
        }
        _ => a == b,
    }
}
