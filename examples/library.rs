//! Trains from a configuration and answers a text, with the crates as a library.
//!
//!     cargo run --release -p polytask-examples --bin library -- examples/quickstart.toml "Where is my order?"

#![allow(clippy::print_stdout, reason = "a program")]

use anyhow::Context;
use polytask_config::Document;
use polytask_model::ModelFolder;
use polytask_trainer::{Config, Silent, Trainer, prepare, with_absolute_paths};

// A task type that no crate links does not exist: its name would be unknown.
use {polytask_classification as _, polytask_ner as _, polytask_sentiment as _};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("usage: library CONFIG [TEXT …]")?;
    let texts: Vec<String> = arguments.collect();

    let document = Document::read(path.as_ref())?;
    let base = std::path::Path::new(&path).parent().unwrap_or("".as_ref());
    let prepared = prepare(Config::read(&document)?, base, &mut ())?;
    let temporary = tempfile::tempdir()?; // In a folder that stays, the model could be loaded again.
    let folder = ModelFolder::new(temporary.path());
    let mut trainer = Trainer::new(prepared, with_absolute_paths(&document, base)?)?;
    trainer.run(&folder, &mut Silent)?;
    for (task, report) in trainer.evaluate()? {
        println!("{task}: {} {:.3}", report.metric, report.value);
    }

    let model = folder.load()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for answer in model.predict(&texts, &model.tasks_named(&[])?, false)? {
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}
