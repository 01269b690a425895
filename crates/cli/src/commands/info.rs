use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use indicatif::{HumanBytes, HumanCount};
use polytask_model::{Adapter, Model, ModelFolder};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::console::{columns, print, print_json};

/// Describes a model folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    /// The model folder.
    folder: PathBuf,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Info {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let description = describe(&self.folder)?;
        if self.json {
            print_json(&description)?;
        } else {
            print(description.table())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a model folder holds.
#[derive(Serialize)]
struct Description {
    folder: PathBuf,
    format_version: Value,
    /// The version that wrote the model.
    polytask: Value,
    encoder: Value,
    /// One set for all tasks, or for the task that it names.
    adapters: Vec<Adapter>,
    task_attention: Value,
    /// In which numbers products are computed.
    precision: Value,
    vocabulary: usize,
    max_tokens: usize,
    tasks: Vec<TaskDescription>,
    parameters: usize,
    /// By the first two parts of their names.
    parts: BTreeMap<String, usize>,
    /// The files and their sizes in bytes.
    files: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct TaskDescription {
    name: String,
    r#type: Value,
    /// 0 where a task has no classes.
    labels: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    /// Of the main metric on the dev data.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
}

fn describe(folder: &Path) -> Result<Description> {
    let model_folder = ModelFolder::new(folder);
    let model = model_folder.load()?;
    let read = || -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(model_folder.model())?)?) };
    let mut json = read().with_context(|| model_folder.model().display().to_string())?;
    let mut take = |key: &str| json.get_mut(key).map(Value::take).unwrap_or_default();
    let mut parts = BTreeMap::new();
    for (_, parameter) in model.parameters().iter() {
        let part = parameter.name.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
        *parts.entry(part).or_default() += parameter.tensor().len();
    }
    let precision = if model.is_quantized() { "int8".into() } else { take("precision") };
    Ok(Description {
        folder: folder.into(),
        precision,
        format_version: take("format_version"),
        polytask: take("polytask"),
        encoder: take("encoder"),
        adapters: model.config().adapters.clone(),
        task_attention: take("task_attention"),
        vocabulary: model.tokenizer().vocabulary_size(),
        max_tokens: model.tokenizer().max_tokens(),
        tasks: describe_tasks(&model_folder, &model)?,
        parameters: model.parameters().count(),
        parts,
        files: files(folder)?,
    })
}

fn describe_tasks(folder: &ModelFolder, model: &Model) -> Result<Vec<TaskDescription>> {
    let evaluation: BTreeMap<_, _> = folder.evaluation()?.unwrap_or_default().into_iter().collect();
    let describe = |task: &polytask_model::ModelTask| {
        let report = evaluation.get(&task.settings.name);
        Ok(TaskDescription {
            name: task.settings.name.clone(),
            r#type: serde_json::to_value(&task.task)?.get_mut("type").map(Value::take).unwrap_or_default(),
            labels: task.task.label_counts(&[]).len(),
            metric: report.map(|report| report.metric.clone()),
            value: report.map(|report| report.value),
        })
    };
    model.config().tasks.iter().map(describe).collect()
}

fn files(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let entries = || -> std::io::Result<_> {
        let size = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()))
        };
        fs::read_dir(folder)?.map(size).collect()
    };
    entries().with_context(|| folder.display().to_string())
}

impl Description {
    fn table(&self) -> String {
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let mut rows = vec![
            row("folder", self.folder.display().to_string()),
            row("format", format!("{}, written by polytask {}", self.format_version, plain(&self.polytask))),
            row("encoder", keys(&self.encoder)),
        ];
        rows.extend(self.adapters.iter().map(|adapter| row("adapters", adapter_line(adapter))));
        rows.extend([
            row("task attention", keys(&self.task_attention)),
            row("precision", plain(&self.precision).to_string()),
            row("vocabulary", format!("{} pieces, at most {} a text", self.vocabulary, self.max_tokens)),
        ]);
        rows.extend(self.tasks.iter().map(|task| row(&format!("task {}", task.name), task.line())));
        rows.push(row("parameters", HumanCount(self.parameters as u64).to_string()));
        let parts = self
            .parts
            .iter()
            .map(|(name, &count)| row(&format!("  {name}"), HumanCount(count as u64).to_string()));
        rows.extend(parts);
        rows.push(row("files", String::new()));
        rows.extend(
            self.files.iter().map(|(name, &size)| row(&format!("  {name}"), HumanBytes(size).to_string())),
        );
        columns(&rows)
    }
}

impl TaskDescription {
    fn line(&self) -> String {
        let labels = if self.labels > 0 { format!(", {} labels", self.labels) } else { String::new() };
        let metric = self.metric.as_ref().zip(self.value);
        let metric = metric.map(|(metric, value)| format!(", {metric} {value:.4}")).unwrap_or_default();
        format!("{}{labels}{metric}", plain(&self.r#type))
    }
}

/// `of task mood: LoRA of rank 8`
fn adapter_line(adapter: &Adapter) -> String {
    let of = adapter.task.as_ref().map_or_else(|| "shared".to_owned(), |task| format!("of task {task}"));
    let kinds =
        [("LoRA of rank", adapter.config.lora_rank), ("bottlenecks of width", adapter.config.bottleneck)];
    let kinds = kinds.into_iter().filter(|(_, size)| *size > 0).map(|(kind, size)| format!("{kind} {size}"));
    format!("{of}: {}", kinds.collect::<Vec<_>>().join(", "))
}

/// `transformer, width 128, layers 2`
fn keys(table: &Value) -> String {
    let entry = |(key, value): (&String, &Value)| match key.as_str() {
        "type" => plain(value),
        _ => format!("{key} {}", plain(value)),
    };
    table.as_object().unwrap_or(&Map::new()).iter().map(entry).collect::<Vec<_>>().join(", ")
}

/// A text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
