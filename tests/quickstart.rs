//! The first quarter of an hour with polytask, through the program, on less data.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use polytask_tests::assert_says;
use serde_json::Value;

fn polytask(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polytask-under-test"));
    command.args(arguments).current_dir(folder).output().unwrap()
}

/// Standard output of a run that must not fail.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = polytask(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn init_check_train_eval_predict_info() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert_says(&run(folder, &["init"]), &["polytask.toml", "sample/train.jsonl", "polytask train"]);
    let smaller =
        ["--set", "trainer.epochs=2", "--set", "data.sample.max_rows=300", "--set", "encoder.width=32"];
    run(folder, &[&["check", "polytask.toml"], &smaller[..]].concat());

    let trained =
        run(folder, &[&["train", "polytask.toml", "--out", "model", "--json"], &smaller[..]].concat());
    let trained = json(&trained);
    // 300 texts, 32 a batch, two epochs.
    assert_eq!(trained["steps"], 20);
    let again = polytask(folder, &["train", "polytask.toml", "--out", "model"]);
    assert_eq!(again.status.code(), Some(1));
    assert_says(&String::from_utf8_lossy(&again.stderr), &["error: model: holds a model", "add --resume"]);

    let reports = json(&run(folder, &["eval", "model", "--json"]));
    assert_eq!(reports["intent"]["value"], trained["dev"]["intent"]);
    let kept: Vec<(String, Value)> =
        serde_json::from_slice(&fs::read(folder.join("model/metrics.json")).unwrap()).unwrap();
    for (task, report) in &kept {
        assert_eq!(reports[task], *report, "{task}");
    }

    // The folder is complete in itself.
    fs::remove_dir_all(folder.join("sample")).unwrap();
    fs::rename(folder.join("model"), folder.join("moved")).unwrap();
    let texts = ["Where is my order VX-48213? Thanks, Marta", "It broke after a day."];
    let answers = run(folder, &["predict", "moved", texts[0], texts[1]]);
    assert_eq!(answers.lines().count(), 2);
    for (text, answer) in texts.iter().zip(answers.lines().map(json)) {
        assert_eq!(answer["text"], *text);
        assert!(
            answer["tasks"]["intent"]["label"].is_string() && answer["tasks"]["entities"].is_array(),
            "{answer}"
        );
        let polarity = answer["tasks"]["sentiment"]["polarity"].as_f64().unwrap();
        assert!((-1.0..=1.0).contains(&polarity), "{answer}");
    }
    let info = json(&run(folder, &["info", "moved", "--json"]));
    assert_eq!(info["parameters"], trained["parameters"]);
}
