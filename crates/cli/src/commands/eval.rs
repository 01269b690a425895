use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;

use anyhow::{Result, bail};
use polytask_config::{Document, did_you_mean};
use polytask_data::{DataConfig, DataSet, Paths};
use polytask_model::{Evaluation, Example, ModelFolder, evaluate, prepare};
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
    /// Prints the reports as one JSON object.
    #[arg(long)]
    json: bool,
}

fn name_and_file(argument: &str) -> Result<(String, PathBuf), &'static str> {
    let (name, file) = argument.split_once('=').ok_or("expected NAME=FILE")?;
    Ok((name.into(), file.into()))
}

impl Eval {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let evaluation = measure(&self.folder, &self.data)?;
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
fn measure(folder: &Path, files: &[(String, PathBuf)]) -> Result<Evaluation> {
    let model_folder = ModelFolder::new(folder);
    let model = model_folder.load()?;
    let mut config = Config::read(&Document::read(&model_folder.configuration())?)?;
    if !files.is_empty() {
        config.data = replaced(&config.data, files)?;
    }
    let mut examples: Vec<Example> = Vec::new();
    for data in &config.data {
        let rows = DataSet::read_dev(data, folder, &config.columns(&data.name))?;
        examples.extend(prepare(model.config(), model.tokenizer(), &data.name, &rows)?);
    }
    if examples.is_empty() {
        let names = config.data.iter().map(|data| data.name.as_str()).collect::<Vec<_>>().join(", ");
        bail!("the configuration names no dev data: give a file, `--data NAME=FILE` (data sets: {names})");
    }
    Ok(evaluate(&model, model.parameters(), &examples.iter().collect::<Vec<_>>())?)
}

/// The named data sets, with the files given for them as their dev data.
fn replaced(data: &[DataConfig], files: &[(String, PathBuf)]) -> Result<Vec<DataConfig>> {
    let mut replaced: Vec<DataConfig> = Vec::new();
    for (name, file) in files {
        let known = || data.iter().map(|set| set.name.as_str());
        let Some(set) = data.iter().find(|set| set.name == *name) else {
            let (names, hint) = (known().collect::<Vec<_>>().join(", "), did_you_mean(name, known()));
            bail!(
                "--data {name}={}: no data set is called `{name}` (there are: {names}){hint}",
                file.display()
            );
        };
        if replaced.iter().any(|other| other.name == *name) {
            bail!("--data names `{name}` twice");
        }
        let dev = Some(Paths::One(absolute(file)?));
        replaced.push(DataConfig { dev, dev_fraction: None, ..set.clone() });
    }
    Ok(replaced)
}
