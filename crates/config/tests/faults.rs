//! One test for each way in which a document can be wrong: the whole message, with its place.
#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use polytask_config::{Document, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Schedule {
    /// Falls in a straight line.
    Linear,
    /// Falls along a cosine.
    Cosine,
    Constant,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Clip {
    norm: Option<f32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Trainer {
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    learning_rate: f32,
    #[schemars(range(min = 1))]
    epochs: usize,
    #[schemars(range(min = 0.0, max = 1.0))]
    dropout: Option<f32>,
    seed: u32,
    schedule: Option<Schedule>,
    files: OneOrMany,
    betas: [f32; 2],
    weights: BTreeMap<String, f32>,
    clip: Clip,
    #[schemars(length(min = 1))]
    name: String,
    even: Even,
}

impl Default for Trainer {
    fn default() -> Self {
        Trainer {
            learning_rate: 0.001,
            epochs: 5,
            dropout: None,
            seed: 0,
            schedule: None,
            files: OneOrMany::Many(Vec::new()),
            betas: [0.9, 0.999],
            weights: BTreeMap::new(),
            clip: Clip::default(),
            name: "run".into(),
            even: Even(0),
        }
    }
}

/// A rule that only the type's own `Deserialize` knows.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "i64")]
#[schemars(with = "i64")]
struct Even(i64);

impl TryFrom<i64> for Even {
    type Error = String;
    fn try_from(number: i64) -> Result<Even, String> {
        if number % 2 == 0 { Ok(Even(number)) } else { Err(format!("{number} is odd")) }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Source {
    path: String,
    limit: Option<usize>,
}

fn trainer(text: &str) -> Result<Trainer> {
    Document::parse("train.toml", text)?.root().section_or_empty("trainer")?.read()
}

/// The message for one line under `[trainer]`, which is line 2 of the document.
fn fault(line: &str) -> String {
    trainer(&format!("[trainer]\n{line}\n")).unwrap_err().to_string()
}

fn parse_fault(text: &str) -> String {
    Document::parse("train.toml", text).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_gets_its_neighbour_or_the_list() {
    assert_eq!(
        fault("learing_rate = 0.1"),
        "train.toml:2:1: unknown key `learing_rate` in [trainer]; did you mean `learning_rate`?"
    );
    assert_eq!(
        fault("  colour = 1"),
        "train.toml:2:3: unknown key `colour` in [trainer]; its keys: learning_rate, epochs, dropout, seed, \
         schedule, files, betas, weights, clip, name, even"
    );
}

#[test]
fn an_unknown_key_of_a_nested_table_says_where() {
    let message = "unknown key `nrom` in `clip` of [trainer]; did you mean `norm`?";
    assert_eq!(fault("clip = { nrom = 1 }"), format!("train.toml:2:10: {message}"));
    assert_eq!(fault("clip.nrom = 1"), format!("train.toml:2:6: {message}"));
    assert_eq!(fault("[trainer.clip]\nnrom = 1"), format!("train.toml:3:1: {message}"));
}

#[test]
fn a_wrong_type_is_expected_and_found() {
    assert_eq!(
        fault("epochs = \"three\""),
        "train.toml:2:10: `epochs` in [trainer]: expected integer ≥ 1, found string \"three\""
    );
    assert_eq!(
        fault("epochs = 3.0"),
        "train.toml:2:10: `epochs` in [trainer]: expected integer ≥ 1, found number 3.0"
    );
    assert_eq!(
        fault("files = true"),
        "train.toml:2:9: `files` in [trainer]: expected string or list of string, found boolean true"
    );
    assert_eq!(
        fault("files = [\"a\", [\"b\"]]"),
        "train.toml:2:15: `files[1]` in [trainer]: expected string, found list of 1"
    );
    assert_eq!(
        fault("weights = { a = 1, b = \"x\" }"),
        "train.toml:2:24: `b` in `weights` of [trainer]: expected number, found string \"x\""
    );
    assert_eq!(fault("clip = 1"), "train.toml:2:8: `clip` in [trainer]: expected table, found integer 1");
}

#[test]
fn a_value_out_of_range_is_refused() {
    assert_eq!(
        fault("epochs = 0"),
        "train.toml:2:10: `epochs` in [trainer]: expected integer ≥ 1, found integer 0"
    );
    assert_eq!(
        fault("learning_rate = 0"),
        "train.toml:2:17: `learning_rate` in [trainer]: expected number > 0, found integer 0"
    );
    assert_eq!(
        fault("dropout = 1.5"),
        "train.toml:2:11: `dropout` in [trainer]: expected number from 0 to 1, found number 1.5"
    );
    assert_eq!(
        fault("seed = 5000000000"),
        "train.toml:2:8: `seed` in [trainer]: expected integer ≥ 0 of 32 bits, found integer 5000000000"
    );
    assert_eq!(
        fault("betas = [0.9, 0.99, 0.999]"),
        "train.toml:2:9: `betas` in [trainer]: expected list of number, 2 long, found list of 3"
    );
    assert_eq!(
        fault("name = \"\""),
        "train.toml:2:8: `name` in [trainer]: expected string, at least 1 long, found string \"\""
    );
    assert_eq!(
        fault("learning_rate = 1e300"),
        "train.toml:2:17: `learning_rate` in [trainer]: expected number > 0 of 32 bits, found number 1e+300"
    );
}

#[test]
fn a_value_outside_an_enum_gets_its_neighbour_and_the_list() {
    assert_eq!(
        fault("schedule = \"cosinus\""),
        "train.toml:2:12: `schedule` in [trainer]: unknown value `cosinus` (known: constant, linear, cosine); \
         did you mean `cosine`?"
    );
    assert_eq!(
        fault("schedule = 3"),
        "train.toml:2:12: `schedule` in [trainer]: expected \"constant\" | \"linear\" | \"cosine\", found integer 3"
    );
}

#[test]
fn a_missing_key_is_reported_at_its_table() {
    let document =
        Document::parse("train.toml", "# data\n[[data]]\npath = 'a'\n\n[[data]]\nlimit = 3\n").unwrap();
    let sources = document.root().sections("data").unwrap();
    assert_eq!(sources[0].read::<Source>().unwrap().path, "a");
    assert_eq!(
        sources[1].read::<Source>().unwrap_err().to_string(),
        "train.toml:5:1: [[data]] #2 lacks the key `path` (string)"
    );
}

#[test]
fn what_a_type_itself_refuses_is_reported_at_its_table() {
    assert_eq!(fault("even = 3"), "train.toml:1:1: [trainer]: 3 is odd");
}

#[test]
fn an_unknown_section_gets_its_neighbour_or_the_list() {
    let check = |text: &str| {
        let document = Document::parse("train.toml", text).unwrap();
        document.root().check_sections(&["trainer", "tasks"]).map_err(|error| error.to_string())
    };
    assert_eq!(check("[[tasks]]\n[trainer]\n"), Ok(()));
    assert_eq!(
        check("\n[trianer]\nepochs = 1\n"),
        Err("train.toml:2:2: unknown section `trianer`; did you mean `trainer`?".into())
    );
    assert_eq!(
        check("seed = 1\n"),
        Err("train.toml:1:1: unknown section `seed`; known: trainer, tasks".into())
    );
}

#[test]
fn one_table_and_a_list_of_tables_are_not_confused() {
    let document = Document::parse("train.toml", "[[trainer]]\n[tasks]\n").unwrap();
    assert_eq!(
        document.root().section_or_empty("trainer").unwrap_err().to_string(),
        "train.toml:1:1: `trainer` must be one table [trainer], found list of 1"
    );
    assert_eq!(
        document.root().sections("tasks").unwrap_err().to_string(),
        "train.toml:2:1: `tasks` must be a list of tables [[tasks]], found table"
    );
}

#[test]
fn a_syntax_error_keeps_its_place() {
    assert_eq!(
        parse_fault("a = 1\nb = tru\n"),
        "train.toml:2:5: not valid TOML: invalid boolean, expected `true`, at `tru`"
    );
    assert_eq!(parse_fault("a = 1\na = 2\n"), "train.toml:2:1: not valid TOML: duplicate key, at `a`");
    assert_eq!(parse_fault("[a\n"), "train.toml:1:3: not valid TOML: unclosed table, expected `]`");
}

#[test]
fn dates_and_numbers_that_are_not_finite_are_refused() {
    assert_eq!(
        parse_fault("[a]\nb = [1, 2026-11-24]\n"),
        "train.toml:2:9: no key takes a date or time; if text is meant, write it in quotes"
    );
    assert_eq!(parse_fault("a = nan\n"), "train.toml:1:5: nan is not a finite number");
    assert_eq!(parse_fault("a = { b = -inf }\n"), "train.toml:1:11: -inf is not a finite number");
}

#[test]
fn a_column_counts_characters() {
    assert_eq!(parse_fault("größe = 'ä' x\n").split(": ").next(), Some("train.toml:1:13"));
}

#[test]
fn a_file_that_is_missing_or_not_utf8_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.toml");
    let name = path.display();
    let missing = Document::read(&path).unwrap_err();
    assert!(matches!(missing, Error::Read { .. }));
    assert!(missing.to_string().starts_with(&format!("{name}: cannot be read: ")), "{missing}");
    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    assert_eq!(
        Document::read(&path).unwrap_err().to_string(),
        format!("{name}:2:6: the text is not UTF-8 from here; save the file as UTF-8")
    );
    std::fs::write(&path, "[trainer]\nepochs = 7\n").unwrap();
    let read: Trainer =
        Document::read(&path).unwrap().root().section_or_empty("trainer").unwrap().read().unwrap();
    assert_eq!(read.epochs, 7);
}

#[test]
fn a_caller_reports_its_own_fault_at_a_key() {
    let document = Document::parse("train.toml", "[trainer]\nname = 'x'\n").unwrap();
    let table = document.root().section_or_empty("trainer").unwrap();
    assert_eq!(table.error_at("name", "`x` is taken").to_string(), "train.toml:2:8: `x` is taken");
    assert_eq!(table.error_at("epochs", "too few").to_string(), "train.toml:1:1: too few");
    assert_eq!(document.root().error_at("data", "no data").to_string(), "train.toml:1:1: no data");
}

#[test]
fn absent_is_the_default_and_every_form_is_read() {
    assert_eq!(trainer("").unwrap(), Trainer::default());
    let text = "[trainer]\nlearning_rate = 1\nepochs = 2\ndropout = 0\nseed = 4294967295\nschedule = 'constant'\n\
                files = 'a'\nbetas = [0, 1]\nweights = { a = 1, b = 0.5 }\nname = 'n'\neven = 2\n\
                [trainer.clip]\nnorm = 1\n";
    let expected = Trainer {
        learning_rate: 1.0,
        epochs: 2,
        dropout: Some(0.0),
        seed: u32::MAX,
        schedule: Some(Schedule::Constant),
        files: OneOrMany::One("a".into()),
        betas: [0.0, 1.0],
        weights: [("a".to_owned(), 1.0), ("b".to_owned(), 0.5)].into(),
        clip: Clip { norm: Some(1.0) },
        name: "n".into(),
        even: Even(2),
    };
    assert_eq!(trainer(text).unwrap(), expected);
}
