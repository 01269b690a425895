//! An encoder from texts without labels, and a model from it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::{CONFIGURATION, json, project, run};

/// A project with plain texts and a configuration to learn from them.
fn corpus() -> TempDir {
    let folder = project();
    let texts: String = (0..60).map(|n| format!("parcel {} goes to row {}\n", n % 7, n % 5)).collect();
    fs::write(folder.path().join("texts.txt"), texts).unwrap();
    let encoder = CONFIGURATION.split("[[data]]").next().unwrap();
    let rest =
        "[[data]]\nname = \"texts\"\ntrain = \"texts.txt\"\ndev_fraction = 0.2\n\n[trainer]\nepochs = 1\n";
    fs::write(folder.path().join("pretrain.toml"), format!("{encoder}{rest}")).unwrap();
    folder
}

fn start_from_encoder(folder: &Path) {
    let rest = &CONFIGURATION[CONFIGURATION.find("[[data]]").unwrap()..];
    let encoder = "[encoder]\ntype = \"pretrained\"\npath = \"encoder\"\n\n";
    fs::write(folder.join("train.toml"), format!("{encoder}{rest}")).unwrap();
}

#[test]
fn a_pretrained_encoder_is_the_start_of_a_model() {
    let folder = corpus();
    let (stdout, _) = run(folder.path(), &["pretrain", "pretrain.toml", "--out", "encoder"], 0);
    for part in ["pieces\n", "accuracy", "perplexity", "hidden pieces", "model: encoder"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (stdout, _) = run(folder.path(), &["eval", "encoder", "--json"], 0);
    assert_eq!(json(&stdout)["pieces"]["examples"], 12);

    start_from_encoder(folder.path());
    let (stdout, _) = run(folder.path(), &["check", "train.toml"], 0);
    assert!(stdout.contains("✔ memory: "), "{stdout}");
    run(folder.path(), &["train", "train.toml", "--out", "model"], 0);
    let (stdout, _) = run(folder.path(), &["predict", "model", "money back for parcel 7"], 0);
    assert!(stdout.contains("intent"), "{stdout}");
}

#[test]
fn keys_of_the_task_may_be_set_and_tasks_may_not() {
    let folder = corpus();
    let probability = ["--set", "tasks.pieces.probability=0.5"];
    run(folder.path(), &[&["pretrain", "pretrain.toml", "--out", "encoder"], &probability[..]].concat(), 0);
    let written = fs::read_to_string(folder.path().join("encoder/config.toml")).unwrap();
    assert!(written.contains("probability = 0.5"), "{written}");
    let (_, stderr) = run(folder.path(), &["pretrain", "train.toml", "--out", "other"], 1);
    assert!(stderr.contains("brings its own task: leave [[tasks]] out"), "{stderr}");
    let (_, stderr) = run(folder.path(), &["train", "pretrain.toml", "--out", "other"], 1);
    assert!(stderr.contains("only `polytask pretrain` needs none"), "{stderr}");
}
