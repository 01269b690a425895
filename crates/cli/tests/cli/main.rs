//! The built program, verb by verb: outputs, exit codes, messages.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod adapters;
mod errors;
#[cfg(unix)]
mod interrupt;
mod pretrain;
mod verbs;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The program, to be run in a folder.
fn polytask(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polytask"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program and expects an exit code; gives standard output and standard error.
#[track_caller]
fn run(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = polytask(folder, arguments).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{arguments:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
    (stdout, stderr)
}

#[track_caller]
fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Two tasks on one small data set, trained within a second.
const CONFIGURATION: &str = r#"[encoder]
width = 16
layers = 1
heads = 2
word_shapes = 50

[tokenizer]
vocabulary_size = 200

[[data]]
name = "shop"
train = "train.jsonl"
dev = "dev.jsonl"

[[tasks]]
name = "intent"
type = "classification"
label = "shop.intent"

[[tasks]]
name = "entities"
type = "ner"
label = "shop.entities"

[trainer]
epochs = 2
batch_size = 8
learning_rate = 1e-2
"#;

const CITIES: [&str; 6] = ["Berlin", "Paris", "Oslo", "Rome", "Lima", "Cairo"];

/// Row `n`; rows with different numbers differ.
fn row(n: usize) -> String {
    let city = CITIES[n % CITIES.len()];
    let (intent, text) = if n.is_multiple_of(2) {
        ("order", "please send parcel")
    } else {
        ("refund", "money back for parcel")
    };
    let start = format!("{text} {n} to ").len();
    let end = start + city.len();
    format!(
        "{{\"text\": \"{text} {n} to {city}\", \"intent\": \"{intent}\", \
         \"entities\": [{{\"start\": {start}, \"end\": {end}, \"label\": \"city\"}}]}}\n"
    )
}

/// A folder with `train.toml`, `train.jsonl` of 40 rows and `dev.jsonl` of 12.
fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("train.toml"), CONFIGURATION).unwrap();
    std::fs::write(folder.path().join("train.jsonl"), (0..40).map(row).collect::<String>()).unwrap();
    std::fs::write(folder.path().join("dev.jsonl"), (40..52).map(row).collect::<String>()).unwrap();
    folder
}

/// A project with a trained model in `model`.
fn trained() -> TempDir {
    let folder = project();
    run(folder.path(), &["train", "train.toml", "--out", "model"], 0);
    folder
}
