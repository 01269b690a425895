use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use indicatif::HumanBytes;
use polytask_model::{Evaluation, ModelFolder, evaluate};
use serde_json::{Value, json};

use super::eval::labelled_examples;
use crate::console::{columns, print, print_json};

/// Makes a model of 8-bit integers: a quarter of the size, and faster where the processor multiplies bytes.
///
/// The encoder's matrices become integers with one scale a column, activations are quantized row by row as they come. Both
/// models are measured on the dev data, and what each task loses is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Quantize {
    /// The model folder.
    folder: PathBuf,
    /// Where the new model goes; by default the folder's name with `-int8`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Measures on this file instead, read as the data set of this name; then only the named data sets are measured.
    #[arg(long, value_name = "NAME=FILE", value_parser = super::eval::name_and_file)]
    data: Vec<(String, PathBuf)>,
    /// Prints the reports as one JSON object.
    #[arg(long)]
    json: bool,
}

/// One task's main metric before and after.
struct Loss {
    task: String,
    metric: String,
    before: f64,
    after: f64,
}

impl Quantize {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let source = ModelFolder::new(&self.folder);
        let target = ModelFolder::new(self.out.clone().map_or_else(|| self.beside(), Ok)?);
        ensure!(
            !target.is_used(),
            "{} holds a model already: give another folder with --out, or remove it",
            target.path().display()
        );
        let mut model = source.load()?;
        ensure!(!model.is_quantized(), "{} is a model of 8-bit integers already", self.folder.display());
        let examples = labelled_examples(&source, &model, &self.data)?;
        let examples: Vec<_> = examples.iter().collect();
        let before = evaluate(&model, model.constants(), &examples)?;
        model.quantize();
        let after = evaluate(&model, model.constants(), &examples)?;

        target.save(&model, model.parameters())?;
        copy(source.configuration(), target.configuration())?;
        // Of its own dev data alone: other files' figures are not the model's.
        if self.data.is_empty() {
            polytask_model::write_file(&target.metrics(), &serde_json::to_vec_pretty(&after)?)?;
        }
        self.report(&losses(&before, &after), [source.parameters(), target.parameters()], &target)
    }

    fn beside(&self) -> Result<PathBuf> {
        let folder = self.folder.display();
        let name = self.folder.file_name();
        let mut name = name
            .with_context(|| format!("{folder} has no name to add `-int8` to: give a folder with --out"))?
            .to_os_string();
        name.push("-int8");
        Ok(self.folder.with_file_name(name))
    }

    fn report(&self, losses: &[Loss], files: [PathBuf; 2], target: &ModelFolder) -> Result<ExitCode> {
        let mut bytes = [0; 2];
        for (bytes, file) in bytes.iter_mut().zip(&files) {
            *bytes = fs::metadata(file).with_context(|| file.display().to_string())?.len();
        }
        if self.json {
            let tasks: serde_json::Map<String, Value> =
                losses.iter().map(|loss| (loss.task.clone(), loss.to_json())).collect();
            let sizes = json!({ "before": bytes[0], "after": bytes[1] });
            print_json(&json!({ "folder": target.path(), "tasks": tasks, "bytes": sizes }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let heads = ["task", "metric", "before", "after", "lost"].map(String::from).to_vec();
        let table: Vec<Vec<String>> = std::iter::once(heads).chain(losses.iter().map(Loss::row)).collect();
        let [before, after] = bytes.map(HumanBytes);
        print(format!("{}\n\n{before} became {after}: {}", columns(&table), target.path().display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Copies a file, and says which where it cannot.
pub(super) fn copy(from: PathBuf, to: PathBuf) -> Result<()> {
    fs::copy(&from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    Ok(())
}

fn losses(before: &Evaluation, after: &Evaluation) -> Vec<Loss> {
    let reports = before.iter().zip(after);
    let loss = reports.map(|((task, before), (_, after))| Loss {
        task: task.clone(),
        metric: before.metric.clone(),
        before: before.value,
        after: after.value,
    });
    loss.collect()
}

impl Loss {
    fn row(&self) -> Vec<String> {
        let values = [self.before, self.after, self.before - self.after].map(|value| format!("{value:.4}"));
        [self.task.clone(), self.metric.clone()].into_iter().chain(values).collect()
    }

    fn to_json(&self) -> Value {
        let lost = self.before - self.after;
        json!({ "metric": self.metric, "before": self.before, "after": self.after, "lost": lost })
    }
}
