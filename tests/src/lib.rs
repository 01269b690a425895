//! What the integration tests share: a small configuration, a slice of the sample data, and runs in temporary folders.
//!
//! Helpers panic where a test would: they are made for `#[test]` functions.
#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod gradients;
mod launched;
mod ranks;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use polytask_config::Document;
use polytask_model::ModelFolder;
use polytask_tensor::Parameters;
use polytask_trainer::{Config, EpochRecord, Observer, Prepared, Progress, Result, Silent, Trainer, prepare};
use tempfile::TempDir;

// A task type that no crate links does not exist.
use {polytask_classification as _, polytask_ner as _, polytask_sentiment as _};

pub use gradients::{PLAIN_DESCENT, WITHOUT_DROPOUT, assert_same_gradients, gradients_of_one_step};
pub use launched::Launcher;
pub use ranks::{Channels, on_ranks, on_tcp_ranks};

/// Three tasks on a transformer with everything that takes part in training: dropout, windows and word shapes.
pub const CONFIGURATION: &str = r#"
[encoder]
type = "transformer"
width = 16
layers = 1
heads = 2
word_shapes = 64

[tokenizer]
vocabulary_size = 200
max_tokens = 128

[[data]]
name = "sample"
train = "train.jsonl"
dev = "dev.jsonl"

[[tasks]]
name = "intent"
type = "classification"
label = "sample.intent"

[[tasks]]
name = "sentiment"
type = "sentiment"
label = "sample.sentiment"

[[tasks]]
name = "entities"
type = "ner"
label = "sample.entities"

[optimizer]
type = "adamw"

[trainer]
epochs = 2
batch_size = 8
learning_rate = 5e-3
"#;

const TRAIN: &str = include_str!("../../examples/sample/train.jsonl");
const DEV: &str = include_str!("../../examples/sample/dev.jsonl");

/// A temporary folder with a configuration and its data: 64 texts to train on and 24 to measure on, each with any subset
/// of labels.
#[derive(Debug)]
pub struct Workspace {
    folder: TempDir,
    document: Document,
}

impl Workspace {
    /// [`CONFIGURATION`] with assignments such as `trainer.epochs=3`.
    pub fn new(assignments: &[&str]) -> Self {
        Self::with(CONFIGURATION, assignments)
    }

    /// Another configuration.
    pub fn with(configuration: &str, assignments: &[&str]) -> Self {
        let mut document = Document::parse("polytask.toml", configuration).unwrap();
        assignments.iter().for_each(|assignment| document.set(assignment).unwrap());
        let workspace = Self { folder: tempfile::tempdir().unwrap(), document };
        workspace.write("train.jsonl", first_lines(TRAIN, 64));
        workspace.write("dev.jsonl", first_lines(DEV, 24));
        workspace.write("polytask.toml", workspace.toml());
        workspace
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file of the folder, and returns where it lies.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.path().join(name);
        fs::write(&file, content).unwrap();
        file
    }

    /// The configuration as text.
    pub fn toml(&self) -> String {
        self.document.to_toml()
    }

    /// A folder for a model.
    pub fn model_folder(&self, name: &str) -> ModelFolder {
        ModelFolder::new(self.path().join(name))
    }

    /// The training run, ready to start.
    pub fn prepare(&self) -> Result<Prepared> {
        prepare(Config::read(&self.document)?, self.path(), &mut ())
    }

    /// A run at its start.
    pub fn trainer(&self) -> Trainer {
        Trainer::new(self.prepare().unwrap(), self.toml()).unwrap()
    }

    /// A run as a folder's checkpoint left it.
    pub fn resume(&self, folder: &ModelFolder) -> Result<Trainer> {
        Trainer::resume(self.prepare()?, self.toml(), folder)
    }

    /// Trains to the end in the folder `name`.
    pub fn train(&self, name: &str) -> Result<ModelFolder> {
        let folder = self.model_folder(name);
        Trainer::new(self.prepare()?, self.toml())?.run(&folder, &mut Silent)?;
        Ok(folder)
    }
}

/// The first lines of a text.
pub fn first_lines(text: &str, lines: usize) -> String {
    text.split_inclusive('\n').take(lines).collect()
}

/// The texts of the dev data.
pub fn texts() -> Vec<String> {
    let text = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["text"].as_str().unwrap().to_owned()
    };
    DEV.lines().take(24).map(text).collect()
}

/// The answers of the model in a folder to some texts, as the command line would print them.
pub fn answers(folder: &ModelFolder, texts: &[String], tasks: &[&str]) -> String {
    let model = folder.load().unwrap();
    let tasks = model.tasks_named(&tasks.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    serde_json::to_string(&model.predict(&texts, &tasks, true).unwrap()).unwrap()
}

/// Names and bits of all parameters.
pub fn bits(parameters: &Parameters) -> Vec<(String, Vec<u32>)> {
    let bits = |data: &[f32]| data.iter().map(|value| value.to_bits()).collect();
    parameters
        .iter()
        .map(|(_, parameter)| (parameter.name.clone(), bits(parameter.tensor().data())))
        .collect()
}

/// The bytes of all tensors of a safetensors file, without its header.
pub fn tensor_bytes(file: &Path) -> Vec<u8> {
    let bytes = fs::read(file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

/// The files of a folder and what they hold.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let file =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(folder).unwrap().map(|entry| file(entry.unwrap())).collect()
}

/// Asserts that a message holds all of the parts.
#[track_caller]
pub fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
}

/// Progress without what a clock says.
pub fn without_seconds(progress: &Progress) -> Progress {
    let mut progress = progress.clone();
    progress.current.seconds = 0.0;
    progress.total.seconds = 0.0;
    progress.history.iter_mut().for_each(|record| record.seconds = 0.0);
    progress
}

/// Asks to stop after a number of groups of batches.
#[derive(Debug)]
pub struct StopAfter(pub usize);

impl Observer for StopAfter {
    fn should_stop(&mut self) -> bool {
        self.0 -= 1;
        self.0 == 0
    }
}

/// Does something after an epoch, counted from 1.
#[derive(Debug)]
pub struct AfterEpoch<F>(pub u64, pub F);

impl<F: FnMut()> Observer for AfterEpoch<F> {
    fn epoch(&mut self, record: &EpochRecord, _best: bool) {
        if record.epoch == self.0 {
            (self.1)();
        }
    }
}
