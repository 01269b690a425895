//! A small pretrained encoder, fine-tuned: what is trained, what stays, and what the model folder holds.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;
use std::path::{Path, PathBuf};

use polytask_model::ModelFolder;
use polytask_tests::{CONFIGURATION, StopAfter, Workspace, answers, assert_says, bits, tensor_bytes, texts};
use polytask_trainer::{Ending, Silent};

/// Random weights of the form of each family; see `golden/pretrained.py`.
const FAMILIES: [&str; 5] = ["bert", "distilbert", "roberta", "electra", "modernbert"];

fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pretrained").join(family)
}

/// The usual tasks on an encoder in the folder `pretrained` of the workspace.
fn workspace(family: &str, assignments: &[&str]) -> Workspace {
    let (before, after) = CONFIGURATION.split_once("[tokenizer]").unwrap();
    assert!(before.contains("[encoder]"));
    let encoder = "[encoder]\ntype = \"pretrained\"\npath = \"pretrained\"\n\n[tokenizer]";
    let workspace =
        Workspace::with(&format!("{encoder}{after}").replace("vocabulary_size = 200\n", ""), assignments);
    let folder = workspace.path().join("pretrained");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(golden(family)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    workspace
}

#[test]
fn a_model_needs_nothing_of_what_it_started_from() {
    for family in FAMILIES {
        let workspace = workspace(family, &["trainer.epochs=1"]);
        let folder = workspace.train("model").unwrap();
        let before = answers(&folder, &texts(), &[]);
        fs::remove_dir_all(workspace.path().join("pretrained")).unwrap();
        let moved = workspace.path().join("moved");
        fs::rename(folder.path(), &moved).unwrap();
        assert_eq!(answers(&ModelFolder::new(&moved), &texts(), &[]), before, "{family}");
    }
}

#[test]
fn training_begins_with_the_weights_of_the_folder() {
    let workspace = workspace("bert", &[]);
    let prepared = workspace.prepare().unwrap();
    let file = polytask_tensor::TensorFile::read(&golden("bert").join("model.safetensors")).unwrap();
    let theirs = file.values_as_f32("bert.embeddings.word_embeddings.weight", &[94, 16]).unwrap();
    let parameters = prepared.model.parameters();
    let ours = parameters.get(parameters.find("encoder.embeddings.pieces.weight").unwrap());
    assert_eq!(ours.data(), theirs);
}

/// The names of the parameters that training changed.
fn changed(workspace: &Workspace) -> Vec<String> {
    let before = bits(workspace.prepare().unwrap().model.parameters());
    let mut trainer = workspace.trainer();
    trainer.run(&workspace.model_folder("model"), &mut Silent).unwrap();
    let after = bits(trainer.model().parameters());
    let changed = before.into_iter().zip(after).filter(|(before, after)| before != after);
    changed.map(|((name, _), _)| name).collect()
}

#[test]
fn what_is_frozen_keeps_its_bits() {
    let all = changed(&workspace("bert", &["trainer.epochs=1"]));
    for part in ["encoder.embeddings.", "encoder.layers.0.", "encoder.layers.1.", "tasks.intent."] {
        assert!(all.iter().any(|name| name.starts_with(part)), "{part}");
    }
    let upper = changed(&workspace("bert", &["trainer.epochs=1", "fine_tuning.frozen_layers=2"]));
    let expected: Vec<&String> = all
        .iter()
        .filter(|name| name.starts_with("tasks.") || name.starts_with("encoder.layers.2."))
        .collect();
    assert_eq!(upper.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn gradual_unfreezing_is_resumed_where_it_was() {
    let assignments = ["trainer.epochs=4", "fine_tuning.unfreeze_epochs=1", "trainer.weight_averaging=0.9"];
    let workspace = workspace("distilbert", &assignments);
    let (straight, broken) = (workspace.model_folder("straight"), workspace.model_folder("broken"));
    workspace.trainer().run(&straight, &mut Silent).unwrap();
    // 8 batches an epoch: in the third one, in which the two upper layers are trained.
    assert_eq!(workspace.trainer().run(&broken, &mut StopAfter(20)).unwrap(), Ending::Interrupted);
    let mut resumed = workspace.resume(&broken).unwrap();
    assert_eq!(resumed.run(&broken, &mut Silent).unwrap(), Ending::Finished);
    let checkpoints = [&straight, &broken].map(|folder| tensor_bytes(&folder.checkpoint()));
    assert!(checkpoints[0] == checkpoints[1]);
}

#[test]
fn every_way_to_pool_and_a_mix_of_layers_learn_and_answer() {
    for (assignments, parameters) in [
        (
            ["task_attention.pooling=first", "task_attention.layer_mix=false"],
            &["tasks.intent.head.weight"][..],
        ),
        (
            ["task_attention.pooling=mean", "task_attention.layer_mix=true"],
            &["tasks.intent.layer_mix", "tasks.entities.layer_mix"],
        ),
        (
            ["task_attention.pooling=attention", "task_attention.layer_mix=true"],
            &["tasks.intent.layer_mix", "tasks.intent.attention.query"],
        ),
    ] {
        let assignments = [&assignments[..], &["trainer.epochs=1"]].concat();
        let workspace = workspace("bert", &assignments);
        let changed = changed(&workspace);
        for parameter in parameters {
            assert!(changed.iter().any(|name| name == parameter), "{assignments:?} {parameter}");
        }
        // A task alone answers as it does among all.
        let folder = workspace.model_folder("model");
        let together: serde_json::Value = serde_json::from_str(&answers(&folder, &texts(), &[])).unwrap();
        let alone: serde_json::Value =
            serde_json::from_str(&answers(&folder, &texts(), &["intent"])).unwrap();
        for (together, alone) in together.as_array().unwrap().iter().zip(alone.as_array().unwrap()) {
            assert_eq!(together["tasks"]["intent"]["label"], alone["tasks"]["intent"]["label"]);
        }
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let workspace = workspace("bert", &["encoder.path=pretraind"]);
    let message = workspace.prepare().unwrap_err().to_string();
    assert_says(&message, &["pretraind", "pretrained"]);
    let workspace = Workspace::with(&workspace.toml(), &["encoder.path=hf:nobody"]);
    assert_says(&workspace.prepare().unwrap_err().to_string(), &["hf:owner/name@revision"]);
}

#[test]
fn a_text_is_no_longer_than_the_model_reads() {
    let workspace = workspace("bert", &["tokenizer.max_tokens=60000"]);
    assert_eq!(workspace.prepare().unwrap().model.tokenizer().max_tokens(), 512);
}
