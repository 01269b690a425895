//! From a configuration to data that is ready and tasks that are fitted.

use std::collections::BTreeMap;
use std::path::Path;

use polytask_data::{BatchLimits, DataConfig, DataSet, Label, Row, Sampler, Step, Tokenizer, plan_epoch};
use polytask_hub::Progress as Download;
use polytask_model::{Example, Model, ModelFolder, ModelTask, prepare as prepare_rows};
use polytask_task::Text;
use polytask_tensor::Tensor;

use crate::starting_model::start_from;
use crate::{Config, Error, FineTuning, Optimizer, Result, TrainerSettings};

/// A training run, ready to start.
#[derive(Debug)]
pub struct Prepared {
    /// The model, freshly drawn.
    pub model: Model,
    /// The data sets, in the order of the configuration.
    pub sets: Vec<PreparedSet>,
    /// From which data set each batch comes.
    pub sampler: Box<dyn Sampler>,
    /// What a gradient does to a parameter.
    pub optimizer: Box<dyn Optimizer>,
    /// `[trainer]`.
    pub settings: TrainerSettings,
    /// `[fine_tuning]`.
    pub fine_tuning: FineTuning,
}

impl Prepared {
    /// The batches of an epoch, from 0: a function of the seed and of its number.
    ///
    /// # Errors
    /// The sampler names a data set without batches.
    pub fn plan(&self, epoch: u64) -> Result<Vec<Step>> {
        let lengths = |set: &PreparedSet| set.train.iter().map(|example| example.encoded.pieces()).collect();
        let lengths: Vec<Vec<usize>> = self.sets.iter().map(lengths).collect();
        let limits = BatchLimits { texts: self.settings.batch_size, tokens: self.settings.batch_tokens };
        Ok(plan_epoch(&lengths, limits, self.sampler.as_ref(), self.settings.seed, epoch)?)
    }
}

/// The texts of one data set.
#[derive(Debug)]
pub struct PreparedSet {
    /// Its name.
    pub name: String,
    /// What is trained on.
    pub train: Vec<Example>,
    /// What is measured on.
    pub dev: Vec<Example>,
}

/// Reads all data (relative paths start at `base`) and prepares it. `download` hears of a pretrained encoder that comes from
/// elsewhere.
///
/// # Errors
/// A file, a label or a task that cannot be used, with its place.
pub fn prepare(config: Config, base: &Path, download: &mut dyn Download) -> Result<Prepared> {
    let sets = read_data(&config, base)?;
    prepare_data(config, &sets, base, download)
}

/// Reads all data sets with the label columns of the tasks; relative paths start at `base`.
///
/// # Errors
/// A file or a row that cannot be read, with its place.
pub fn read_data(config: &Config, base: &Path) -> Result<Vec<DataSet>> {
    let read = |data: &DataConfig| DataSet::read(data, base, &config.columns(&data.name));
    Ok(config.data.iter().map(read).collect::<polytask_data::Result<_>>()?)
}

/// Fits the tasks to the training labels, trains or reads the tokenizer, turns all rows into examples, and draws the
/// model.
///
/// # Errors
/// A label or a task that cannot be used, with its place.
pub fn prepare_data(
    mut config: Config,
    sets: &[DataSet],
    base: &Path,
    download: &mut dyn Download,
) -> Result<Prepared> {
    config.model.tasks.iter_mut().try_for_each(|task| fit_task(task, sets))?;
    let (tokenizer, weights) = tokenizer_and_weights(&mut config, sets, base, download)?;
    if weights.is_empty() && !config.model.adapters.is_empty() {
        return Err(Error::NothingToAdapt);
    }
    let ready = |set: &DataSet| -> Result<PreparedSet> {
        let examples = |rows: &[Row]| prepare_rows(&config.model, &tokenizer, &set.name, rows);
        Ok(PreparedSet { name: set.name.clone(), train: examples(&set.train)?, dev: examples(&set.dev)? })
    };
    let prepared = sets.iter().map(ready).collect::<Result<Vec<_>>>()?;
    let mut model = Model::starting_from(config.model, tokenizer, &weights, config.trainer.seed)?;
    let Config { sampler, optimizer, trainer: settings, fine_tuning, .. } = config;
    fine_tuning.set_trained(model.parameters_mut(), 0);
    Ok(Prepared { model, sets: prepared, sampler, optimizer, settings, fine_tuning })
}

/// What a pretrained encoder brings, its parameters by their names; or a tokenizer of the data's own words.
fn tokenizer_and_weights(
    config: &mut Config,
    sets: &[DataSet],
    base: &Path,
    download: &mut dyn Download,
) -> Result<(Tokenizer, BTreeMap<String, Tensor>)> {
    let encoder = &mut config.model.encoder;
    let Some(source) = encoder.source() else {
        let words = sets.iter().flat_map(|set| &set.train).flat_map(Row::word_texts);
        return Ok((Tokenizer::new(&config.tokenizer, base, words)?, BTreeMap::new()));
    };
    let folder = polytask_hub::locate(source, base, download)?;
    let model = ModelFolder::new(&folder);
    if model.model().exists() {
        let (tokenizer, weights) = start_from(encoder, &model)?;
        let max_tokens = config.tokenizer.max_tokens.min(tokenizer.max_tokens());
        return Ok((tokenizer.with_max_tokens(max_tokens)?, weights));
    }
    let weights = encoder.load(&folder)?;
    let max_tokens = config.tokenizer.max_tokens.min(encoder.max_tokens().unwrap_or(usize::MAX));
    let tokenizer = Tokenizer::from_pretrained(&folder, max_tokens)?;
    Ok((tokenizer, weights.into_iter().map(|(name, values)| (format!("encoder.{name}"), values)).collect()))
}

/// Lets a task learn from the training labels what it must know, such as its classes.
///
/// # Errors
/// A task without a label in one of its data sets, or one that cannot learn from its labels.
pub fn fit_task(task: &mut ModelTask, sets: &[DataSet]) -> Result<()> {
    let mut labelled: Vec<(&Label, &Row)> = Vec::new();
    for set in sets {
        let Some(column) = task.settings.label.column(&set.name) else { continue };
        let before = labelled.len();
        labelled.extend(set.train.iter().filter_map(|row| Some((row.labels.get(column)?, row))));
        if labelled.len() == before {
            return Err(Error::NoLabels {
                data_set: set.name.clone(),
                task: task.settings.name.clone(),
                column: column.into(),
                rows: set.train.len(),
            });
        }
    }
    let labels: Vec<(&Label, Text<'_>)> = labelled.iter().map(|&(label, row)| (label, row.into())).collect();
    task.task.fit(&labels).map_err(|source| fit_error(task, &labelled, source))
}

/// A label of the wrong form has a place; that all are of one class, say, has none.
fn fit_error(task: &ModelTask, labelled: &[(&Label, &Row)], source: anyhow::Error) -> Error {
    let reason = source.to_string();
    let is_refused = |(label, row): &&(&Label, &Row)| {
        task.task.target(label, Text::from(*row)).is_err_and(|error| error.to_string() == reason)
    };
    let task_name = task.settings.name.clone();
    match labelled.iter().find(is_refused) {
        Some((_, row)) => {
            polytask_model::Error::Label { place: row.place.clone(), task: task_name, source }.into()
        }
        None => Error::Fit { task: task_name, source },
    }
}

#[cfg(test)]
mod tests {
    use polytask_data::Place;
    use polytask_ner::Ner;
    use polytask_task::{Labels, TaskSettings};

    use super::*;

    fn refusal(labels: &[Label]) -> String {
        let row = |(index, label): (usize, &Label)| {
            let mut row = Row::from_text("a few words", Place::new("news.jsonl", index + 1));
            row.labels.insert("tags".into(), label.clone());
            row
        };
        let train = labels.iter().enumerate().map(row).collect();
        let set = DataSet { name: "news".into(), train, dev: Vec::new() };
        let settings =
            TaskSettings { name: "entities".into(), label: Labels::One("news.tags".into()), weight: 1.0 };
        let mut task = ModelTask { settings, task: Box::new(Ner::default()) };
        fit_task(&mut task, &[set]).unwrap_err().to_string()
    }

    #[test]
    fn where_every_label_has_the_wrong_form_the_first_is_named() {
        let message = refusal(&[Label::Number(3.0), Label::Number(4.0)]);
        assert!(message.starts_with("news.jsonl:1: task `entities`: expected a list of tags"), "{message}");
        assert!(message.ends_with("found the number 3"), "{message}");
    }

    #[test]
    fn what_is_wrong_with_all_labels_together_has_no_place() {
        let outside = Label::List(vec!["O".into(); 3]);
        let message = refusal(&[outside.clone(), outside]);
        assert_eq!(message, "task `entities`: no entity in 2 labelled texts: every tag is `O`");
    }
}
