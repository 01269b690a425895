//! Which files a model is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::name::is_part;
use crate::{Error, Result};

pub(crate) const CONFIG: &str = "config.json";
/// What says how to use the tokenizer, where a repository has it.
pub(crate) const OPTIONAL: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];
/// The tokenizer: the first of these that a repository has.
pub(crate) const TOKENIZERS: [&str; 2] = ["tokenizer.json", "vocab.txt"];
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// Stands for [`WEIGHTS`] where they are cut into shards.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const PICKLES: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Every name above.
pub(crate) fn all() -> Vec<&'static str> {
    [[CONFIG, WEIGHTS, INDEX].as_slice(), &OPTIONAL, &TOKENIZERS, &PICKLES].concat()
}

/// The first file that a model needs and `folder` lacks, if any.
pub(crate) fn missing(folder: &Path) -> Result<Option<String>> {
    let has = |file: &str| folder.join(file).is_file();
    if !has(CONFIG) {
        return Ok(Some(CONFIG.to_owned()));
    }
    if !TOKENIZERS.into_iter().any(has) {
        return Ok(Some(TOKENIZERS.join(" or ")));
    }
    if has(WEIGHTS) {
        return Ok(None);
    }
    if !has(INDEX) {
        return Ok(Some(WEIGHTS.to_owned()));
    }
    Ok(shards(&folder.join(INDEX))?.into_iter().find(|shard| !has(shard)))
}

/// The files that an index of weights names, in order, each once.
pub(crate) fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let bad = |message: String| Error::BadIndex { path: index.to_owned(), message };
    let text = fs::read(index).map_err(Error::disk(index))?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    let map = value.get("weight_map").and_then(Value::as_object).filter(|map| !map.is_empty());
    let map: &Map<_, _> = map.ok_or_else(|| bad("no shards".to_owned()))?;
    // A name comes from the network and becomes a path: it must not leave the folder.
    let shard = |name: &Value| match name.as_str().filter(|name| is_part(name)) {
        Some(name) => Ok(name.to_owned()),
        None => Err(bad(format!("a shard is called {name}"))),
    };
    map.values().map(shard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_must_stay_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join(INDEX);
        for text in [
            "",
            "{}",
            r#"{"weight_map": {}}"#,
            r#"{"weight_map": {"a": "../b"}}"#,
            r#"{"weight_map": {"a": 1}}"#,
        ] {
            fs::write(&index, text).unwrap();
            let message = shards(&index).unwrap_err().to_string();
            assert!(
                message.contains("model.safetensors.index.json") && message.contains("weight_map"),
                "{message}"
            );
        }
    }
}
