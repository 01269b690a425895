use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use polytask_encoder::Architecture;
use polytask_model::{Model, ModelFolder, write_file};
use serde_json::{Map, Value, json};

use crate::console::print;

/// Writes a trained model in a form that other programs read.
///
/// Only models with a pretrained encoder have one; `docs/export.md` says how to read it. LoRA that all tasks share is merged
/// into the weights on the way.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The model folder.
    folder: PathBuf,
    /// The form.
    #[arg(long, value_enum)]
    format: Format,
    /// Where it goes: a folder for `huggingface`, a file for `onnx`; there must be none yet.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// The encoder and its tokenizer, without the tasks, as a folder for `transformers`.
    #[value(name = "huggingface")]
    HuggingFace,
    /// Encoder and tasks as one file: token ids in, the logits of every task out.
    Onnx,
}

impl Export {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (source, out) = (self.folder.display(), self.out.display());
        ensure!(!self.out.exists(), "{out} exists already: give another --out, or remove it");
        let model = ModelFolder::new(&self.folder).load()?.without_adapters()?;
        let done = match self.format {
            Format::HuggingFace => hugging_face(&model, &self.out),
            Format::Onnx => onnx(&model, &self.out),
        };
        done.with_context(|| format!("{source} cannot be exported"))?;
        print(format!("{source} is written to {out}"))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn onnx(model: &Model, file: &Path) -> Result<()> {
    Ok(write_file(file, &polytask_onnx::to_onnx(model)?)?)
}

/// The tokens that have a role in `tokenizer_config.json`, as BERT and as RoBERTa call them.
const ROLES: [(&str, [&str; 2]); 5] = [
    ("unk_token", ["[UNK]", "<unk>"]),
    ("sep_token", ["[SEP]", "</s>"]),
    ("pad_token", ["[PAD]", "<pad>"]),
    ("cls_token", ["[CLS]", "<s>"]),
    ("mask_token", ["[MASK]", "<mask>"]),
];

fn hugging_face(model: &Model, folder: &Path) -> Result<()> {
    let architecture = model.config().encoder.architecture();
    let architecture =
        architecture.context("its encoder has no such form: only those of `type = \"pretrained\"` do")?;
    ensure!(
        !model.is_quantized(),
        "it is a model of 8-bit integers: export the one that it was quantized from"
    );
    // A folder that is there is whole.
    ensure!(folder.file_name().is_some(), "{} has no name", folder.display());
    let unfinished = folder.with_added_extension("tmp");
    let done = hugging_face_files(model, architecture, &unfinished)
        .and_then(|()| fs::rename(&unfinished, folder).with_context(|| folder.display().to_string()));
    if done.is_err() && unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| unfinished.display().to_string())?;
    }
    done
}

fn hugging_face_files(model: &Model, architecture: &Architecture, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let tokenizer = model.tokenizer().to_json()?;
    write_file(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
    let added = added_tokens(&tokenizer)?;
    let settings = tokenizer_config(model.tokenizer().max_tokens(), &added);
    write_file(&folder.join("tokenizer_config.json"), format!("{settings:#}\n").as_bytes())?;
    let padding = settings["pad_token"].as_str().and_then(|piece| added.get(piece)?.as_u64());
    let padding = padding.and_then(|id| u32::try_from(id).ok());
    Ok(polytask_encoder::write_hugging_face(architecture, model.constants(), padding, folder)?)
}

/// The ids of the tokens that a `tokenizer.json` has beside its vocabulary.
fn added_tokens(tokenizer: &str) -> Result<Map<String, Value>> {
    let tokenizer: Value = serde_json::from_str(tokenizer)?;
    let tokens = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let named = |token: &Value| Some((token["content"].as_str()?.to_owned(), token["id"].clone()));
    Ok(tokens.filter_map(named).collect())
}

fn tokenizer_config(max_tokens: usize, added: &Map<String, Value>) -> Value {
    let mut settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_tokens,
        // All pieces of a text have the first token type.
        "model_input_names": ["input_ids", "attention_mask"],
    });
    for (role, names) in ROLES {
        if let Some(piece) = names.into_iter().find(|name| added.contains_key(*name)) {
            settings[role] = json!(piece);
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roles_of_pieces_are_told_by_their_names() {
        let json = r#"{ "added_tokens": [{ "id": 1, "content": "<pad>" }, { "id": 0, "content": "<s>" },
            { "id": 9, "content": "  " }], "model": {} }"#;
        let added = added_tokens(json).unwrap();
        assert_eq!(Value::from(added.clone()), json!({ "<pad>": 1, "<s>": 0, "  ": 9 }));
        let settings = tokenizer_config(128, &added);
        assert_eq!((&settings["pad_token"], &settings["cls_token"]), (&json!("<pad>"), &json!("<s>")));
        assert_eq!((&settings["model_max_length"], settings.get("mask_token")), (&json!(128), None));
        assert!(added_tokens("no JSON").is_err());
        assert!(added_tokens("{}").unwrap().is_empty());
    }
}
