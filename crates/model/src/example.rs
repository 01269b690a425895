//! Rows made ready: tokenized, and each label a target.

use polytask_data::{Encoded, PackedBatch, Row, Tokenizer};
use polytask_task::{Level, Target};

use crate::{Error, Model, ModelConfig, Result};

/// One text as the model trains on it and is measured on it.
#[derive(Clone, Debug)]
pub struct Example {
    /// The text's pieces, words and word shapes.
    pub encoded: Encoded,
    /// One for each task; `None` where the row has no label for it. A task that needs no labels has an empty one.
    pub targets: Vec<Option<Target>>,
}

/// The texts of some examples as one batch, in their order.
pub fn pack<'a>(examples: impl IntoIterator<Item = &'a Example>) -> PackedBatch {
    PackedBatch::pack(&examples.into_iter().map(|example| &example.encoded).collect::<Vec<_>>())
}

/// Some examples as the model reads them in one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledBatch {
    /// Their texts, in their order.
    pub texts: PackedBatch,
    /// For each task the places of those that have a label for it.
    pub labelled: Vec<Vec<usize>>,
    /// For each task the targets of these, in the same order.
    pub targets: Vec<Vec<Target>>,
}

impl Model {
    /// Some examples as [`forward`](Model::forward) reads them.
    pub fn labelled_batch(&self, examples: &[&Example]) -> LabelledBatch {
        let tasks = 0..self.config().tasks.len();
        let labels_of = |task: usize| {
            let places = examples.iter().enumerate();
            places.filter_map(|(place, example)| Some((place, example.targets[task].clone()?))).unzip()
        };
        let (labelled, targets) = tasks.map(labels_of).unzip();
        LabelledBatch { texts: pack(examples.iter().copied()), labelled, targets }
    }
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
            if !task.task.level().needs_labels() {
                return Ok(task.settings.label.names(data_set).then(|| Target::Values(Vec::new())));
            }
            let Some(label) = column.and_then(|column| row.labels.get(column)) else {
                return Ok(None);
            };
            let target = task.task.target(label, row.into()).and_then(|target| match task.task.level() {
                Level::Text | Level::Piece => Ok(target),
                Level::Word => cut(target, encoded.words(), encoded.truncated_words),
            });
            let refused = |source| {
                let (place, task) = (row.place.clone(), task.settings.name.clone());
                Error::Label { place, task, source }
            };
            target.map(Some).map_err(refused)
        };
        let targets = config.tasks.iter().zip(&columns).map(target).collect::<Result<_>>()?;
        Ok(Example { encoded, targets })
    };
    rows.iter().zip(encoded).map(example).collect()
}

/// A word-level target without the words that were cut off; a word may have several values.
fn cut(mut target: Target, words: usize, truncated: usize) -> anyhow::Result<Target> {
    if truncated == 0 {
        return Ok(target);
    }
    let all = words + truncated;
    let keep = |values: usize| {
        anyhow::ensure!(values.is_multiple_of(all), "{values} values for {all} words cannot be cut off");
        Ok(values / all * words)
    };
    match &mut target {
        Target::Ids(ids) => ids.truncate(keep(ids.len())?),
        Target::Values(values) => values.truncate(keep(values.len())?),
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_words_that_were_cut_off_are_cut_off() {
        let ids = Target::Ids(vec![1, 2, 3]);
        assert_eq!(cut(ids.clone(), 2, 1).unwrap(), Target::Ids(vec![1, 2]));
        assert_eq!(cut(ids.clone(), 3, 0).unwrap(), ids);
        let pairs = Target::Values(vec![0.0, 0.1, 1.0, 1.1, 2.0, 2.1]);
        assert_eq!(cut(pairs, 1, 2).unwrap(), Target::Values(vec![0.0, 0.1]));
        let message = cut(ids, 2, 2).unwrap_err().to_string();
        assert_eq!(message, "3 values for 4 words cannot be cut off");
    }
}
