use std::process::ExitCode;

use anyhow::{Result, bail};
use polytask_config::schemars::schema_for;
use polytask_config::{Choice, Key, Plugin, did_you_mean, keys, plugins, summary};
use polytask_task::TaskSettings;
use serde::Serialize;

use crate::console::{columns, print, print_json};
use crate::reference::{Section, first_paragraph, reference, sections};

/// What a configuration can name by `type`.
const KINDS: [&str; 4] = ["task", "encoder", "optimizer", "sampler"];

/// Lists and documents the task types, encoders, optimizers and samplers of this program, and all other sections of its
/// configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Tasks {
    /// One of them, such as `ner` or `trainer`: prints all there is to know of it.
    name: Option<String>,
    /// Prints all there is to know of everything, as one page of Markdown.
    #[arg(long, conflicts_with_all = ["name", "json"])]
    all: bool,
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
}

impl Tasks {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if self.all {
            print(reference())?;
            return Ok(ExitCode::SUCCESS);
        }
        let found = documented(self.name.as_deref())?;
        match self.name {
            _ if self.json => print_json(&found)?,
            Some(_) => found.iter().try_for_each(|documented| print(documented.page()))?,
            None => print(overview(&found))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A plugin or a section with what its doc comments say.
#[derive(Serialize)]
struct Documented {
    kind: &'static str,
    name: &'static str,
    doc: String,
    keys: Vec<Key>,
}

/// All plugins and sections, or those of one name.
fn documented(name: Option<&str>) -> Result<Vec<Documented>> {
    let plugins = KINDS.iter().flat_map(|kind| plugins(kind)).map(Documented::of_plugin);
    let mut found: Vec<_> = plugins.chain(sections().into_iter().map(Documented::of_section)).collect();
    let Some(name) = name else { return Ok(found) };
    let known: Vec<_> = found.iter().map(|documented| documented.name).collect();
    if !known.contains(&name) {
        let near = did_you_mean(name, known.iter().copied());
        bail!("no type or section `{name}` (known: {}){near}", known.join(", "));
    }
    found.retain(|documented| documented.name == name);
    Ok(found)
}

/// A line each.
fn overview(all: &[Documented]) -> String {
    let row = |one: &Documented| vec![one.kind.to_owned(), one.name.to_owned(), first_paragraph(&one.doc)];
    columns(&all.iter().map(row).collect::<Vec<_>>())
}

impl Documented {
    fn of_plugin(plugin: &Plugin) -> Self {
        let schema = (plugin.schema)();
        Self { kind: plugin.kind, name: plugin.name, doc: summary(&schema), keys: keys(&schema) }
    }

    fn of_section(section: Section) -> Self {
        Self { kind: "section", name: section.name(), doc: section.doc, keys: section.keys }
    }

    fn page(&self) -> String {
        let shared = match self.kind {
            "task" => format!("\n\nEvery task also has the keys {}.", shared_keys()),
            _ => String::new(),
        };
        let keys = self.keys.iter().map(paragraph).collect::<String>();
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

fn paragraph(key: &Key) -> String {
    let default = match &key.default {
        Some(value) => format!(", default {value}"),
        None if key.required => ", required".to_owned(),
        None => String::new(),
    };
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let choice = |choice: &Choice| format!("\n    {}: {}", choice.name, line(&choice.doc));
    let choices = key.choices.iter().map(choice).collect::<String>();
    format!("\n\n  {}  ({}{default})\n    {}{choices}", key.name, key.kind, line(&key.doc))
}
