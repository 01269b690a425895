//! Plugins through typetag: keys before and after the tag, shared keys, names and keys that do not exist.
#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use polytask_config::{Document, Result, register};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[typetag::serde(tag = "type")]
trait Task: std::fmt::Debug {
    fn decoder(&self) -> String;
}

/// Marks names in a text.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Ner {
    decoder: String,
    #[schemars(range(min = 0))]
    smoothing: f32,
}

impl Default for Ner {
    fn default() -> Self {
        Ner { decoder: "viterbi".into(), smoothing: 0.0 }
    }
}

#[typetag::serde(name = "ner")]
impl Task for Ner {
    fn decoder(&self) -> String {
        format!("{} {}", self.decoder, self.smoothing)
    }
}
register!("task", "ner", Ner);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Sentiment;

#[typetag::serde(name = "sentiment")]
impl Task for Sentiment {
    fn decoder(&self) -> String {
        "none".into()
    }
}
register!("task", "sentiment", Sentiment);

/// The keys that all tasks share.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Shared {
    name: String,
    label: Option<String>,
}

fn shared(text: &str) -> Result<(Shared, Box<dyn Task>)> {
    let document = Document::parse("train.toml", &format!("[[tasks]]\n{text}"))?;
    document.root().sections("tasks")?[0].read_shared_and_plugin("task")
}

fn alone(text: &str, default_name: Option<&str>) -> Result<Box<dyn Task>> {
    let document = Document::parse("train.toml", &format!("[task]\n{text}"))?;
    document.root().section_or_empty("task")?.read_plugin("task", default_name)
}

fn fault(text: &str) -> String {
    shared(text).unwrap_err().to_string()
}

#[test]
fn keys_stand_before_and_after_the_type() {
    let (keys, task) =
        shared("decoder = 'greedy'\nlabel = 'l'\ntype = 'ner'\nname = 'n'\nsmoothing = 1\n").unwrap();
    assert_eq!(keys, Shared { name: "n".into(), label: Some("l".into()) });
    assert_eq!(task.decoder(), "greedy 1");
    assert_eq!(alone("smoothing = 1\ntype = 'ner'\ndecoder = 'd'\n", None).unwrap().decoder(), "d 1");
}

#[test]
fn a_plugin_without_keys_is_read_and_takes_none() {
    assert_eq!(shared("name = 'n'\ntype = 'sentiment'\n").unwrap().1.decoder(), "none");
    assert_eq!(
        alone("type = 'sentiment'\ncolour = 1\n", None).unwrap_err().to_string(),
        "train.toml:3:1: unknown key `colour` in [task] type = \"sentiment\"; it has no keys"
    );
}

#[test]
fn the_default_name_is_chosen_where_type_is_missing() {
    assert_eq!(alone("decoder = 'd'\n", Some("ner")).unwrap().decoder(), "d 0");
    assert_eq!(
        alone("", None).unwrap_err().to_string(),
        "train.toml:1:1: [task] lacks the key `type` (known: ner, sentiment)"
    );
}

#[test]
fn an_unknown_or_impossible_type_is_reported_at_its_value() {
    assert_eq!(
        fault("name = 'n'\ntype = 'nerr'\n"),
        "train.toml:3:8: unknown task type `nerr` (known: ner, sentiment); did you mean `ner`?"
    );
    assert_eq!(
        fault("type = 3\n"),
        "train.toml:2:8: `type` in [[tasks]] #1: expected string, found integer 3"
    );
}

#[test]
fn an_unknown_key_names_the_type_and_knows_shared_keys_too() {
    assert_eq!(
        fault("name = 'n'\ndecodr = 'd'\ntype = 'ner'\n"),
        "train.toml:3:1: unknown key `decodr` in [[tasks]] type = \"ner\"; did you mean `decoder`?"
    );
    assert_eq!(
        fault("type = 'ner'\nlabl = 'd'\n"),
        "train.toml:3:1: unknown key `labl` in [[tasks]] type = \"ner\"; did you mean `label`?"
    );
    assert_eq!(
        fault("type = 'ner'\ncolour = 'd'\n"),
        "train.toml:3:1: unknown key `colour` in [[tasks]] type = \"ner\"; its keys: name, label, decoder, smoothing"
    );
}

#[test]
fn a_wrong_value_and_a_missing_shared_key_name_the_type() {
    assert_eq!(
        fault("type = 'ner'\nname = 'n'\nsmoothing = -1\n"),
        "train.toml:4:13: `smoothing` in [[tasks]] type = \"ner\": expected number ≥ 0, found integer -1"
    );
    assert_eq!(
        fault("type = 'ner'\n"),
        "train.toml:1:1: [[tasks]] type = \"ner\" lacks the key `name` (string)"
    );
}
