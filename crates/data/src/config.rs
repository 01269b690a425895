//! The `[[data]]` table.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A data set: files of texts with labels.
///
/// Relative paths start at the folder of the configuration file. The columns that hold labels are named
/// by the tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The name that tasks and reports use for this data set.
    pub name: String,
    /// The file, or list of files, to train on.
    pub train: Paths,
    /// The file, or list of files, to measure on while training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<Paths>,
    /// Instead of `dev`: the share of the rows, from the end of the training files, that is held out to
    /// measure on; between 0 and 1, for example 0.1. A file that is sorted, by class say, must be shuffled first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub dev_fraction: Option<f64>,
    /// The column of the text, split into words by Unicode word boundaries. Without `text` and `tokens`:
    /// `text = "text"`, and for CoNLL files `tokens = "tokens"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Instead of `text`: the column of a text that is split into words already. In JSON a list of
    /// strings, in CSV, TSV and plain text words split by white space, in CoNLL a column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
    /// The format of the files. Without it, the ending of each file decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// CoNLL: the names of all columns, from the left; by default `["tokens", "tags"]`.
    #[serde(default = "conll_columns", skip_serializing_if = "is_conll_columns")]
    pub columns: Vec<String>,
    /// CSV and TSV: the character between two fields; by default a comma, and a tab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// CSV and TSV: whether `"` encloses fields; by default true for CSV and false for TSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoting: Option<bool>,
    /// Reads at most so many rows of each file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_rows: Option<usize>,
}

fn conll_columns() -> Vec<String> {
    ["tokens", "tags"].map(String::from).to_vec()
}

fn is_conll_columns(columns: &[String]) -> bool {
    columns == conll_columns()
}

impl DataConfig {
    /// The data set of this name.
    ///
    /// # Errors
    /// There is none; the message lists those that exist and the nearest.
    pub fn named<'a>(data: &'a [DataConfig], name: &str) -> Result<&'a DataConfig> {
        data.iter().find(|set| set.name == name).ok_or_else(|| Error::UnknownDataSet {
            name: name.into(),
            known: data.iter().map(|set| set.name.clone()).collect(),
        })
    }

    /// The names of the CoNLL columns; an empty list counts as the default one.
    pub(crate) fn conll_columns(&self) -> Vec<String> {
        if self.columns.is_empty() { conll_columns() } else { self.columns.clone() }
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::Config { data_set: self.name.clone(), message: message.into() }
    }
}

/// A path or a list of paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
pub enum Paths {
    /// One file.
    One(PathBuf),
    /// Several files, read one after the other.
    Many(Vec<PathBuf>),
}

impl Default for Paths {
    fn default() -> Paths {
        Paths::Many(Vec::new())
    }
}

impl Paths {
    /// The paths in order.
    pub fn as_slice(&self) -> &[PathBuf] {
        match self {
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Many(paths) => paths,
        }
    }
}

/// The format of a file of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON lines: one object a line (`.jsonl`, `.ndjson`, `.json-lines`).
    Jsonl,
    /// Fields split by commas, the first line names the columns (`.csv`).
    Csv,
    /// Fields split by tabs, the first line names the columns (`.tsv`).
    Tsv,
    /// One word a line with its columns, a blank line between texts (`.conll`, `.iob`, `.bio`).
    Conll,
    /// One text a line and nothing else (`.txt`).
    Text,
}

impl Format {
    /// The format that the configuration names, else the one that belongs to the file's ending.
    pub(crate) fn of(path: &Path, config: &DataConfig) -> Result<Format> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match (config.format, ending.as_deref()) {
            (Some(format), _) => Ok(format),
            (None, Some("jsonl" | "ndjson" | "json-lines")) => Ok(Format::Jsonl),
            (None, Some("csv")) => Ok(Format::Csv),
            (None, Some("tsv")) => Ok(Format::Tsv),
            (None, Some("conll" | "iob" | "bio")) => Ok(Format::Conll),
            (None, Some("txt")) => Ok(Format::Text),
            (None, _) => Err(Error::UnknownExtension { path: path.to_path_buf() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_needs_a_name_and_training_files_only() {
        let config: DataConfig = toml::from_str("name = 'a'\ntrain = 'a.csv'").unwrap();
        let rust = DataConfig {
            name: "a".into(),
            train: Paths::One("a.csv".into()),
            columns: conll_columns(),
            ..DataConfig::default()
        };
        assert_eq!(config, rust);
        assert_eq!(toml::to_string(&config).unwrap(), "name = \"a\"\ntrain = \"a.csv\"\n");
    }

    #[test]
    fn a_list_of_files_and_a_wrong_kind() {
        let config: DataConfig = toml::from_str("name = 'a'\ntrain = ['a.csv', 'b.csv']").unwrap();
        assert_eq!(config.train.as_slice().len(), 2);
        let error = toml::from_str::<DataConfig>("name = 'a'\ntrain = 3").unwrap_err();
        assert!(error.message().contains("expected a path or a list of paths"), "{error}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = toml::from_str::<DataConfig>("name = 'a'\ntrain = 'a.csv'\ntex = 'b'").unwrap_err();
        assert!(error.message().contains("unknown field `tex`"), "{error}");
    }
}
