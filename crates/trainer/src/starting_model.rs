//! An encoder that starts as that of a trained model.

use std::collections::BTreeMap;

use polytask_data::Tokenizer;
use polytask_encoder::EncoderConfig;
use polytask_model::{Model, ModelFolder};
use polytask_tensor::Tensor;
use serde_json::Value;

use crate::Result;

/// The keys by which the encoder was asked for; all others are for the encoder that it becomes.
const OWN_KEYS: [&str; 3] = ["type", "path", "architecture"];

/// Puts the encoder of a model folder in the place of the one that names it, and returns its tokenizer and its parameters by
/// their full names, adapters merged into them. Keys set beside the path, such as `dropout`, stay set.
///
/// # Errors
/// The folder holds no model, its adapters cannot be merged, or its encoder does not have such a key.
pub(crate) fn start_from(
    encoder: &mut Box<dyn EncoderConfig>,
    folder: &ModelFolder,
) -> Result<(Tokenizer, BTreeMap<String, Tensor>)> {
    let model = folder.load()?.without_adapters()?;
    let merged =
        with_keys_of(encoder.as_ref(), &model).map_err(|error| polytask_encoder::Error::Description {
            file: folder.model(),
            message: format!("its encoder does not take what [encoder] sets beside `path`: {error}"),
        })?;
    *encoder = merged;
    let parameters = model.parameters().iter().map(|(_, parameter)| parameter);
    // As plain numbers: the run has a precision of its own.
    let parameter = |parameter: &polytask_tensor::Parameter| {
        let values = parameter.tensor();
        Ok((parameter.name.clone(), Tensor::new(values.data().to_vec(), values.shape())?))
    };
    let of_encoder = parameters.filter(|parameter| parameter.name.starts_with("encoder."));
    Ok((model.tokenizer().clone(), of_encoder.map(parameter).collect::<Result<_>>()?))
}

fn with_keys_of(encoder: &dyn EncoderConfig, model: &Model) -> serde_json::Result<Box<dyn EncoderConfig>> {
    let (mut merged, set) = (serde_json::to_value(&model.config().encoder)?, serde_json::to_value(encoder)?);
    for (key, value) in set.as_object().into_iter().flatten() {
        // What is off need not be known.
        if !OWN_KEYS.contains(&key.as_str()) && *value != Value::Bool(false) {
            merged[key] = value.clone();
        }
    }
    serde_json::from_value(merged)
}
