//! The state of training as one file, written in one step.
//!
//! A safetensors file: `parameters.*`, `average.*` and `optimizer.{slot}.*` as tensors, counts and configuration as JSON
//! in its header.

use std::borrow::Cow;
use std::path::Path;

use polytask_config::Document;
use polytask_model::{write_atomically, write_file};
use polytask_tensor::{Parameters, TensorFile, TensorValues, write_tensors};
use serde::{Deserialize, Serialize};

use crate::difference::first_difference;
use crate::{Error, Progress, Result, Trainer};

/// The key of the JSON in the file's header.
const STATE: &str = "polytask";

#[derive(Serialize, Deserialize)]
struct State<'a> {
    configuration: Cow<'a, str>,
    /// The fingerprint of the data.
    data: u64,
    /// The steps in which each parameter was frozen.
    frozen_steps: Cow<'a, [u64]>,
    progress: Cow<'a, Progress>,
}

/// Writes the state of a run; a reader sees the old file or the new one, whole.
pub(crate) fn write(trainer: &Trainer, file: &Path) -> Result<()> {
    let state = State {
        configuration: trainer.configuration.as_str().into(),
        data: trainer.fingerprint,
        frozen_steps: trainer.optimizer_state.frozen_steps.as_slice().into(),
        progress: Cow::Borrowed(&trainer.progress),
    };
    let state = serde_json::to_string(&state).map_err(|error| damaged(file, error))?;
    let parameters = trainer.model().parameters();
    let mut tensors = named("parameters", parameters);
    tensors.extend(trainer.average.iter().flat_map(|average| named("average", average)));
    for (slot, kept) in trainer.prepared.optimizer.slots().iter().zip(&trainer.optimizer_state.slots) {
        tensors.extend(named(&format!("optimizer.{slot}"), kept));
    }
    parameters.synchronize()?;
    let write = |path: &Path| Ok(write_tensors(path, tensors, &[(STATE, &state)])?);
    Ok(write_atomically(file, write)?)
}

/// All that have values.
fn named<'a>(prefix: &str, parameters: &'a Parameters) -> Vec<(String, TensorValues<'a>)> {
    let entry = |parameter: &'a polytask_tensor::Parameter| {
        let (shape, values) = (parameter.tensor().shape(), parameter.tensor().data());
        (format!("{prefix}.{}", parameter.name), TensorValues { shape, values })
    };
    let with_values = parameters.iter().filter(|(_, parameter)| !parameter.tensor().is_empty());
    with_values.map(|(_, parameter)| entry(parameter)).collect()
}

/// Puts a run where the file left it.
pub(crate) fn read(trainer: &mut Trainer, path: &Path) -> Result<()> {
    if !path.exists() {
        return Err(Error::NoCheckpoint { file: path.into() });
    }
    let file = TensorFile::read(path)?;
    let json = file.text(STATE).ok_or_else(|| damaged(path, "its header holds no training state"))?;
    let state: State<'_> = serde_json::from_str(json).map_err(|error| damaged(path, error))?;
    let old = Document::parse(&path.display().to_string(), &state.configuration)?;
    let new = Document::parse("the configuration", &trainer.configuration)?;
    if let Some(difference) = first_difference(old.values(), new.values()) {
        return Err(Error::OtherConfiguration { file: path.into(), difference });
    }
    if state.data != trainer.fingerprint {
        return Err(Error::OtherData { file: path.into() });
    }
    restore(trainer.prepared.model.parameters_mut(), "parameters", &file)?;
    if let Some(average) = &mut trainer.average {
        restore(average, "average", &file)?;
    }
    for (slot, kept) in trainer.prepared.optimizer.slots().iter().zip(&mut trainer.optimizer_state.slots) {
        restore(kept, &format!("optimizer.{slot}"), &file)?;
    }
    if state.frozen_steps.len() != trainer.optimizer_state.frozen_steps.len() {
        return Err(damaged(path, "its counts of steps are those of other parameters"));
    }
    trainer.optimizer_state.frozen_steps = state.frozen_steps.into_owned();
    trainer.progress = state.progress.into_owned();
    Ok(())
}

fn restore(parameters: &mut Parameters, prefix: &str, file: &TensorFile) -> Result<()> {
    let with_values = parameters.iter().filter(|(_, parameter)| !parameter.tensor().is_empty());
    let places: Vec<_> = with_values.map(|(id, parameter)| (id, parameter.name.clone())).collect();
    for (id, name) in places {
        let saved = file.tensor(&format!("{prefix}.{name}"), parameters.get(id).shape())?;
        parameters.update(id, |values| values.copy_from_slice(saved.data()));
    }
    Ok(())
}

/// Writes a value as JSON in one step.
pub(crate) fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value).map_err(|error| damaged(file, error))?;
    Ok(write_file(file, json.as_bytes())?)
}

fn damaged(file: &Path, message: impl ToString) -> Error {
    Error::Checkpoint { file: file.into(), message: message.to_string() }
}
