use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use polytask_config::Document;
use polytask_model::{Evaluation, Example, Model, ModelFolder, check_unchanged, write_file};
use polytask_trainer::{Ending, Prepared, Trainer, connect, prepare_added_tasks, with_absolute_paths};
use serde_json::{Map, Value, json};

use super::train::start_threads;
use crate::configuration::{Configuration, ConfigurationArguments};
use crate::console::{print, print_json, say};
use crate::interrupt;
use crate::progress::ProgressLine;
use crate::trained::what_is_trained;

/// Texts on which the old tasks must answer as before, at most.
const COMPARED_TEXTS: usize = 1000;

/// The sections that are the model's own, and that of what is frozen anyway.
const OF_THE_MODEL: [&str; 4] = ["encoder", "tokenizer", "task_attention", "fine_tuning"];

/// Trains further tasks on top of a trained model, which answers its old tasks as before.
///
/// The configuration has the new [[data]] and [[tasks]]; with [adapters] each new task gets adapters of its own. All else is
/// frozen. Before the new model is written, the old tasks must give the same logits, bit for bit, to the texts of the new
/// data (1,000 at most), asked alone and with the new tasks. A run that is interrupted leaves nothing, and cannot be resumed.
#[derive(Debug, clap::Args)]
pub(crate) struct AddTask {
    /// The model folder.
    folder: PathBuf,
    #[command(flatten)]
    configuration: ConfigurationArguments,
    /// Where the new model goes; there must be nothing yet.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Threads to compute with, instead of `threads` in [trainer]; 0 takes all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Prints one JSON object in the end instead of the reports.
    #[arg(long)]
    json: bool,
}

/// What was added, and how much was compared.
struct Added {
    evaluation: Evaluation,
    compared_texts: usize,
    parameters: usize,
    trained_parameters: usize,
}

impl AddTask {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let out = self.out.display();
        ensure!(connect()?.size() == 1, "tasks are added by one process: start it without a launcher");
        ensure!(!self.out.exists(), "{out} exists already: give another folder, or remove it");
        let training = self.training_folder()?;
        ensure!(!training.exists(), "{}: left of another run, remove it", training.display());
        let added = self.add(&ModelFolder::new(&training));
        if training.exists() {
            fs::remove_dir_all(&training).with_context(|| training.display().to_string())?;
        }
        let Some(added) = added? else {
            say("interrupted; nothing is written");
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        };
        self.report(&added)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Where the model lies until it is proved.
    fn training_folder(&self) -> Result<PathBuf> {
        ensure!(self.out.file_name().is_some(), "{} has no name", self.out.display());
        Ok(self.out.with_added_extension("training"))
    }

    /// Trains, proves and writes; `None` where it was interrupted.
    fn add(&self, training: &ModelFolder) -> Result<Option<Added>> {
        let source = ModelFolder::new(&self.folder);
        let configuration = self.configuration.read()?;
        refuse_sections(&configuration.document)?;
        let config = configuration.config()?;
        start_threads(self.threads.unwrap_or(config.trainer.threads))?;
        let model = source.load()?;
        let prepared = prepare_added_tasks(&model, config, &configuration.base)?;
        let text = whole_configuration(&source, &configuration)?;
        let examples = compared(&prepared);
        say(what_is_trained(&prepared.model));
        let mut trainer = Trainer::new(prepared, text)?;
        let trained_parameters = trainer.model().parameters().trained_count();
        interrupt::catch()?;
        let mut progress = ProgressLine::new();
        let ending = trainer.run(training, &mut progress);
        progress.finish();
        if ending? == Ending::Interrupted {
            return Ok(None);
        }
        let parameters = prove(&model, training, &examples)?;
        let evaluation = training.evaluation()?.unwrap_or_default();
        let all: Evaluation =
            source.evaluation()?.unwrap_or_default().into_iter().chain(evaluation.clone()).collect();
        write_file(&training.metrics(), &serde_json::to_vec_pretty(&all)?)?;
        // It could not be resumed from.
        fs::remove_file(training.checkpoint())
            .with_context(|| training.checkpoint().display().to_string())?;
        fs::rename(training.path(), &self.out).with_context(|| self.out.display().to_string())?;
        Ok(Some(Added { evaluation, compared_texts: examples.len(), parameters, trained_parameters }))
    }

    fn report(&self, added: &Added) -> Result<()> {
        let Added { evaluation, compared_texts, parameters, trained_parameters } = added;
        if self.json {
            let dev: Map<String, Value> =
                evaluation.iter().map(|(task, report)| (task.clone(), report.value.into())).collect();
            return print_json(&json!({
                "folder": self.out, "dev": dev, "compared_texts": compared_texts, "parameters": parameters,
                "trained_parameters": trained_parameters,
            }));
        }
        for (task, report) in evaluation {
            print(format_args!("{task}\n{report}\n"))?;
        }
        let proof = format!(
            "the old parameters, and the old tasks' answers to {compared_texts} texts, are the same bits"
        );
        print(format_args!("{proof}\nmodel: {}", self.out.display()))?;
        Ok(())
    }
}

fn refuse_sections(document: &Document) -> Result<()> {
    match OF_THE_MODEL.into_iter().find(|section| document.values().contains_key(*section)) {
        Some(section) => {
            let message = format!("[{section}] is the trained model's own: leave it out");
            Err(document.root().error_at(section, message).into())
        }
        None if document
            .values()
            .get("trainer")
            .is_some_and(|trainer| trainer.get("precision").is_some()) =>
        {
            let message = "`trainer.precision` is the trained model's own: leave it out";
            Err(document.root().error_at("trainer", message).into())
        }
        None => Ok(()),
    }
}

/// The model's configuration with the new data and tasks behind its own.
fn whole_configuration(source: &ModelFolder, added: &Configuration) -> Result<String> {
    let text = with_absolute_paths(&added.document, &added.base)?;
    let added = Document::parse("the new configuration", &text)?;
    Ok(Document::read(&source.configuration())?.with_lists_of(&added, &["data", "tasks"])?)
}

fn compared(prepared: &Prepared) -> Vec<Example> {
    let texts = prepared.sets.iter().flat_map(|set| set.train.iter().chain(&set.dev));
    texts.take(COMPARED_TEXTS).cloned().collect()
}

/// The number of parameters of the new model, read back from its folder and found to hold the old one.
fn prove(old: &Model, folder: &ModelFolder, examples: &[Example]) -> Result<usize> {
    let new = folder.load()?;
    check_unchanged(old, &new, &examples.iter().collect::<Vec<_>>())?;
    Ok(new.parameters().count())
}
