//! The state of training as one file, written in one step.
//!
//! A safetensors file: `parameters.*`, `average.*` and `optimizer.{slot}.*` as tensors, counts and configuration as JSON
//! in its header.

use std::path::Path;

use polytask_model::write_atomically;
use polytask_tensor::{Parameters, Tensor, TensorFile, write_tensors};
use serde::{Deserialize, Serialize};

use crate::{Error, Progress, Result, Trainer};

/// The key of the JSON in the file's header.
const STATE: &str = "polytask";

#[derive(Serialize, Deserialize)]
struct State<'a> {
    configuration: std::borrow::Cow<'a, str>,
    progress: std::borrow::Cow<'a, Progress>,
}

/// Writes the state of a run; a reader sees the old file or the new one, whole.
pub(crate) fn write(trainer: &Trainer, file: &Path) -> Result<()> {
    let state = State {
        configuration: trainer.configuration.as_str().into(),
        progress: std::borrow::Cow::Borrowed(&trainer.progress),
    };
    let state = serde_json::to_string(&state).map_err(|error| damaged(file, error))?;
    let parameters = trainer.model().parameters();
    let mut tensors = named("parameters", parameters);
    tensors.extend(trainer.average.iter().flat_map(|average| named("average", average)));
    for ((_, parameter), slots) in parameters.iter().zip(&trainer.optimizer_state.slots) {
        for (slot, values) in trainer.prepared.optimizer.slots().iter().zip(slots) {
            let tensor = Tensor::new(values.clone(), parameter.tensor().shape())?;
            tensors.push((format!("optimizer.{slot}.{}", parameter.name), tensor));
        }
    }
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let write = |path: &Path| Ok(write_tensors(path, views, &[(STATE, &state)])?);
    Ok(write_atomically(file, write)?)
}

fn named(prefix: &str, parameters: &Parameters) -> Vec<(String, Tensor)> {
    let name = |name: &str| format!("{prefix}.{name}");
    parameters.iter().map(|(_, parameter)| (name(&parameter.name), parameter.tensor().clone())).collect()
}

/// Puts a run where the file left it.
pub(crate) fn read(trainer: &mut Trainer, path: &Path) -> Result<()> {
    if !path.exists() {
        return Err(Error::NoCheckpoint { file: path.into() });
    }
    let file = TensorFile::read(path)?;
    let metadata = file.metadata()?;
    let json = metadata.get(STATE).ok_or_else(|| damaged(path, "its header holds no training state"))?;
    let state: State<'_> = serde_json::from_str(json).map_err(|error| damaged(path, error))?;
    if let Some(difference) = first_difference(&state.configuration, &trainer.configuration) {
        return Err(Error::OtherConfiguration { file: path.into(), difference });
    }
    restore(trainer.prepared.model.parameters_mut(), "parameters", &file)?;
    if let Some(average) = &mut trainer.average {
        restore(average, "average", &file)?;
    }
    let names = trainer.prepared.optimizer.slots();
    for ((_, parameter), slots) in
        trainer.prepared.model.parameters().iter().zip(&mut trainer.optimizer_state.slots)
    {
        for (name, values) in names.iter().zip(slots) {
            let name = format!("optimizer.{name}.{}", parameter.name);
            values.copy_from_slice(file.tensor(&name, parameter.tensor().shape())?.data());
        }
    }
    trainer.progress = state.progress.into_owned();
    Ok(())
}

fn restore(parameters: &mut Parameters, prefix: &str, file: &TensorFile) -> Result<()> {
    let places: Vec<_> = parameters.iter().map(|(id, parameter)| (id, parameter.name.clone())).collect();
    for (id, name) in places {
        let saved = file.tensor(&format!("{prefix}.{name}"), parameters.get(id).shape())?;
        parameters.update(id, |values| values.copy_from_slice(saved.data()));
    }
    Ok(())
}

/// The first line in which two configurations differ.
fn first_difference(old: &str, new: &str) -> Option<String> {
    if old == new {
        return None;
    }
    let mut lines = old.lines().zip(new.lines()).enumerate();
    Some(match lines.find(|(_, (old, new))| old != new) {
        Some((number, (old, new))) => {
            format!("line {} was `{}`, now it is `{}`", number + 1, old.trim(), new.trim())
        }
        None => format!("it had {} lines, now it has {}", old.lines().count(), new.lines().count()),
    })
}

/// Writes a value as JSON in one step.
pub(crate) fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value).map_err(|error| damaged(file, error))?;
    write_text(file, &json)
}

/// Writes a text in one step.
pub(crate) fn write_text(file: &Path, text: &str) -> Result<()> {
    let write = |path: &Path| {
        std::fs::write(path, text).map_err(|source| polytask_model::Error::Io { file: path.into(), source })
    };
    Ok(write_atomically(file, write)?)
}

fn damaged(file: &Path, message: impl ToString) -> Error {
    Error::Checkpoint { file: file.into(), message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb", "a\nb"), None);
        assert_eq!(
            first_difference("a\nb = 1", "a\nb = 2").unwrap(),
            "line 2 was `b = 1`, now it is `b = 2`"
        );
        assert_eq!(first_difference("a", "a\nb").unwrap(), "it had 1 lines, now it has 2");
    }
}
