//! A trained model and a configuration of further tasks: ready to train those alone.

use std::path::Path;

use polytask_data::{DataSet, Row};
use polytask_model::{Adapter, Example, Model, prepare as prepare_rows};

use crate::{Config, Error, FineTuning, Prepared, PreparedSet, Result, fit_task, read_data};

/// Reads the data of further tasks (relative paths start at `base`), fits them and puts them behind those of a trained model.
/// Encoder, tokenizer and task attention are the model's; where the configuration has adapters, each further task gets one of
/// its own. All else keeps its values.
///
/// # Errors
/// A task has the name of one of the model's, or whatever [`prepare`](crate::prepare) refuses.
pub fn prepare_added_tasks(model: &Model, mut config: Config, base: &Path) -> Result<Prepared> {
    if model.is_quantized() {
        return Err(Error::Quantized);
    }
    let names: Vec<String> = config.model.task_names().map(str::to_owned).collect();
    names.iter().try_for_each(|name| check_name(model, name))?;
    let sets = read_data(&config, base)?;
    config.model.tasks.iter_mut().try_for_each(|task| fit_task(task, &sets))?;
    let known = model.config().tasks.len();
    let examples = |set: &DataSet, rows: &[Row]| -> Result<Vec<Example>> {
        let mut examples = prepare_rows(&config.model, model.tokenizer(), &set.name, rows)?;
        // The model's own tasks learn nothing of it.
        examples.iter_mut().for_each(|example| {
            example.targets.splice(0..0, (0..known).map(|_| None));
        });
        Ok(examples)
    };
    let ready = |set: &DataSet| {
        let (train, dev) = (examples(set, &set.train)?, examples(set, &set.dev)?);
        Ok(PreparedSet { name: set.name.clone(), train, dev })
    };
    let prepared = sets.iter().map(ready).collect::<Result<Vec<_>>>()?;
    let adapters = own_adapters(&config, &names);
    let mut model = model.with_tasks(config.model.tasks, adapters, config.trainer.seed)?;
    let fine_tuning = FineTuning { only_tasks: Some(names), ..config.fine_tuning };
    fine_tuning.set_trained(model.parameters_mut(), 0);
    let Config { sampler, optimizer, trainer: settings, .. } = config;
    Ok(Prepared { model, sets: prepared, sampler, optimizer, settings, fine_tuning })
}

fn check_name(model: &Model, name: &str) -> Result<()> {
    let is_taken = |name: &str| model.config().task_names().any(|known| known == name);
    if !is_taken(name) {
        return Ok(());
    }
    let suggestion = (2..).map(|number| format!("{name}_{number}")).find(|name| !is_taken(name));
    Err(Error::TaskExists { name: name.into(), suggestion: suggestion.unwrap_or_default() })
}

/// Adapters that tasks were to share would be shared with the model's own tasks: each gets its own instead.
fn own_adapters(config: &Config, names: &[String]) -> Vec<Adapter> {
    let sizes = config.model.adapters.first().map(|adapter| &adapter.config);
    let of_task = |name: &String| Some(Adapter { task: Some(name.clone()), config: sizes?.clone() });
    names.iter().filter_map(of_task).collect()
}
