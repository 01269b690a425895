//! The graph is sound; `docs/benchmarks/export_check.py` holds what ONNX Runtime computes with it beside the model's answers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polytask_classification as _;
use polytask_data::{Tokenizer, TokenizerConfig};
use polytask_encoder::{EncoderConfig, Pretrained, Transformer};
use polytask_model::{ModelConfig, Pooling, TaskAttentionConfig};
use polytask_ner as _;
use serde_json::json;

use super::*;
use crate::proto::GraphProto;

const FAMILIES: [&str; 5] = ["bert", "distilbert", "roberta", "electra", "modernbert"];

fn golden(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/pretrained").join(family)
}

fn pretrained(folder: &Path) -> Box<dyn EncoderConfig> {
    let mut config: Pretrained = serde_json::from_str(r#"{ "path": "" }"#).unwrap();
    config.load(folder).unwrap();
    Box::new(config)
}

fn model_of(
    encoder: Box<dyn EncoderConfig>,
    tokenizer: Tokenizer,
    text_task: &str,
    task_attention: TaskAttentionConfig,
) -> Model {
    let topic = json!({ "type": "classification", "labels": ["sports", "science", "\"π\""] });
    let entities = json!({ "type": "ner", "labels": ["person"] });
    let task =
        |name: &str, task| json!({ "settings": { "name": name, "label": "news.label" }, "task": task });
    let config: ModelConfig = serde_json::from_value(json!({
        "encoder": encoder,
        "task_attention": task_attention,
        "tasks": [task(text_task, topic), task("entities", entities)],
    }))
    .unwrap();
    Model::new(config, tokenizer, 1).unwrap()
}

/// Of a few pieces: the graph does not depend on it.
fn tokenizer() -> Tokenizer {
    Tokenizer::train(&TokenizerConfig::default(), ["the", "cat"]).unwrap()
}

fn two_queries() -> TaskAttentionConfig {
    TaskAttentionConfig { heads: 2, ..Default::default() }
}

fn model(family: &str) -> Model {
    model_of(pretrained(&golden(family)), tokenizer(), "topic", two_queries())
}

fn decoded(model: &Model) -> ModelProto {
    ModelProto::decode(to_onnx(model).unwrap().as_slice()).unwrap()
}

/// Every value is made once, before it is used, and used.
fn check(graph: &GraphProto, family: &str) {
    let inputs = graph.input.iter().map(|input| &input.name);
    let constants = graph.initializer.iter().map(|tensor| &tensor.name);
    let mut made = BTreeSet::new();
    for name in inputs.chain(constants) {
        assert!(made.insert(name.clone()), "{family}: two values `{name}`");
    }
    let mut used = BTreeSet::new();
    for node in &graph.node {
        for input in &node.input {
            assert!(made.contains(input), "{family}: {} uses `{input}` before it is made", node.op_type);
            used.insert(input.clone());
        }
        for output in &node.output {
            assert!(made.insert(output.clone()), "{family}: two values `{output}`");
        }
    }
    used.extend(graph.output.iter().map(|output| output.name.clone()));
    assert_eq!(made, used, "{family}");
}

#[test]
fn every_family_is_a_sound_graph_with_an_output_a_task() {
    for family in FAMILIES {
        let model = model(family);
        let file = decoded(&model);
        assert_eq!(file, proto_of(&model).unwrap(), "{family}");
        let graph = file.graph.unwrap();
        check(&graph, family);
        let outputs: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
        assert_eq!(outputs, ["topic", "entities"]);
        for tensor in &graph.initializer {
            let size = if tensor.data_type == 7 { 8 } else { 4 };
            assert_eq!(tensor.raw_data.len(), size * tensor.dims.iter().product::<i64>() as usize);
        }
    }
}

#[test]
fn every_way_of_reading_the_states_is_a_sound_graph() {
    for (pooling, operator) in [(Pooling::First, "Gather"), (Pooling::Mean, "ReduceMean")] {
        let reading = TaskAttentionConfig { pooling, heads: 1, layer_mix: true };
        let model = model_of(pretrained(&golden("bert")), tokenizer(), "topic", reading);
        let graph = decoded(&model).graph.unwrap();
        check(&graph, operator);
        let reads = |node: &&crate::proto::NodeProto| node.op_type == operator || node.op_type == "Sum";
        let operators: Vec<&str> =
            graph.node.iter().filter(reads).map(|node| node.op_type.as_str()).collect();
        // The tables of pieces are gathered from too.
        assert!(operators.ends_with(&["Sum", operator, "Sum"]), "{operators:?}");
    }
}

#[test]
fn every_parameter_is_in_the_graph_or_in_the_metadata() {
    for family in FAMILIES {
        let model = model(family);
        let file = decoded(&model);
        let graph = file.graph.unwrap();
        let tensor = |name: &str| graph.initializer.iter().find(|tensor| tensor.name == name);
        let is_left = |name: &String| tensor(name).is_none();
        let names = model.parameters().iter().map(|(_, parameter)| parameter.name.clone());
        let left: Vec<String> = names.filter(is_left).collect();
        let crf = ["transitions", "start", "end"].map(|name| format!("tasks.entities.crf.{name}"));
        assert_eq!(left, crf, "{family}");
    }
}

#[test]
fn the_metadata_says_what_the_logits_mean() {
    let mut model = model("bert");
    let id = model.parameters().find("tasks.entities.crf.start").unwrap();
    model.parameters_mut().update(id, |values| values.copy_from_slice(&[0.1, -2.5, 3.0]));
    let file = decoded(&model);
    let property = |key: &str| {
        let entry = file.metadata_props.iter().find(|entry| entry.key == key).unwrap();
        serde_json::from_str::<serde_json::Value>(&entry.value).unwrap()
    };
    assert_eq!(property("max_tokens"), 512);
    let tasks = property("tasks");
    assert_eq!(tasks[0]["task"]["type"], "classification");
    assert_eq!(tasks[0]["task"]["labels"], json!(["sports", "science", "\"π\""]));
    assert_eq!((&tasks[0]["level"], &tasks[0]["outputs"]), (&"text".into(), &3.into()));
    assert_eq!((&tasks[1]["level"], &tasks[1]["outputs"]), (&"word".into(), &3.into()));
    let crf = &tasks[1]["parameters"];
    assert_eq!(crf["crf.transitions"], json!([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]));
    let start: Vec<f32> = serde_json::from_value(crf["crf.start"].clone()).unwrap();
    assert_eq!(start, [0.1, -2.5, 3.0]);
}

#[test]
fn what_has_no_such_form_is_refused() {
    let from_scratch = model_of(Box::new(Transformer::default()), tokenizer(), "topic", two_queries());
    let message = |model: &Model| to_onnx(model).unwrap_err().to_string();
    assert!(message(&from_scratch).contains("only encoders of `type = \"pretrained\"`"));
    let mut quantized = model("bert");
    quantized.quantize();
    assert!(message(&quantized).contains("8-bit integers"));
    let mut adapted = model("bert");
    let lora = "encoder.layers.0.attention.output.lora.a";
    adapted.parameters_mut().insert(lora, &polytask_tensor::Tensor::zeros(&[2])).unwrap();
    assert!(message(&adapted).contains(lora));
    let taken = model_of(pretrained(&golden("bert")), tokenizer(), "input_ids", two_queries());
    assert!(message(&taken).contains("no output can be named `input_ids`"));
}
