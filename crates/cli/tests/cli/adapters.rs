//! Adapters: training beside frozen weights, merging, adding tasks.

use std::fs;

use tempfile::TempDir;

use crate::{CONFIGURATION, json, project, run, trained};

/// A small random BERT, made by `tests/golden/pretrained.py`.
const BERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/pretrained/bert");

/// A project whose encoder is the small BERT with LoRA, trained in `model`.
fn adapted(adapters: &str) -> (TempDir, String) {
    let folder = project();
    let tasks = &CONFIGURATION[CONFIGURATION.find("[[data]]").unwrap()..];
    let text = format!("[encoder]\ntype = 'pretrained'\npath = '{BERT}'\n[adapters]\n{adapters}\n{tasks}");
    fs::write(folder.path().join("train.toml"), text).unwrap();
    let (_, stderr) = run(folder.path(), &["train", "train.toml", "--out", "model"], 0);
    (folder, stderr)
}

/// A configuration that adds the task `kind` on the same data.
fn addition(folder: &TempDir, section: &str) {
    let text = format!(
        "[[data]]\nname = 'shop'\ntrain = 'train.jsonl'\ndev = 'dev.jsonl'\n\
         [[tasks]]\nname = 'kind'\ntype = 'classification'\nlabel = 'shop.intent'\n\
         [trainer]\nepochs = 1\nbatch_size = 8\n{section}"
    );
    fs::write(folder.path().join("new.toml"), text).unwrap();
}

#[test]
fn lora_is_trained_merged_and_exported() {
    let (folder, stderr) = adapted("lora_rank = 2");
    assert!(stderr.contains("training ") && stderr.contains(" %); the others are frozen"), "{stderr}");
    let (stdout, _) = run(folder.path(), &["check", "train.toml"], 0);
    assert!(stdout.contains("of them frozen at first"), "{stdout}");
    let (stdout, _) = run(folder.path(), &["merge", "model", "--out", "merged", "--json"], 0);
    let report = json(&stdout);
    assert_eq!((&report["folder"], &report["texts"]), (&"merged".into(), &12.into()));
    assert!(report["greatest_difference"].as_f64().unwrap() < 1e-4, "{stdout}");
    let info = |model: &str| json(&run(folder.path(), &["info", model, "--json"], 0).0);
    assert!(info("merged")["parameters"].as_u64() < info("model")["parameters"].as_u64());
    assert_eq!(info("model")["adapters"][0]["config"]["lora_rank"], 2);
    let (table, _) = run(folder.path(), &["info", "model"], 0);
    assert!(table.contains("adapters") && table.contains("shared: LoRA of rank 2\n"), "{table}");
    let eval = |model: &str| run(folder.path(), &["eval", model], 0).0;
    assert_eq!(eval("merged"), eval("model"));
    let (_, stderr) = run(folder.path(), &["merge", "merged", "--out", "again"], 1);
    assert!(stderr.contains("cannot be merged into the encoder: this model has none"), "{stderr}");
    run(folder.path(), &["export", "model", "--format", "huggingface", "--out", "exported"], 0);
    run(folder.path(), &["quantize", "model", "--out", "small"], 0);
    addition(&folder, "");
    let (_, stderr) = run(folder.path(), &["add-task", "small", "new.toml", "--out", "new"], 1);
    assert!(stderr.contains("no task can be added to a model of 8-bit integers"), "{stderr}");
}

#[test]
fn the_adapters_of_tasks_are_not_merged() {
    let (folder, _) = adapted("lora_rank = 2\nper_task = true");
    for arguments in
        [&["merge", "model", "--out", "m"][..], &["export", "model", "--format", "onnx", "--out", "m"]]
    {
        let (_, stderr) = run(folder.path(), arguments, 1);
        assert!(stderr.contains("tasks have adapters of their own"), "{stderr}");
    }
    assert!(!folder.path().join("m").exists());
}

#[test]
fn a_task_is_added_and_the_others_answer_as_before() {
    let folder = trained();
    for (section, out) in [("", "plain"), ("[adapters]\nlora_rank = 2\n", "own")] {
        addition(&folder, section);
        let (stdout, stderr) =
            run(folder.path(), &["add-task", "model", "new.toml", "--out", out, "--json"], 0);
        assert!(stderr.contains(" %); the others are frozen"), "{stderr}");
        let report = json(&stdout);
        assert_eq!(report["compared_texts"], 52);
        assert!(report["dev"]["kind"].is_number() && report["dev"]["intent"].is_null(), "{stdout}");
        let predict = |model: &str| {
            let text = "please send parcel 3 to Oslo";
            run(folder.path(), &["predict", model, "--tasks", "intent,entities", text], 0).0
        };
        assert_eq!(predict(out), predict("model"));
        let evaluation = json(&run(folder.path(), &["eval", out, "--json"], 0).0);
        assert_eq!(evaluation["kind"]["value"], report["dev"]["kind"]);
        assert!(evaluation["intent"].is_object());
        let info = json(&run(folder.path(), &["info", out, "--json"], 0).0);
        let tasks: Vec<_> = info["tasks"].as_array().unwrap().iter().map(|task| &task["value"]).collect();
        assert!(tasks.len() == 3 && tasks.iter().all(|value| value.is_number()), "{info}");
        assert!(!folder.path().join(format!("{out}.training")).exists());
    }
}

#[test]
fn what_cannot_be_added_is_refused_and_leaves_nothing() {
    let folder = trained();
    addition(&folder, "");
    let sound = fs::read_to_string(folder.path().join("new.toml")).unwrap();
    for (text, message) in [
        (
            sound.replace("'kind'", "'intent'"),
            "the model has a task `intent` already: give the new one another name, such as `intent_2`",
        ),
        (format!("{sound}[encoder]\nwidth = 8\n"), "[encoder] is the trained model's own: leave it out"),
        (
            sound.replace("dev = 'dev.jsonl'", "dev = 'train.jsonl'"),
            "there is another \"shop\" in `data` already",
        ),
    ] {
        fs::write(folder.path().join("new.toml"), text).unwrap();
        let (_, stderr) = run(folder.path(), &["add-task", "model", "new.toml", "--out", "new"], 1);
        assert!(stderr.contains(message), "{stderr}");
        assert!(!folder.path().join("new").exists() && !folder.path().join("new.training").exists());
    }
}
