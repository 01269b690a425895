//! Rows made ready: tokenized, and each label a target.

use polytask_data::{Encoded, Row, Tokenizer};
use polytask_task::{Level, Target};

use crate::{Error, ModelConfig, Result};

/// One text as the model trains on it and is measured on it.
#[derive(Clone, Debug)]
pub struct Example {
    /// The text's pieces, words and word shapes.
    pub encoded: Encoded,
    /// One for each task; `None` where the row has no label for it.
    pub targets: Vec<Option<Target>>,
}

/// Tokenizes the rows of one data set and turns their labels into targets.
///
/// Words beyond the tokenizer's limit are cut off; their tags are neither trained on nor measured.
///
/// # Errors
/// A label that its task refuses, with the file and line.
pub fn prepare(
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    data_set: &str,
    rows: &[Row],
) -> Result<Vec<Example>> {
    let columns: Vec<Option<&str>> =
        config.tasks.iter().map(|task| task.settings.label.column(data_set)).collect();
    let encoded = tokenizer.encode_rows(rows)?;
    let example = |(row, encoded): (&Row, Encoded)| {
        let target = |(task, column): (&crate::ModelTask, &Option<&str>)| -> Result<Option<Target>> {
            let Some(label) = column.and_then(|column| row.labels.get(column)) else {
                return Ok(None);
            };
            let target = task.task.target(label, row.into()).map_err(|source| Error::Label {
                place: row.place.clone(),
                task: task.settings.name.clone(),
                source,
            })?;
            Ok(Some(match task.task.level() {
                Level::Text => target,
                Level::Word => cut(target, encoded.words(), encoded.truncated_words),
            }))
        };
        let targets = config.tasks.iter().zip(&columns).map(target).collect::<Result<_>>()?;
        Ok(Example { encoded, targets })
    };
    rows.iter().zip(encoded).map(example).collect()
}

/// A word-level target without the words that were cut off; a word may have several values.
fn cut(target: Target, words: usize, truncated: usize) -> Target {
    let keep = |values: usize| values / (words + truncated).max(1) * words;
    match target {
        Target::Ids(mut ids) => {
            ids.truncate(keep(ids.len()));
            Target::Ids(ids)
        }
        Target::Values(mut values) => {
            values.truncate(keep(values.len()));
            Target::Values(values)
        }
    }
}
