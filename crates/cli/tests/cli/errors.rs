//! What each verb says when something is wrong.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::{polytask, project, run, trained};

/// Runs the program, expects exit code 1, and gives the message.
#[track_caller]
fn message(folder: &std::path::Path, arguments: &[&str]) -> String {
    let (stdout, stderr) = run(folder, arguments, 1);
    assert_eq!(stdout, "");
    stderr.trim_end().to_owned()
}

#[test]
fn wrong_usage_has_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let (_, stderr) = run(folder.path(), &["trian"], 2);
    assert!(stderr.contains("'train'"), "{stderr}");
    run(folder.path(), &[], 2);
    run(folder.path(), &["train", "train.toml"], 2);
    run(folder.path(), &["predict", "model", "a", "--batch", "0"], 2);
    let (_, stderr) = run(folder.path(), &["eval", "model", "--data", "dev.jsonl"], 2);
    assert!(stderr.contains("expected NAME=FILE"), "{stderr}");
    let (_, stderr) = run(folder.path(), &["eval", "model", "--data", "shop="], 2);
    assert!(stderr.contains("expected NAME=FILE"), "{stderr}");
    let (stdout, _) = run(folder.path(), &["--version"], 0);
    assert_eq!(stdout, format!("polytask {}\n", env!("CARGO_PKG_VERSION")));
}

/// Each of them would write the same folder.
#[cfg(not(feature = "mpi"))]
#[test]
fn several_ranks_that_cannot_meet_are_refused() {
    let folder = project();
    let without = "but this program was built without";
    for (variable, reason, remedy) in [
        ("OMPI_COMM_WORLD_SIZE", without, "--features mpi"),
        ("PMI_SIZE", without, "--features mpi"),
        ("WORLD_SIZE", "but `RANK` is missing", "torchrun"),
    ] {
        let mut command = polytask(folder.path(), &["train", "train.toml", "--out", "model"]);
        let output = command.env(variable, "2").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        let expected = format!("error: `{variable}` says that 2 ranks were started, {reason}");
        assert!(message.starts_with(&expected) && message.contains(remedy), "{message}");
    }
    assert!(!folder.path().join("model").exists());
}

#[test]
fn a_configuration_is_named_with_the_place_of_its_fault() {
    let folder = project();
    let of = |arguments: &[&str]| message(folder.path(), arguments);
    let missing = of(&["check", "missing.toml"]);
    assert!(missing.starts_with("error: missing.toml: cannot be read: "), "{missing}");
    assert_eq!(missing.matches("os error").count(), 1, "a cause is said once: {missing}");

    let text = fs::read_to_string(folder.path().join("train.toml")).unwrap();
    fs::write(folder.path().join("typo.toml"), text.replace("learning_rate", "learing_rate")).unwrap();
    let line = 1 + text.lines().position(|line| line.starts_with("learning_rate")).unwrap();
    let typo = of(&["train", "typo.toml", "--out", "model"]);
    let rest = "unknown key `learing_rate` in [trainer]; did you mean `learning_rate`?";
    assert_eq!(typo, format!("error: typo.toml:{line}:1: {rest}"));
    assert!(!folder.path().join("model").exists());

    let set = of(&["check", "train.toml", "--set", "trainer.epochs=many"]);
    assert!(
        set.starts_with("error: --set trainer.epochs=many: `epochs` in [trainer]: expected integer"),
        "{set}"
    );
    let no_value = of(&["check", "train.toml", "--set", "trainer.epochs"]);
    assert!(no_value.starts_with("error: --set trainer.epochs: expected KEY=VALUE"), "{no_value}");
    let data = of(&["train", "train.toml", "--out", "new", "--set", "data.shop.train=trian.jsonl"]);
    assert!(
        data.starts_with("error: trian.jsonl: no such file") && data.ends_with("did you mean `train.jsonl`?"),
        "{data}"
    );
    assert!(!folder.path().join("new").exists(), "a run that cannot begin leaves no folder");
}

#[test]
fn init_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"], 0);
    fs::remove_file(folder.path().join("sample/dev.jsonl")).unwrap();
    let again = message(folder.path(), &["init"]);
    assert!(again.starts_with("error: polytask.toml, sample/train.jsonl: exists already"), "{again}");
    assert!(!folder.path().join("sample/dev.jsonl").exists(), "all or nothing");
}

#[test]
fn a_folder_that_holds_a_model_is_left_alone() {
    let folder = trained();
    let train = ["train", "train.toml", "--out", "model"];
    let again = message(folder.path(), &train);
    assert!(again.starts_with("error: model: holds a model or checkpoint already; add --resume"), "{again}");
    let other =
        message(folder.path(), &[&train[..], &["--resume", "--set", "trainer.learning_rate=0.5"]].concat());
    assert!(
        other.contains("made with another configuration: `trainer.learning_rate` was 0.01, now it is 0.5; "),
        "{other}"
    );
    let nothing = message(folder.path(), &["train", "train.toml", "--out", "new", "--resume"]);
    assert!(nothing.contains("no checkpoint to resume from"), "{nothing}");
    assert!(!folder.path().join("new").exists());
    let file = message(folder.path(), &["train", "train.toml", "--out", "dev.jsonl"]);
    assert!(file.starts_with("error: dev.jsonl: cannot be written to: "), "{file}");
}

#[test]
fn a_folder_without_a_model() {
    let folder = project();
    for verb in ["predict", "eval", "info"] {
        let message = message(folder.path(), &[verb, "nowhere"]);
        assert!(message.starts_with("error: nowhere: no model here (model.json is missing)"), "{message}");
    }
}

#[test]
fn a_misspelt_name_gets_its_neighbour() {
    let folder = trained();
    let of = |arguments: &[&str]| message(folder.path(), arguments);
    let task = of(&["predict", "model", "a", "--tasks", "entities,intnt"]);
    assert_eq!(
        task,
        "error: no task `intnt` in this model (it has: intent, entities); did you mean `intent`?"
    );
    let data = of(&["eval", "model", "--data", "shp=dev.jsonl"]);
    assert!(data.ends_with("no data set is called `shp` (there are: shop); did you mean `shop`?"), "{data}");
    let of_type = of(&["tasks", "nre"]);
    assert!(
        of_type.starts_with("error: no type or section `nre` (known: ")
            && of_type.ends_with("did you mean `ner`?"),
        "{of_type}"
    );
}

#[test]
fn eval_without_dev_data_asks_for_some() {
    let folder = project();
    let text = fs::read_to_string(folder.path().join("train.toml")).unwrap();
    fs::write(folder.path().join("train.toml"), text.replace("dev = \"dev.jsonl\"\n", "")).unwrap();
    let (stdout, _) = run(folder.path(), &["train", "train.toml", "--out", "model"], 0);
    assert_eq!(stdout, "model: model\n");
    let message = message(folder.path(), &["eval", "model"]);
    assert!(
        message.contains("names no dev data: give a file, `--data NAME=FILE` (data sets: shop)"),
        "{message}"
    );
    run(folder.path(), &["eval", "model", "--data", "shop=dev.jsonl"], 0);
}

#[test]
fn eval_on_texts_without_a_label_is_an_error() {
    let folder = trained();
    fs::write(folder.path().join("bare.jsonl"), "{\"text\": \"to Rome\"}\n").unwrap();
    let found = message(folder.path(), &["eval", "model", "--data", "shop=bare.jsonl"]);
    assert!(found.contains("bare.jsonl: no row has a column `intent` (found: text)"), "{found}");
    let end = "error: no label for any task in 1 texts (columns looked at: intent, entities)";
    assert!(found.ends_with(end), "{found}");
    let missing = message(folder.path(), &["eval", "model", "--data", "shop=nowhere"]);
    assert!(missing.contains("nowhere: no such file"), "{missing}");
}

#[test]
fn a_line_that_is_no_text_stops_after_the_answers_before_it() {
    let folder = trained();
    let mut command = polytask(folder.path(), &["predict", "model"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"to Rome\n\nto \xff\nto Oslo\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 2);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message, "error: standard input, line 3: not UTF-8 (byte 0xff); convert the input to UTF-8\n");
}

#[test]
fn a_damaged_model_is_no_panic() {
    let folder = trained();
    fs::write(folder.path().join("model/model.safetensors"), "short").unwrap();
    let parameters = message(folder.path(), &["predict", "model", "a"]);
    assert!(parameters.starts_with("error: model/model.safetensors: "), "{parameters}");
    fs::write(folder.path().join("model/model.json"), "{}").unwrap();
    let description = message(folder.path(), &["info", "model"]);
    assert!(description.starts_with("error: model/model.json: damaged: "), "{description}");
}
