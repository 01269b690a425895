//! `docs/configuration.md`, out of the doc comments of the configuration structs.

use polytask_config::schemars::{JsonSchema, schema_for};
use polytask_config::{Plugin, markdown_table, plugins, summary};
use polytask_data::{DataConfig, TokenizerConfig};
use polytask_model::TaskAttentionConfig;
use polytask_task::TaskSettings;
use polytask_trainer::{DEFAULT_ENCODER, DEFAULT_OPTIMIZER, DEFAULT_SAMPLER, SECTIONS, TrainerSettings};

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
nothing; `polytask tasks TYPE` prints what stands here of one type.

Every key can be set on the command line too: `--set trainer.epochs=3`, `--set encoder.width=64`. An element of a list is
chosen by its name: `--set tasks.mood.weight=2`, `--set data.reviews.max_rows=100`. What is no TOML value is taken as a
string, so `--set optimizer.type=adamw` needs no quotes.
";

/// The reference of the configuration as Markdown: every section and every type that is linked into this program.
pub fn reference() -> String {
    let sections = SECTIONS.iter().map(|section| match *section {
        "encoder" => {
            with_types("[encoder]", "The text encoder that all tasks share.", "encoder", DEFAULT_ENCODER)
        }
        "tokenizer" => of_struct::<TokenizerConfig>("[tokenizer]"),
        "task_attention" => of_struct::<TaskAttentionConfig>("[task_attention]"),
        "data" => of_struct::<DataConfig>("[[data]]"),
        "tasks" => of_struct::<TaskSettings>("[[tasks]]") + &types("task"),
        "sampler" => {
            let doc = "From which data set each batch comes, where there are several.";
            with_types("[sampler]", doc, "sampler", DEFAULT_SAMPLER)
        }
        "optimizer" => {
            let doc = "What a gradient does to a parameter.";
            with_types("[optimizer]", doc, "optimizer", DEFAULT_OPTIMIZER)
        }
        "trainer" => of_struct::<TrainerSettings>("[trainer]"),
        other => format!("\n## `[{other}]`\n"),
    });
    INTRODUCTION.to_owned() + &sections.collect::<String>()
}

fn of_struct<T: JsonSchema>(heading: &str) -> String {
    let schema = schema_for!(T);
    format!("\n## `{heading}`\n\n{}\n\n{}", summary(&schema), markdown_table(&schema))
}

fn with_types(heading: &str, doc: &str, kind: &str, default: &str) -> String {
    format!("\n## `{heading}`\n\n{doc} Without `type` it is `{default}`.\n{}", types(kind))
}

fn types(kind: &str) -> String {
    let of_type = |plugin: &&Plugin| {
        let schema = (plugin.schema)();
        let table = markdown_table(&schema);
        let table = if table.is_empty() { "It has no keys of its own.\n".to_owned() } else { table };
        format!("\n### `type = \"{}\"`\n\n{}\n\n{table}", plugin.name, summary(&schema))
    };
    plugins(kind).iter().map(of_type).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types that are no longer linked would be missing from every program.
    #[test]
    fn all_plugins_are_linked() {
        let names = |kind| plugins(kind).iter().map(|plugin| plugin.name).collect::<Vec<_>>();
        assert_eq!(names("task"), ["classification", "ner", "sentiment"]);
        assert_eq!(names("encoder"), ["transformer"]);
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
