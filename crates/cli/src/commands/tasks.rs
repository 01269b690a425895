use std::process::ExitCode;

use anyhow::{Result, bail};
use polytask_config::schemars::schema_for;
use polytask_config::{Key, Plugin, did_you_mean, keys, plugins, summary};
use polytask_task::TaskSettings;
use serde::Serialize;
use serde_json::Value;

use crate::console::{columns, print, print_json};

/// What a configuration can name by `type`.
const KINDS: [&str; 4] = ["task", "encoder", "optimizer", "sampler"];

/// Lists and documents the task types, encoders, optimizers and samplers of this program.
#[derive(Debug, clap::Args)]
pub(crate) struct Tasks {
    /// One of them, such as `ner`: prints all there is to know of it.
    r#type: Option<String>,
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
}

impl Tasks {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let found = documented(self.r#type.as_deref())?;
        match self.r#type {
            _ if self.json => print_json(&found)?,
            Some(_) => found.iter().try_for_each(|plugin| print(plugin.page()))?,
            None => print(overview(&found))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A plugin with what its doc comments say.
#[derive(Serialize)]
struct Documented {
    kind: &'static str,
    name: &'static str,
    doc: String,
    keys: Vec<DocumentedKey>,
}

#[derive(Serialize)]
struct DocumentedKey {
    name: String,
    r#type: String,
    required: bool,
    default: Option<Value>,
    doc: String,
}

/// All plugins, or those of one name.
fn documented(name: Option<&str>) -> Result<Vec<Documented>> {
    let all: Vec<&Plugin> = KINDS.iter().flat_map(|kind| plugins(kind)).collect();
    let Some(name) = name else { return Ok(all.into_iter().map(document).collect()) };
    let found: Vec<_> =
        all.iter().filter(|plugin| plugin.name == name).map(|plugin| document(plugin)).collect();
    if found.is_empty() {
        let known = || all.iter().map(|plugin| plugin.name);
        bail!(
            "no type `{name}` (known: {}){}",
            known().collect::<Vec<_>>().join(", "),
            did_you_mean(name, known())
        );
    }
    Ok(found)
}

fn document(plugin: &Plugin) -> Documented {
    let schema = (plugin.schema)();
    let key = |Key { name, kind, default, doc, required }| DocumentedKey {
        name,
        r#type: kind,
        required,
        default,
        doc,
    };
    let keys = keys(&schema).into_iter().map(key).collect();
    Documented { kind: plugin.kind, name: plugin.name, doc: summary(&schema), keys }
}

/// A line a plugin.
fn overview(plugins: &[Documented]) -> String {
    let first_line = |doc: &str| doc.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let row =
        |plugin: &Documented| vec![plugin.kind.to_owned(), plugin.name.to_owned(), first_line(&plugin.doc)];
    columns(&plugins.iter().map(row).collect::<Vec<_>>())
}

impl Documented {
    fn page(&self) -> String {
        let shared = match self.kind {
            "task" => format!("\n\nEvery task also has the keys {}.", shared_keys()),
            _ => String::new(),
        };
        let keys = self.keys.iter().map(DocumentedKey::paragraph).collect::<String>();
        let keys = if keys.is_empty() {
            "\n\nIt has no keys of its own.".to_owned()
        } else {
            format!("\n\nKeys:{keys}")
        };
        format!("{} `{}`\n\n{}{keys}{shared}\n", self.kind, self.name, self.doc)
    }
}

fn shared_keys() -> String {
    let names = keys(&schema_for!(TaskSettings)).into_iter().map(|key| format!("`{}`", key.name));
    names.collect::<Vec<_>>().join(", ")
}

impl DocumentedKey {
    fn paragraph(&self) -> String {
        let default = match &self.default {
            Some(value) => format!(", default {value}"),
            None if self.required => ", required".to_owned(),
            None => String::new(),
        };
        let doc = self.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("\n\n  {}  ({}{default})\n    {doc}", self.name, self.r#type)
    }
}
