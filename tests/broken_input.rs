//! Input that cannot be used is an error that names the place and the remedy, and costs nothing that was there before.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::process::Command;

use polytask_tests::{StopAfter, Workspace, assert_says, bits, files};
use polytask_trainer::{Ending, Silent, Trainer};

/// The error of training on a file `rows.…` with this content.
fn refusal(ending: &str, content: impl AsRef<[u8]>, assignments: &[&str]) -> String {
    let train = format!("data.sample.train=rows.{ending}");
    let workspace = Workspace::new(&[&[train.as_str()], assignments].concat());
    workspace.write(&format!("rows.{ending}"), content);
    workspace.train("model").unwrap_err().to_string()
}

/// Two sound rows, then `line`.
fn third_line(line: &str) -> String {
    let rows = r#"{"text": "Where is it?", "intent": "status", "sentiment": "neutral", "entities": []}
{"text": "Thanks, Ada!", "intent": "praise", "sentiment": "positive", "entities": [{"start": 8, "end": 11, "label": "person"}]}
"#;
    format!("{rows}{line}\n")
}

#[test]
fn a_file_that_does_not_exist() {
    let message = Workspace::new(&["data.sample.train=trian.jsonl"]).train("model").unwrap_err().to_string();
    assert_says(
        &message,
        &["trian.jsonl: no such file; looked in the folder /", "did you mean `train.jsonl`?"],
    );
}

#[test]
fn an_empty_file() {
    assert_says(&refusal("jsonl", "", &[]), &["rows.jsonl: no rows", "at least one text with a word"]);
}

#[test]
fn an_ending_that_tells_no_format() {
    assert_says(
        &refusal("dat", "a", &[]),
        &["rows.dat: the ending tells no format", ".jsonl", "set `format`"],
    );
}

#[test]
fn a_line_of_broken_json() {
    let message = refusal("jsonl", third_line(r#"{"text": "a", "intent": }"#), &[]);
    assert_says(&message, &["rows.jsonl:3:25: broken JSON: expected value"]);
}

#[test]
fn a_line_of_csv_with_a_field_too_many() {
    let rows = "text,intent,sentiment,entities\nhello,praise,positive,\nwell, well,praise,positive,\n";
    assert_says(&refusal("csv", rows, &[]), &["rows.csv:3: expected 4 fields (text, intent,", "found 5"]);
}

#[test]
fn bytes_that_are_no_text() {
    let rows = [third_line("").trim_end().as_bytes(), b"\n{\"text\": \"caf\xe9\"}\n"].concat();
    assert_says(&refusal("jsonl", rows, &[]), &["rows.jsonl:3: not UTF-8 (byte 0xe9)", "convert the file"]);
}

#[test]
fn a_column_that_does_not_exist() {
    let message =
        Workspace::new(&["tasks.intent.label=sample.intnet"]).train("model").unwrap_err().to_string();
    assert_says(&message, &["train.jsonl: no row has a column `intnet`", "did you mean `intent`?"]);
}

#[test]
fn tags_and_tokens_of_different_number() {
    let line = r#"{"text": "Ada wrote", "intent": "praise", "entities": ["B-person", "O", "O"]}"#;
    let message = refusal("jsonl", third_line(line), &[]);
    assert_says(&message, &["rows.jsonl:3: task `entities`: 3 tags for 2 words: a tag a word is needed"]);
}

#[test]
fn a_span_outside_the_text() {
    let line = r#"{"text": "Hi Ada", "entities": [{"start": 3, "end": 7, "label": "person"}]}"#;
    let message = refusal("jsonl", third_line(line), &[]);
    assert_says(
        &message,
        &["rows.jsonl:3: column `entities`: the span 3..7 ends behind the text", "6 characters"],
    );
}

#[test]
fn a_label_that_training_never_saw() {
    let workspace = Workspace::new(&["data.sample.dev=rows.jsonl"]);
    let line = r#"{"text": "Where?", "intent": "oder_status"}"#;
    let rows = third_line(line).replace("\"status\"", "\"order_status\"");
    workspace.write("rows.jsonl", rows.replace("person", "product"));
    let message = workspace.train("model").unwrap_err().to_string();
    assert_says(
        &message,
        &["rows.jsonl:3: task `intent`: no label `oder_status`", "did you mean `order_status`?"],
    );
}

#[test]
fn a_task_without_any_label() {
    let rows = third_line("").replace(r#""intent": "status""#, r#""intent": null"#);
    let message = refusal("jsonl", rows.replace(r#""intent": "praise""#, r#""intent": null"#), &[]);
    assert_says(
        &message,
        &["data set `sample` has no label for task `intent`", "`intent` is empty in all 2"],
    );
}

#[test]
fn a_task_of_one_class() {
    let message = refusal("jsonl", third_line("").replace("status", "praise"), &[]);
    assert_says(&message, &["task `intent`: all 2 labels are `praise`: a task needs at least two classes"]);
}

#[test]
fn texts_without_a_word_and_texts_that_are_too_long_are_warned_of() {
    let workspace = Workspace::new(&["trainer.epochs=1", "data.sample.train=rows.jsonl"]);
    // The entity is the last word, beyond the limit: it is cut off with the text.
    let (long, entities) = ("word ".repeat(150), r#"[{"start": 745, "end": 749, "label": "person"}]"#);
    let odd = format!(
        "{{\"text\": \" \\n \"}}\n{{\"text\": \"\"}}\n{{\"text\": \"{long}\", \"entities\": {entities}}}"
    );
    let rows = std::fs::read_to_string(workspace.path().join("train.jsonl")).unwrap();
    workspace.write("rows.jsonl", rows + &odd);
    let mut command = Command::new(env!("CARGO_BIN_EXE_polytask-under-test"));
    let run =
        command.args(["train", "polytask.toml", "--out", "model", "--json"]).current_dir(workspace.path());
    let output = run.output().unwrap();
    let (results, warnings) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{warnings}");
    assert_says(
        &warnings,
        &["rows.jsonl:65: no word in the text; rows without a word are left out (2 in this file)"],
    );
    assert_says(
        &warnings,
        &["rows.jsonl:67: the text has more than 128 tokens and was cut off (1 such texts)"],
    );
    // 64 texts and the long one, 8 a batch.
    assert_says(&results, &["\"steps\":9"]);
}

#[test]
fn a_loss_that_is_no_number_stops_training_and_takes_nothing_away() {
    let workspace = Workspace::new(&["trainer.epochs=2"]);
    let folder = workspace.model_folder("model");
    assert_eq!(workspace.trainer().run(&folder, &mut StopAfter(10)).unwrap(), Ending::Interrupted);
    let before = files(folder.path());

    let mut prepared = workspace.prepare().unwrap();
    prepared.settings.learning_rate = 1e30;
    let mut broken = Trainer::resume(prepared, workspace.toml(), &folder).unwrap();
    let message = broken.run(&folder, &mut Silent).unwrap_err().to_string();
    assert_says(&message, &["the loss of task `", " in batch 4 of epoch 2 (step 12)", "`learning_rate`"]);
    assert!(files(folder.path()) == before, "no file has changed");

    let mut repaired = workspace.resume(&folder).unwrap();
    repaired.run(&folder, &mut Silent).unwrap();
    let straight = workspace.train("straight").unwrap();
    assert_eq!(bits(straight.load().unwrap().parameters()), bits(folder.load().unwrap().parameters()));
}
