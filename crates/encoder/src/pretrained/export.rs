//! An encoder's parameters as a folder in the layout of Hugging Face.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use polytask_tensor::{Error as TensorError, Parameters, TensorValues, write_tensors};
use serde_json::{Map, Value, json};

use super::architecture::{Architecture, CONFIG, Family, Rotary};
use super::layout::{self, Entry};
use super::weights::{WEIGHTS, transposed};
use crate::{Error, Result};

/// What stands before the names of the encoder's parameters in a model.
const ENCODER: &str = "encoder.";

/// Writes `config.json` and `model.safetensors` of a pretrained encoder, whose parameters are those beneath `encoder.`, into
/// an existing folder; `padding_piece` is the token id that the tokenizer fills short texts with.
///
/// The folder must not be one that a parameter was read from, whose values may still lie there.
///
/// # Errors
/// A parameter is missing or has another number of values than the architecture, or none of its tensors has a place for it,
/// or a file cannot be written.
pub fn write_hugging_face(
    architecture: &Architecture,
    parameters: &Parameters,
    padding_piece: Option<u32>,
    folder: &Path,
) -> Result<()> {
    let entries = layout::entries(architecture);
    check_places(&entries, parameters)?;
    let mut tensors = Tensors::default();
    for entry in &entries {
        tensors.add(entry, parameters)?;
    }
    let tensors = tensors
        .0
        .iter()
        .map(|(name, tensor)| (name, TensorValues { shape: &tensor.shape, values: &tensor.values }));
    // Without it transformers does not know whose layout the tensors have.
    write_tensors(&folder.join(WEIGHTS), tensors, &[("format", "pt")])?;
    let file = folder.join(CONFIG);
    let config = Value::Object(description(architecture, padding_piece));
    fs::write(&file, format!("{config:#}\n")).map_err(|source| Error::Io { file, source })
}

/// Every parameter of the encoder must have a place in the file: else the states would be others.
fn check_places(entries: &[Entry], parameters: &Parameters) -> Result<()> {
    let known: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let own = parameters.iter().filter_map(|(_, parameter)| parameter.name.strip_prefix(ENCODER));
    match own.into_iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => Err(wrong(format!(
            "a Hugging Face model has no place for `{ENCODER}{name}`: adapters and other additions cannot be exported"
        ))),
    }
}

/// The tensors of the file by their names.
#[derive(Default)]
struct Tensors(BTreeMap<String, Whole>);

struct Whole {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensors {
    /// Puts one parameter into the rows of the tensors that it is made of.
    fn add(&mut self, entry: &Entry, parameters: &Parameters) -> Result<()> {
        let (outputs, inputs) = (entry.outputs(), entry.inputs.unwrap_or(1));
        let values = values(entry, parameters)?;
        let values = match entry.is_transposed {
            true => &transposed(values, inputs, outputs),
            false => values,
        };
        let mut rest = values;
        for part in &entry.parts {
            let whole = self.0.entry(part.tensor.clone()).or_insert_with(|| Whole {
                shape: [part.total].into_iter().chain(entry.inputs).collect(),
                values: vec![0.0; part.total * inputs],
            });
            let (rows, others) = rest.split_at(part.rows.len() * inputs);
            whole.values[part.rows.start * inputs..][..rows.len()].copy_from_slice(rows);
            rest = others;
        }
        Ok(())
    }
}

fn values<'a>(entry: &Entry, parameters: &'a Parameters) -> Result<&'a [f32]> {
    let name = format!("{ENCODER}{}", entry.name);
    let id = parameters.find(&name).ok_or_else(|| wrong(format!("no parameter `{name}`")))?;
    let (values, expected) = (parameters.get(id).data(), entry.outputs() * entry.inputs.unwrap_or(1));
    match values.len() {
        found if found == expected => Ok(values),
        found => Err(wrong(format!("`{name}` has {found} values, the architecture {expected}"))),
    }
}

fn wrong(message: String) -> Error {
    Error::Tensor(TensorError::shape("export", message))
}

/// The keys of `config.json`.
fn description(architecture: &Architecture, padding_piece: Option<u32>) -> Map<String, Value> {
    let mut keys = match (architecture.family, &architecture.rotary) {
        (Family::DistilBert, _) => distil_bert(architecture),
        (_, Some(rotary)) => modern_bert(architecture, rotary),
        _ => bert(architecture),
    };
    let class = match architecture.family {
        Family::Bert => "BertModel",
        Family::DistilBert => "DistilBertModel",
        Family::Roberta => "RobertaModel",
        Family::Electra => "ElectraModel",
        Family::ModernBert => "ModernBertModel",
    };
    // The places of RoBERTa count on from this piece.
    let padding_piece = match architecture.family {
        Family::Roberta => architecture.first_position.checked_sub(1),
        _ => padding_piece.map(|piece| piece as usize),
    };
    keys.extend([
        ("model_type".into(), json!(architecture.family)),
        ("architectures".into(), json!([class])),
        ("vocab_size".into(), json!(architecture.vocabulary)),
        ("max_position_embeddings".into(), json!(architecture.first_position + architecture.max_tokens)),
        ("pad_token_id".into(), json!(padding_piece)),
        ("dtype".into(), json!("float32")),
    ]);
    keys
}

fn bert(architecture: &Architecture) -> Map<String, Value> {
    let mut keys = sizes(architecture);
    keys.extend([
        ("hidden_act".into(), json!("gelu")),
        ("type_vocab_size".into(), json!(architecture.token_types)),
        ("layer_norm_eps".into(), decimal(architecture.epsilon)),
        ("hidden_dropout_prob".into(), decimal(architecture.dropout)),
        ("attention_probs_dropout_prob".into(), decimal(architecture.attention_dropout)),
    ]);
    if architecture.family == Family::Electra {
        keys.insert("embedding_size".into(), json!(architecture.embedding_width));
    }
    keys
}

fn distil_bert(architecture: &Architecture) -> Map<String, Value> {
    let keys = [
        ("dim", json!(architecture.width)),
        ("n_layers", json!(architecture.layers)),
        ("n_heads", json!(architecture.heads)),
        ("hidden_dim", json!(architecture.feed_forward)),
        ("activation", json!("gelu")),
        ("dropout", decimal(architecture.dropout)),
        ("attention_dropout", decimal(architecture.attention_dropout)),
    ];
    keys.into_iter().map(|(key, value)| (key.into(), value)).collect()
}

fn modern_bert(architecture: &Architecture, rotary: &Rotary) -> Map<String, Value> {
    let angles = |base: f32| json!({ "rope_type": "default", "rope_theta": decimal(base) });
    let mut keys = sizes(architecture);
    keys.extend([
        ("hidden_activation".into(), json!("gelu")),
        ("norm_eps".into(), decimal(architecture.epsilon)),
        ("mlp_dropout".into(), decimal(architecture.dropout)),
        ("attention_dropout".into(), decimal(architecture.attention_dropout)),
        ("global_attn_every_n_layers".into(), json!(rotary.global_every)),
        ("local_attention".into(), json!(2 * rotary.window)),
        // Newer versions of transformers read the table, older ones the two keys.
        (
            "rope_parameters".into(),
            json!({
                "full_attention": angles(rotary.global_base),
                "sliding_attention": angles(rotary.local_base),
            }),
        ),
        ("global_rope_theta".into(), decimal(rotary.global_base)),
        ("local_rope_theta".into(), decimal(rotary.local_base)),
    ]);
    for key in ["attention_bias", "mlp_bias", "norm_bias"] {
        keys.insert(key.into(), json!(false));
    }
    for key in ["bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"] {
        // The defaults are pieces that a smaller vocabulary does not have.
        keys.insert(key.into(), Value::Null);
    }
    keys
}

fn sizes(architecture: &Architecture) -> Map<String, Value> {
    let keys = [
        ("hidden_size", architecture.width),
        ("num_hidden_layers", architecture.layers),
        ("num_attention_heads", architecture.heads),
        ("intermediate_size", architecture.feed_forward),
    ];
    keys.into_iter().map(|(key, size)| (key.into(), json!(size))).collect()
}

/// A number as it is written down: 0.1, not the nearest f32 in double precision.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(json!(number), |number| json!(number))
}
