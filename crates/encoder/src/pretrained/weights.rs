//! The tensors of a pretrained model's folder as parameters.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use polytask_tensor::{Tensor, TensorFile};
use serde::Deserialize;

use super::architecture::Architecture;
use super::layout::{self, Entry, Part};
use crate::{Error, Result};

pub(super) const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";

/// All parameters of the encoder in a folder, by their names beneath the encoder.
///
/// # Errors
/// A file or a tensor is missing, damaged, or of another shape or type than the architecture has.
pub(super) fn read(folder: &Path, architecture: &Architecture) -> Result<BTreeMap<String, Tensor>> {
    let source = Source::open(folder)?;
    let entries = layout::entries(architecture);
    let probe = entries.first().map(|entry| entry.parts[0].tensor.as_str()).unwrap_or_default();
    let prefixes = layout::prefixes(architecture.family);
    // Where no prefix leads to a tensor, the error names the plain one.
    let prefix = prefixes.into_iter().find(|prefix| source.holds(&format!("{prefix}{probe}")));
    let prefix = prefix.unwrap_or_default();
    let parameter = |entry: Entry| Ok((entry.name.clone(), source.parameter(&entry, prefix)?));
    entries.into_iter().map(parameter).collect()
}

/// The files that hold the tensors.
struct Source {
    files: Vec<TensorFile>,
}

#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, PathBuf>,
}

impl Source {
    fn open(folder: &Path) -> Result<Self> {
        let (weights, index) = (folder.join(WEIGHTS), folder.join(INDEX));
        if weights.exists() {
            return Ok(Self { files: vec![TensorFile::read(&weights)?] });
        }
        if !index.exists() {
            let hint = match folder.join(PICKLE).exists() {
                true => format!(
                    ", only `{PICKLE}`: pickles run code and are not read; convert them with transformers: \
                     AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER, safe_serialization=True)"
                ),
                false => format!(" and no `{INDEX}`"),
            };
            return Err(Error::MissingFile { folder: folder.into(), missing: WEIGHTS, hint });
        }
        let json = fs::read_to_string(&index).map_err(|source| Error::Io { file: index.clone(), source })?;
        let Index { weight_map } = serde_json::from_str(&json).map_err(|error| Error::Description {
            file: index.clone(),
            message: format!("no index of tensors ({error})"),
        })?;
        let mut names: Vec<PathBuf> = weight_map.into_values().collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Err(Error::Description { file: index, message: "`weight_map` is empty".into() });
        }
        if let Some(name) = names.iter().find(|name| name.file_name() != Some(name.as_os_str())) {
            let message = format!("`{}` is no file of this folder", name.display());
            return Err(Error::Description { file: index, message });
        }
        let files = names.iter().map(|name| TensorFile::read(&folder.join(name)));
        Ok(Self { files: files.collect::<polytask_tensor::Result<_>>()? })
    }

    fn holds(&self, tensor: &str) -> bool {
        self.files.iter().any(|file| file.holds(tensor))
    }

    fn parameter(&self, entry: &Entry, prefix: &str) -> Result<Tensor> {
        let (outputs, inputs) = (entry.outputs(), entry.inputs.unwrap_or(1));
        // Grows by what is there: a size in the description may be a lie.
        let mut values = Vec::new();
        for part in &entry.parts {
            let all = self.values(part, entry.inputs, prefix)?;
            values.extend_from_slice(&all[part.rows.start * inputs..part.rows.end * inputs]);
        }
        let shape = match entry.inputs {
            None => vec![outputs],
            Some(inputs) if entry.is_transposed => vec![inputs, outputs],
            Some(inputs) => vec![outputs, inputs],
        };
        if entry.is_transposed {
            values = transposed(&values, outputs, inputs);
        }
        Ok(Tensor::new(values, &shape)?)
    }

    /// All values of the tensor of a part.
    fn values(&self, part: &Part, inputs: Option<usize>, prefix: &str) -> Result<Vec<f32>> {
        let name = format!("{prefix}{}", part.tensor);
        let name = match (self.holds(&name), of_old(&name)) {
            (false, Some(old)) if self.holds(&old) => old,
            _ => name,
        };
        let shape: Vec<usize> = [part.total].into_iter().chain(inputs).collect();
        // There is a file: `open` found one. Of a tensor that none holds, the first one says so.
        let file = self.files.iter().find(|file| file.holds(&name)).unwrap_or(&self.files[0]);
        Ok(file.values_as_f32(&name, &shape)?)
    }
}

/// What the oldest checkpoints call a norm's gain and bias.
fn of_old(name: &str) -> Option<String> {
    let norm = name.strip_suffix(".weight").map(|norm| (norm, "gamma"));
    let (norm, end) = norm.or(name.strip_suffix(".bias").map(|norm| (norm, "beta")))?;
    norm.ends_with("LayerNorm").then(|| format!("{norm}.{end}"))
}

/// `[rows, columns]` → `[columns, rows]`.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    // Tiles, so that both sides stay near the processor.
    const TILE: usize = 32;
    let mut result = vec![0.0; values.len()];
    for first_row in (0..rows).step_by(TILE) {
        for first_column in (0..columns).step_by(TILE) {
            for row in first_row..rows.min(first_row + TILE) {
                for column in first_column..columns.min(first_column + TILE) {
                    result[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    result
}
