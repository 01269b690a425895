use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use polytask_config::Document;
use polytask_data::{DataConfig, DataSet, Paths};
use polytask_model::{Device, Evaluation, Example, Model, ModelFolder, evaluate, prepare};
use polytask_trainer::Config;
use serde_json::{Map, Value};

use crate::console::{print, print_json};

/// Measures a model on the dev data that it was trained with, or on other files.
#[derive(Debug, clap::Args)]
pub(crate) struct Eval {
    /// The model folder.
    folder: PathBuf,
    /// Measures on this file instead, read as the data set of this name; then only the named data sets are measured.
    #[arg(long, value_name = "NAME=FILE", value_parser = name_and_file)]
    data: Vec<(String, PathBuf)>,
    /// On what to compute: cpu, cuda or cuda:NUMBER.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Prints the reports as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn name_and_file(argument: &str) -> Result<(String, PathBuf), &'static str> {
    let named = argument.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty());
    named.map(|(name, file)| (name.into(), file.into())).ok_or("expected NAME=FILE")
}

impl Eval {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let evaluation = measure(&self.folder, &self.data, self.device)?;
        if self.json {
            let entry = |(task, report)| Ok((task, serde_json::to_value(report)?));
            print_json(&evaluation.into_iter().map(entry).collect::<Result<Map<String, Value>>>()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let tables = evaluation.iter().map(|(task, report)| format!("{task}\n{report}"));
        print(tables.collect::<Vec<_>>().join("\n\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The reports of a model on the dev data in its configuration, or on the given files instead.
fn measure(folder: &Path, files: &[(String, PathBuf)], device: Device) -> Result<Evaluation> {
    let folder = ModelFolder::new(folder);
    let mut model = folder.load()?;
    model.parameters_mut().move_to(device)?;
    let examples = labelled_examples(&folder, &model, files)?;
    Ok(evaluate(&model, model.constants(), &examples.iter().collect::<Vec<_>>())?)
}

/// The texts of the dev data in a model's configuration, or of the given files instead; at least one has a label.
pub(super) fn labelled_examples(
    folder: &ModelFolder,
    model: &Model,
    files: &[(String, PathBuf)],
) -> Result<Vec<Example>> {
    let mut config = Config::read(&Document::read(&folder.configuration())?)?;
    if !files.is_empty() {
        config.data = replaced(&config.data, files)?;
    }
    let mut examples: Vec<Example> = Vec::new();
    for data in &config.data {
        let rows = DataSet::read_dev(data, folder.path(), &config.columns(&data.name))?;
        examples.extend(prepare(model.config(), model.tokenizer(), &data.name, &rows)?);
    }
    if examples.is_empty() {
        let names = config.data.iter().map(|data| data.name.as_str()).collect::<Vec<_>>().join(", ");
        bail!("the configuration names no dev data: give a file, `--data NAME=FILE` (data sets: {names})");
    }
    if examples.iter().all(|example| example.targets.iter().all(Option::is_none)) {
        let columns =
            config.data.iter().flat_map(|data| config.columns(&data.name)).collect::<Vec<_>>().join(", ");
        bail!("no label for any task in {} texts (columns looked at: {columns})", examples.len());
    }
    Ok(examples)
}

/// The named data sets, with the files given for them as their dev data.
fn replaced(data: &[DataConfig], files: &[(String, PathBuf)]) -> Result<Vec<DataConfig>> {
    let mut replaced: Vec<DataConfig> = Vec::new();
    for (name, file) in files {
        let set =
            DataConfig::named(data, name).with_context(|| format!("--data {name}={}", file.display()))?;
        if replaced.iter().any(|other| other.name == *name) {
            bail!("--data names `{name}` twice");
        }
        let dev = Some(Paths::One(absolute(file)?));
        replaced.push(DataConfig { dev, dev_fraction: None, max_rows: None, ..set.clone() });
    }
    Ok(replaced)
}
