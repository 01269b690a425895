//! `docs/configuration.md`, out of the doc comments of the configuration structs.

use polytask_config::schemars::{JsonSchema, schema_for};
use polytask_config::{Key, Plugin, keys, markdown_table, plugins, summary};
use polytask_data::{DataConfig, TokenizerConfig};
use polytask_model::{AdapterConfig, TaskAttentionConfig};
use polytask_task::TaskSettings;
use polytask_trainer::{DEFAULT_ENCODER, DEFAULT_OPTIMIZER, DEFAULT_SAMPLER, FineTuning, TrainerSettings};

const INTRODUCTION: &str = "\
<!-- Made by `UPDATE_DOCS=1 cargo test -p polytask-cli`, out of the doc comments of the code. -->

# Configuration

A training run is one TOML file. A section that is missing has its defaults; only `[[data]]` and `[[tasks]]` are needed.
A key or a type that does not exist is an error that names the line and the nearest name there is.

```toml
[[data]]
name = \"reviews\"
train = \"reviews/train.jsonl\"
dev = \"reviews/dev.jsonl\"

[[tasks]]
name = \"mood\"
type = \"sentiment\"
label = \"reviews.mood\"
labels = [\"bad\", \"so-so\", \"good\"]

[trainer]
epochs = 5
```

`polytask init` writes a longer example, with data. `polytask check` reads a configuration with its data and trains
nothing; `polytask tasks NAME` prints what stands here of one type or section, and `polytask tasks --all` this page.

Every key can be set on the command line too: `--set trainer.epochs=3`, `--set encoder.width=64`. An element of a list is
chosen by its name: `--set tasks.mood.weight=2`, `--set data.reviews.max_rows=100`. What is no TOML value is taken as a
string, so `--set optimizer.type=adamw` needs no quotes.

In the tables, *default* is the value of a key that is left out. `required`: it cannot be left out. –: it has no value
then; what holds instead is part of its meaning.

";

/// The reference of the configuration as Markdown: every section and every type that is linked into this program.
pub fn reference() -> String {
    let sections = sections();
    let contents = sections.iter().map(Section::contents_line).collect::<String>();
    let pages = sections.iter().map(Section::page).collect::<String>();
    format!("{INTRODUCTION}{contents}{pages}")
}

/// One section of the configuration.
pub(crate) struct Section {
    /// As it stands in the file: `[trainer]`, `[[data]]`.
    heading: &'static str,
    pub(crate) doc: String,
    /// Those that do not belong to one type.
    pub(crate) keys: Vec<Key>,
    types: Vec<&'static Plugin>,
}

/// All sections, in the order in which they are documented.
pub(crate) fn sections() -> Vec<Section> {
    let encoder = Section::new("[encoder]", "The text encoder that all tasks share.");
    let sampler = Section::new("[sampler]", "From which data set each batch comes, where there are several.");
    let optimizer = Section::new("[optimizer]", "What a gradient does to a parameter.");
    vec![
        encoder.with_types("encoder", Some(DEFAULT_ENCODER)),
        Section::of::<AdapterConfig>("[adapters]"),
        Section::of::<TokenizerConfig>("[tokenizer]"),
        Section::of::<TaskAttentionConfig>("[task_attention]"),
        Section::of::<DataConfig>("[[data]]"),
        Section::of::<TaskSettings>("[[tasks]]").with_types("task", None),
        sampler.with_types("sampler", Some(DEFAULT_SAMPLER)),
        optimizer.with_types("optimizer", Some(DEFAULT_OPTIMIZER)),
        Section::of::<TrainerSettings>("[trainer]"),
        Section::of::<FineTuning>("[fine_tuning]"),
    ]
}

impl Section {
    fn new(heading: &'static str, doc: &str) -> Self {
        Self { heading, doc: doc.to_owned(), keys: Vec::new(), types: Vec::new() }
    }

    fn of<T: JsonSchema>(heading: &'static str) -> Self {
        let schema = schema_for!(T);
        Self { heading, doc: summary(&schema), keys: keys(&schema), types: Vec::new() }
    }

    /// The section with a key `type`, which chooses among all plugins of a kind.
    fn with_types(mut self, kind: &str, default: Option<&str>) -> Self {
        self.types = plugins(kind);
        let names: Vec<_> = self.types.iter().map(|plugin| format!("\"{}\"", plugin.name)).collect();
        let key = Key {
            name: "type".to_owned(),
            kind: names.join(" | "),
            default: default.map(Into::into),
            doc: "Which type it is; the keys of the type stand beside this one.".to_owned(),
            choices: Vec::new(),
            required: default.is_none(),
        };
        self.keys.insert(0, key);
        self
    }

    /// The heading without brackets.
    pub(crate) fn name(&self) -> &'static str {
        self.heading.trim_matches(['[', ']'])
    }

    fn contents_line(&self) -> String {
        let link = |plugin: &&Plugin| format!(" [`{0}`](#type--{0})", plugin.name);
        let types = self.types.iter().map(link).collect::<Vec<_>>().join(",");
        let types = if types.is_empty() { types } else { format!(" Types:{types}.") };
        format!("- [`{}`](#{}): {}{types}\n", self.heading, self.name(), first_paragraph(&self.doc))
    }

    fn page(&self) -> String {
        let types = self.types.iter().map(|plugin| type_page(plugin)).collect::<String>();
        format!("\n## `{}`\n\n{}\n\n{}{types}", self.heading, self.doc, markdown_table(&self.keys))
    }
}

fn type_page(plugin: &Plugin) -> String {
    let schema = (plugin.schema)();
    let table = markdown_table(&keys(&schema));
    let table = if table.is_empty() { "It has no keys of its own.\n".to_owned() } else { table };
    format!("\n### `type = \"{}\"`\n\n{}\n\n{table}", plugin.name, summary(&schema))
}

/// The first paragraph of a doc comment in one line.
pub(crate) fn first_paragraph(doc: &str) -> String {
    doc.split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use polytask_trainer::SECTIONS;

    use super::*;

    /// Types that are no longer linked would be missing from every program.
    #[test]
    fn all_plugins_are_linked() {
        let names = |kind| plugins(kind).iter().map(|plugin| plugin.name).collect::<Vec<_>>();
        assert_eq!(names("task"), ["classification", "masked_language_model", "ner", "sentiment"]);
        assert_eq!(names("encoder"), ["pretrained", "transformer"]);
        assert_eq!(names("optimizer"), ["adamw", "sgd"]);
        assert_eq!(
            names("sampler"),
            ["proportional", "round_robin", "square_root", "temperature", "uniform"]
        );
    }

    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == reference(),
            "docs/configuration.md is stale: run UPDATE_DOCS=1 cargo test -p polytask-cli"
        );
    }

    #[test]
    fn every_section_stands_on_the_page_with_keys() {
        let page = reference();
        let headings = page.lines().filter_map(|line| line.strip_prefix("## `"));
        let headings: Vec<_> = headings.map(|heading| heading.trim_matches(['[', ']', '`'])).collect();
        assert_eq!(headings, SECTIONS);
        for part in page.split("\n## ").skip(1) {
            assert!(part.contains("| key | type | default | meaning |"), "{part}");
        }
    }
}
