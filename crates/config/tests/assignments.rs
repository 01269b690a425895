//! Assignments from the command line: what they reach, what they keep, and how their faults are reported.
#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use polytask_config::{Document, Result, TomlValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Trainer {
    epochs: usize,
    name: String,
    optimizer: Option<Optimizer>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Optimizer {
    rate: f32,
}

const TEXT: &str = "\
# The run.
[trainer] # how
# Passes over the data.
epochs = 5 # enough
name = \"run\"

[[tasks]] # the first
name = \"intent\"
weight = 1.0

[[tasks]]
name = \"polarity\" # the second
";

fn after(assignments: &[&str]) -> Result<Document> {
    let mut document = Document::parse("train.toml", TEXT)?;
    assignments.iter().try_for_each(|assignment| document.set(assignment))?;
    Ok(document)
}

fn trainer(assignments: &[&str]) -> Result<Trainer> {
    after(assignments)?.root().section_or_empty("trainer")?.read()
}

fn fault(assignment: &str) -> String {
    trainer(&[assignment]).unwrap_err().to_string()
}

#[test]
fn the_document_without_assignments_is_written_as_it_was() {
    assert_eq!(after(&[]).unwrap().to_toml(), TEXT);
}

#[test]
fn assignments_are_folded_in_and_comments_stay() {
    let document = after(&[
        "trainer.epochs=3",
        "trainer.name = long run",
        "tasks.polarity.weight=2",
        "tasks.intent.weight=0.5",
        "encoder.width=64",
        "encoder.attention.heads=4",
        "data={ path = 'a' }",
        "data.limit=9",
    ]);
    let expected = "\
data = { path = 'a' , limit = 9 }
# The run.
[trainer] # how
# Passes over the data.
epochs = 3 # enough
name = \"long run\"

[[tasks]] # the first
name = \"intent\"
weight = 0.5

[[tasks]]
name = \"polarity\" # the second
weight = 2

[encoder]
width = 64

[encoder.attention]
heads = 4
";
    assert_eq!(document.unwrap().to_toml(), expected);
}

#[test]
fn values_are_toml_or_else_a_string() {
    assert_eq!(trainer(&["trainer.epochs=3"]).unwrap().epochs, 3);
    assert_eq!(trainer(&["trainer.name=long run"]).unwrap().name, "long run");
    assert_eq!(trainer(&["trainer.name=\"3\""]).unwrap().name, "3");
    assert_eq!(trainer(&["trainer.name="]).unwrap().name, "");
    assert_eq!(trainer(&["trainer.optimizer.rate=1"]).unwrap().optimizer.unwrap().rate, 1.0);
    assert_eq!(trainer(&["trainer.epochs=3", "trainer.epochs=4"]).unwrap().epochs, 4);
    assert_eq!(trainer(&["trainer={ epochs = 1 }"]).unwrap().name, "");
}

#[test]
fn a_fault_in_what_was_set_names_the_assignment() {
    assert_eq!(
        fault("trainer.epohcs=3"),
        "--set trainer.epohcs=3: unknown key `epohcs` in [trainer]; did you mean `epochs`?"
    );
    assert_eq!(
        fault("trainer.epochs=three"),
        "--set trainer.epochs=three: `epochs` in [trainer]: expected integer ≥ 0, found string \"three\""
    );
    assert_eq!(
        fault("trainer.optimizer={ rat = 1 }"),
        "--set trainer.optimizer={ rat = 1 }: unknown key `rat` in `optimizer` of [trainer]; did you mean `rate`?"
    );
    let unknown = after(&["trianer.epochs=3"]).unwrap();
    assert_eq!(
        unknown.root().check_sections(&["trainer", "tasks"]).unwrap_err().to_string(),
        "--set trianer.epochs=3: unknown section `trianer`; did you mean `trainer`?"
    );
}

#[test]
fn a_fault_beside_what_was_set_keeps_its_place_in_the_file() {
    let mut document = Document::parse("train.toml", "[trainer]\nepohcs = 1\n").unwrap();
    document.set("trainer.name=x").unwrap();
    let error = document.root().section_or_empty("trainer").unwrap().read::<Trainer>().unwrap_err();
    assert!(error.to_string().starts_with("train.toml:2:1: unknown key `epohcs`"), "{error}");
}

#[test]
fn an_assignment_that_cannot_be_made_says_why_and_changes_nothing() {
    let form = "expected KEY=VALUE with a key like trainer.epochs";
    assert_eq!(fault("trainer.epochs"), format!("--set trainer.epochs: {form}"));
    assert!(fault("=3").starts_with(&format!("--set =3: {form} (")));
    assert!(fault("a..b=3").starts_with(&format!("--set a..b=3: {form} (")));
    assert_eq!(
        fault("trainer.epochs.x=3"),
        "--set trainer.epochs.x=3: `epochs` is not a table, so `x` cannot be set in it"
    );
    assert_eq!(
        fault("tasks.intnt.weight=3"),
        "--set tasks.intnt.weight=3: no element of `tasks` has the name `intnt` (names: intent, polarity); \
         did you mean `intent`?"
    );
    assert_eq!(
        fault("tasks.intent=3"),
        "--set tasks.intent=3: `intent` is a whole table; set a key of it: tasks.intent.KEY=VALUE"
    );
    assert_eq!(fault("trainer.epochs=nan"), "--set trainer.epochs=nan: nan is not a finite number");
    let mut document = after(&[]).unwrap();
    document.set("new.epochs=2026-11-24").unwrap_err();
    assert_eq!(document.to_toml(), TEXT);
}

#[test]
fn keys_given_one_by_one_may_hold_any_character() {
    let text = "[[data]]\nname = 'a=b.\"c\"'\ntrain = 'x' # here\n";
    let mut document = Document::parse("train.toml", text).unwrap();
    let name = "a=b.\"c\"";
    document.set_at(&["data", name, "train"], ["y", "z\u{7f}"].into_iter().collect::<TomlValue>()).unwrap();
    let expected = text.replace("'x'", "[\"y\", \"z\\u007F\"]");
    assert_eq!(document.to_toml(), expected);
    let error = document.set_at(&["data", "a=c", "train"], "y").unwrap_err().to_string();
    assert!(
        error.starts_with("--set data.\"a=c\".train=\"y\": no element of `data` has the name `a=c`"),
        "{error}"
    );
}
