//! What is written is read again: the golden folders, which transformers wrote, are the source.

use polytask_tensor::Parameters;

use super::tests::{FAMILIES, golden, load};
use super::*;

fn exported(family: &str) -> (tempfile::TempDir, Pretrained, BTreeMap<String, Tensor>) {
    let (config, weights) = load(&golden(family)).unwrap();
    let mut parameters = Parameters::default();
    for (name, values) in &weights {
        parameters.insert(&format!("encoder.{name}"), values).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    write_hugging_face(config.architecture().unwrap(), &parameters, Some(3), folder.path()).unwrap();
    (folder, config, weights)
}

#[test]
fn every_family_is_read_again_bit_for_bit() {
    for family in FAMILIES {
        let (folder, config, weights) = exported(family);
        let (again, weights_again) = load(folder.path()).unwrap();
        assert_eq!(again.architecture, config.architecture, "{family}");
        assert!(weights.keys().eq(weights_again.keys()), "{family}");
        for (name, values) in &weights {
            assert_eq!(values.shape(), weights_again[name].shape(), "{family} {name}");
            assert_eq!(values.data(), weights_again[name].data(), "{family} {name}");
        }
    }
}

#[test]
fn the_tensors_are_those_of_the_original() {
    for family in FAMILIES {
        let (folder, ..) = exported(family);
        let file = polytask_tensor::TensorFile::read(&folder.path().join("model.safetensors")).unwrap();
        let original = polytask_tensor::TensorFile::read(&golden(family).join("model.safetensors")).unwrap();
        // The originals may hold a head, and then have a prefix.
        let has_original = |name: &String| original.names().iter().any(|theirs| theirs.ends_with(name));
        let missing: Vec<String> = file.names().into_iter().filter(|name| !has_original(name)).collect();
        assert!(missing.is_empty(), "{family}: {missing:?}");
        assert_eq!(file.text("format"), Some("pt"));
    }
}

#[test]
fn the_description_has_the_keys_of_transformers_and_short_numbers() {
    let description = |family: &str| -> serde_json::Value {
        let (folder, ..) = exported(family);
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("config.json")).unwrap()).unwrap()
    };
    for family in FAMILIES {
        let original: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(golden(family).join("config.json")).unwrap())
                .unwrap();
        for (key, value) in description(family).as_object().unwrap() {
            match key.as_str() {
                "architectures" | "global_rope_theta" | "local_rope_theta" => {}
                end if end.ends_with("_token_id") => {}
                _ => assert_eq!(Some(value), original.get(key), "{family} {key}"),
            }
        }
    }
    assert_eq!(description("bert")["pad_token_id"], 3);
    assert_eq!(description("roberta")["pad_token_id"], 1);
}

#[test]
fn a_missing_parameter_is_named() {
    let (config, _) = load(&golden("bert")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error =
        write_hugging_face(config.architecture().unwrap(), &Parameters::default(), None, folder.path());
    let expected = "export: no parameter `encoder.embeddings.pieces.weight`";
    assert_eq!(error.unwrap_err().to_string(), expected);
    assert!(!folder.path().join("config.json").exists());
}

#[test]
fn what_has_no_place_is_named() {
    let (config, _) = load(&golden("bert")).unwrap();
    let mut parameters = Parameters::default();
    parameters.insert("tasks.topic.head.bias", &Tensor::zeros(&[2])).unwrap();
    parameters.insert("encoder.layers.0.attention.output.lora.a", &Tensor::zeros(&[2])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = write_hugging_face(config.architecture().unwrap(), &parameters, None, folder.path());
    let message = error.unwrap_err().to_string();
    assert!(message.contains("has no place for `encoder.layers.0.attention.output.lora.a`"), "{message}");
}
