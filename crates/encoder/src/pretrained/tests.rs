//! Against transformers: `tests/golden/pretrained.py` made small random models of each family and their hidden states, in
//! double precision.

use std::path::PathBuf;

use polytask_tensor::testing::assert_close;
use polytask_tensor::{Ids, Offsets, Parameters, Pass, TensorFile};

use super::*;
use crate::EncoderInput;

pub(super) const FAMILIES: [&str; 5] = ["bert", "distilbert", "roberta", "electra", "modernbert"];
/// Pieces of the texts in the golden files; of the longest the states in between are left out.
const LENGTHS: [usize; 5] = [1, 2, 7, 40, 512];

pub(super) fn golden(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/pretrained").join(family)
}

pub(super) fn load(folder: &Path) -> crate::Result<(Pretrained, BTreeMap<String, Tensor>)> {
    let mut config: Pretrained = serde_json::from_str(r#"{ "path": "" }"#).unwrap();
    let weights = config.load(folder)?;
    Ok((config, weights))
}

fn build(folder: &Path) -> (Parameters, Box<dyn Encoder>) {
    let (config, weights) = load(folder).unwrap();
    let mut parameters = Parameters::default();
    let mut builder = ParameterBuilder::from_given(&mut parameters, &weights, 0);
    let encoder = config.build(1, 1, &[], &mut builder).unwrap();
    // Nothing was drawn, and nothing was left over.
    assert_eq!(parameters.len(), weights.len());
    assert!(weights.keys().all(|name| parameters.find(name).is_some()));
    (parameters, encoder)
}

fn input(texts: &[Vec<u32>]) -> EncoderInput {
    let pieces: Vec<u32> = texts.concat();
    EncoderInput {
        words: Offsets::from_lengths(pieces.iter().map(|_| 1)),
        pieces: Ids::from(pieces),
        unknown_piece: 0,
        texts: Offsets::from_lengths(texts.iter().map(Vec::len)),
        shapes: Vec::new(),
        adapter: None,
    }
}

/// The ids of a golden text, and its states by layer.
fn golden_text(file: &TensorFile, length: usize, layer: &str, width: usize) -> (Vec<u32>, Tensor) {
    let ids = file.tensor(&format!("ids.{length}"), &[length]).unwrap();
    let states = file.tensor(&format!("states.{length}.{layer}"), &[length, width]).unwrap();
    (ids.data().iter().map(|&id| id as u32).collect(), states)
}

#[test]
fn the_states_of_every_layer_are_those_of_transformers() {
    for family in FAMILIES {
        let (parameters, encoder) = build(&golden(family));
        let file = TensorFile::read(&golden(family).join("goldens.safetensors")).unwrap();
        for length in LENGTHS {
            let (ids, last) = golden_text(&file, length, "last", encoder.width());
            let mut layers = Vec::new();
            let mut keep = |x: &Tensor| layers.push(x.clone());
            let states =
                encoder.forward(&parameters, &input(&[ids]), &mut Pass::inference(), &mut keep).unwrap();
            // Sums of some dozens of products in f32, through three or four layers.
            assert_close(states.data(), last.data(), 2e-5);
            for (layer, states) in layers.iter().enumerate() {
                if length < 512 || layer == 0 {
                    let (_, expected) = golden_text(&file, length, &layer.to_string(), encoder.width());
                    assert_close(states.data(), expected.data(), 2e-5);
                }
            }
        }
    }
}

#[test]
fn texts_of_a_batch_do_not_see_each_other() {
    for family in FAMILIES {
        let (parameters, encoder) = build(&golden(family));
        let file = TensorFile::read(&golden(family).join("goldens.safetensors")).unwrap();
        let (ids, states): (Vec<_>, Vec<_>) = [7, 1, 40, 2]
            .map(|length| golden_text(&file, length, "last", encoder.width()))
            .into_iter()
            .unzip();
        let together =
            encoder.forward(&parameters, &input(&ids), &mut Pass::inference(), &mut |_| {}).unwrap();
        let expected: Vec<f32> = states.iter().flat_map(|states| states.data()).copied().collect();
        assert_close(together.data(), &expected, 2e-5);
    }
}

#[test]
fn every_parameter_gets_a_gradient() {
    for family in FAMILIES {
        let (parameters, encoder) = build(&golden(family));
        let texts = [vec![5, 6, 7, 8, 9, 10, 11, 12, 13], vec![14, 5]];
        let states =
            encoder.forward(&parameters, &input(&texts), &mut Pass::training(1, 1), &mut |_| {}).unwrap();
        let weights = polytask_tensor::testing::sample(states.shape(), 1);
        let gradients = states.backward_from(weights).unwrap();
        for (_, parameter) in parameters.iter() {
            let gradient = gradients.get(parameter.tensor());
            let moves = gradient.is_some_and(|g| g.values().iter().any(|v| v.abs() > 1e-7));
            assert!(moves, "{family} {}", parameter.name);
        }
    }
}

/// `python3 tests/golden/pretrained_real.py MODEL OUT TEXTS` writes OUT/goldens.safetensors for a real model.
#[test]
fn the_states_of_a_real_model_are_those_of_transformers() {
    let variable = |name| std::env::var(name).map(PathBuf::from);
    let (Ok(model), Ok(golden)) = (variable("POLYTASK_PRETRAINED"), variable("POLYTASK_PRETRAINED_GOLDEN"))
    else {
        eprintln!(
            "skipped: POLYTASK_PRETRAINED and POLYTASK_PRETRAINED_GOLDEN name no real model and its golden values"
        );
        return;
    };
    let (parameters, encoder) = build(&model);
    let file = TensorFile::read(&golden.join("goldens.safetensors")).unwrap();
    let mut greatest = 0.0_f32;
    for length in [3, 5, 20, 100, 300, 512] {
        let (ids, _) = golden_text(&file, length, "last", encoder.width());
        let mut layers = Vec::new();
        let mut keep = |x: &Tensor| layers.push(x.clone());
        encoder.forward(&parameters, &input(&[ids]), &mut Pass::inference(), &mut keep).unwrap();
        for (layer, states) in layers.iter().enumerate() {
            let (_, expected) = golden_text(&file, length, &layer.to_string(), encoder.width());
            let differences = states.data().iter().zip(expected.data()).map(|(a, b)| (a - b).abs());
            greatest = differences.fold(greatest, f32::max);
        }
    }
    eprintln!("the greatest difference is {greatest:e}");
    assert!(greatest < 1e-4);
}

/// A copy of a small folder, to be broken.
fn copy(family: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(golden(family).join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// The message about a folder, without the folder's name.
fn refusal(folder: &Path) -> String {
    let message = load(folder).unwrap_err().to_string();
    message.replace(&folder.display().to_string(), "DIR")
}

/// The message about a folder whose `config.json` says `new` where it said `old`.
fn refusal_of_config(family: &str, old: &str, new: &str) -> String {
    let folder = copy(family);
    let file = folder.path().join("config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(old), "{text}");
    std::fs::write(&file, text.replace(old, new)).unwrap();
    refusal(folder.path())
}

#[test]
fn a_config_that_says_nothing_useful_is_refused_with_its_key() {
    for (old, new, expected) in [
        (
            "\"model_type\": \"bert\"",
            "\"model_type\": \"brt\"",
            "DIR/config.json: `model_type` is `brt`, this program reads bert, distilbert, roberta, electra, modernbert; did you mean `bert`?",
        ),
        ("\"model_type\": \"bert\"", "\"model\": \"bert\"", "DIR/config.json: no `model_type`"),
        (
            "\"gelu\"",
            "\"swish\"",
            "DIR/config.json: `hidden_act` is `swish`, this program computes `gelu` alone",
        ),
        (
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": -3",
            "DIR/config.json: `num_hidden_layers` must be a size, found -3",
        ),
        (
            "\"num_attention_heads\": 4",
            "\"num_attention_heads\": 5",
            "DIR/config.json: the width 16 is no multiple of its 5 attention heads",
        ),
        (
            "\"hidden_dropout_prob\": 0.1",
            "\"hidden_dropout_prob\": 1.5",
            "DIR/config.json: the dropout must lie in [0, 1); found 1.5",
        ),
    ] {
        assert_eq!(refusal_of_config("bert", old, new), expected);
    }
    assert!(refusal_of_config("bert", "{", "").starts_with("DIR/config.json: no JSON object"));
}

#[test]
fn what_is_not_computed_is_refused_and_not_passed_over() {
    for (family, old, new, expected) in [
        (
            "bert",
            "\"is_decoder\": false",
            "\"is_decoder\": true",
            "`is_decoder` is true: a decoder, which sees no later pieces, is not supported",
        ),
        (
            "modernbert",
            "\"rope_type\": \"default\"",
            "\"rope_type\": \"yarn\"",
            "`rope_type` is \"yarn\": rotary angles that are scaled, is not supported",
        ),
        (
            "modernbert",
            "\"sliding_attention\",",
            "\"full_attention\",",
            "layer 1 of `layer_types` is \"full_attention\", expected \"sliding_attention\": one layer in 3 sees all of a text",
        ),
        (
            "bert",
            "\"vocab_size\": 94",
            "\"vocab_size\": 1000000000000",
            "the vocabulary must lie in 1 to 100000000; found 1000000000000",
        ),
        (
            "bert",
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": 10000000000",
            "10000000000 layers are too many: 1024 at most",
        ),
        (
            "roberta",
            "\"pad_token_id\": 1,",
            "\"pad_token_id\": 18446744073709551615,",
            "the number of positions must lie in 1 to 100000000; found 0",
        ),
        (
            "bert",
            "\"layer_norm_eps\": 1e-12",
            "\"layer_norm_eps\": -1",
            "the norms' epsilon must be greater than 0; found -1",
        ),
    ] {
        assert_eq!(refusal_of_config(family, old, new), format!("DIR/config.json: {expected}"));
    }
}

#[test]
fn a_config_that_contradicts_the_weights_names_the_tensor() {
    let message = refusal_of_config("bert", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
    assert!(
        message.starts_with(
            "DIR/model.safetensors: tensor `bert.encoder.layer.3.attention.self.query.weight` is missing"
        ),
        "{message}"
    );
    let message = refusal_of_config("bert", "\"intermediate_size\": 24", "\"intermediate_size\": 32");
    let expected = "DIR/model.safetensors: bert.encoder.layer.0.intermediate.dense.weight is [24, 16], this configuration needs [32, 16]";
    assert_eq!(message, expected);
    // One of the sizes on which nothing else depends.
    let message =
        refusal_of_config("roberta", "\"max_position_embeddings\": 514", "\"max_position_embeddings\": 600");
    assert!(
        message.contains("position_embeddings.weight is [514, 16], this configuration needs [600, 16]"),
        "{message}"
    );
}

#[test]
fn damaged_and_missing_weights_are_refused() {
    let folder = copy("bert");
    let file = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for broken in [&bytes[..bytes.len() - 7], &bytes[..100], b"", &[0xff; 64][..]] {
        std::fs::write(&file, broken).unwrap();
        let message = refusal(folder.path());
        assert!(message.starts_with("DIR/model.safetensors: "), "{message}");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(refusal(folder.path()), "DIR: no `model.safetensors` and no `model.safetensors.index.json`");
    std::fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    let message = refusal(folder.path());
    assert!(
        message.contains("only `pytorch_model.bin`: pickles run code and are not read; convert them"),
        "{message}"
    );
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(refusal(folder.path()).starts_with("DIR: no `config.json`"));
}

#[test]
fn integers_where_numbers_should_be_are_refused() {
    let folder = copy("bert");
    let file = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let name = "bert.encoder.layer.0.intermediate.dense.bias";
    let entry = format!("\"{name}\":{{\"dtype\":\"F32\"");
    let place = bytes.windows(entry.len()).position(|window| window == entry.as_bytes()).unwrap();
    bytes[place..place + entry.len()].copy_from_slice(entry.replace("F32", "I32").as_bytes());
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(
        refusal(folder.path()),
        format!("DIR/model.safetensors: {name} holds I32 values, F32 is needed")
    );
}

#[test]
fn sharded_weights_are_read() {
    let (_, whole) = load(&golden("bert")).unwrap();
    let folder = copy("bert");
    let file = folder.path().join("model.safetensors");
    std::fs::rename(&file, folder.path().join("model-1.safetensors")).unwrap();
    let index = |name: &str| serde_json::json!({ "weight_map": { "any": name } }).to_string();
    let index_file = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index_file, index("model-1.safetensors")).unwrap();
    let (_, sharded) = load(folder.path()).unwrap();
    for (name, values) in &whole {
        assert_eq!(values.data(), sharded[name].data(), "{name}");
    }
    std::fs::write(&index_file, "{\"weight_map\": {}}").unwrap();
    assert_eq!(refusal(folder.path()), "DIR/model.safetensors.index.json: `weight_map` is empty");
    std::fs::write(&index_file, index("../model-1.safetensors")).unwrap();
    let expected = "DIR/model.safetensors.index.json: `../model-1.safetensors` is no file of this folder";
    assert_eq!(refusal(folder.path()), expected);
}

#[test]
fn a_vocabulary_beyond_the_embeddings_and_texts_beyond_the_positions_are_refused() {
    let (config, weights) = load(&golden("bert")).unwrap();
    let build = |vocabulary, max_tokens| {
        let mut parameters = Parameters::default();
        let mut builder = ParameterBuilder::from_given(&mut parameters, &weights, 0);
        config.build(vocabulary, max_tokens, &[], &mut builder).unwrap_err().to_string()
    };
    let expected = "pretrained encoder: the tokenizer has more pieces than the model has embeddings: 95, `vocab_size` is 94";
    assert_eq!(build(95, 1), expected);
    let expected = "pretrained encoder: a text may have 512 pieces at most, the tokenizer allows 513";
    assert_eq!(build(94, 513), expected);
}
