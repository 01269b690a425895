//! What each verb does when all is well.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::{json, polytask, project, row, run, trained};

#[test]
fn init_writes_what_check_finds_good() {
    let folder = tempfile::tempdir().unwrap();
    let (stdout, _) = run(folder.path(), &["init", "start"], 0);
    assert!(stdout.starts_with("wrote start/polytask.toml\n"), "{stdout}");
    let (stdout, stderr) = run(folder.path(), &["check", "start/polytask.toml"], 0);
    assert!(stdout.lines().all(|line| line.starts_with('✔')), "{stdout}");
    assert_eq!(stderr, "");
    for part in
        ["data sample: 3000 rows to train on, 400", "task entities: 5 classes", "lengths: ", "memory: about "]
    {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn check_counts_what_is_doubtful() {
    let folder = project();
    let path = folder.path().join("dev.jsonl");
    // The fourth row stands in the training file too; the span of the last one ends within a word.
    let odd =
        "{\"text\": \"goods to Madrid\", \"entities\": [{\"start\": 9, \"end\": 12, \"label\": \"city\"}]}\n";
    fs::write(&path, (40..43).chain([7]).map(row).chain([odd.to_owned()]).collect::<String>()).unwrap();
    let (stdout, _) = run(folder.path(), &["check", "train.toml", "--set", "tokenizer.max_tokens=6"], 0);
    for line in [
        "⚠ data shop: 40 rows to train on, 5 to measure on; few to train on (under 100)",
        "⚠ data shop: 1 of 5 texts to measure on are also trained on: dev.jsonl:4 is train.jsonl:8",
        "✔ task intent: 40 labels to train on, 4 to measure on, in data shop",
        "✔ task intent: 2 classes, the most common is `",
        "⚠ task entities: oddities in labels: 1\n    dev.jsonl:5: ",
        "⚠ lengths: ",
        " words beyond `max_tokens` are cut off",
        "✔ epoch: 5 batches, 5 steps: 5 of data shop",
    ] {
        assert!(stdout.contains(line), "{line}\n---\n{stdout}");
    }
}

#[test]
fn check_fails_where_training_would() {
    let folder = project();
    let unseen = row(40).replace("order", "praise");
    fs::write(folder.path().join("dev.jsonl"), unseen.repeat(5)).unwrap();
    let (stdout, _) = run(folder.path(), &["check", "train.toml", "--json"], 1);
    let findings = json(&stdout);
    let failures: Vec<_> =
        findings.as_array().unwrap().iter().filter(|one| one["level"] == "failure").collect();
    assert_eq!(failures.len(), 1, "{stdout}");
    assert_eq!(failures[0]["subject"], "task intent");
    let message = failures[0]["message"].as_str().unwrap();
    assert!(message.starts_with("labels that cannot be used: 5\n    dev.jsonl:1: "), "{message}");
    assert!(message.contains("`praise`") && message.ends_with("… and 2 more"), "{message}");
    run(folder.path(), &["train", "train.toml", "--out", "model"], 1);
}

#[test]
fn check_goes_on_after_a_failure() {
    let folder = project();
    let more = "\n[[data]]\nname = \"other\"\ntrain = \"other.jsonl\"\ndev = \"dev.jsonl\"\n\n\
                [[tasks]]\nname = \"mood\"\ntype = \"sentiment\"\nlabel = \"other.mood\"\n";
    let text = fs::read_to_string(folder.path().join("train.toml")).unwrap() + more;
    fs::write(folder.path().join("train.toml"), text).unwrap();
    let (stdout, _) = run(folder.path(), &["check", "train.toml"], 1);
    assert!(stdout.starts_with("✘ data other: other.jsonl: no such file"), "{stdout}");
    assert!(stdout.contains("\n✔ task entities: 40 labels") && !stdout.contains("task mood"), "{stdout}");

    // All labels of one task are of one class; the texts are those that the other data set measures on.
    let other =
        (40..43).map(row).map(|row| row.replace("\"intent\": ", "\"mood\": ").replace("refund", "order"));
    fs::write(folder.path().join("other.jsonl"), other.collect::<String>()).unwrap();
    let (stdout, _) = run(folder.path(), &["check", "train.toml"], 1);
    for line in [
        "⚠ data shop: 3 of 12 texts to measure on are also trained on: dev.jsonl:1 is other.jsonl:1, ",
        "✘ task mood: all 3 labels are `order`: a task needs at least two classes",
        "✔ task entities: 40 labels",
    ] {
        assert!(stdout.contains(line), "{line}\n---\n{stdout}");
    }
    let only = [
        "check",
        "train.toml",
        "--set",
        "data.other.train=train.jsonl",
        "--set",
        "tasks.mood.label=other.intent",
    ];
    let labels = ["--set", "tasks.mood.labels=[\"order\", \"refund\"]", "--set", "encoder.heads=3"];
    let (stdout, _) = run(folder.path(), &[&only[..], &labels].concat(), 1);
    assert!(
        stdout.contains("\n✘ training: transformer: `width` (16) must be a multiple of `heads` (3)"),
        "{stdout}"
    );
}

#[test]
fn train_reports_on_both_outputs() {
    let folder = project();
    let (stdout, stderr) = run(folder.path(), &["train", "train.toml", "--out", "deep/model"], 0);
    assert!(stdout.starts_with("intent\n") && stdout.contains("\nentities\n"), "{stdout}");
    assert!(stdout.contains("accuracy") && stdout.ends_with("model: deep/model\n"), "{stdout}");
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{stderr}");
    assert!(lines[0].starts_with("device: "), "{stderr}");
    assert!(lines[1].starts_with("training all ") && lines[1].ends_with(" parameters"), "{stderr}");
    assert!(lines[2].starts_with("epoch 1/2  ") && lines[2].ends_with(" *"), "{stderr}");
    for part in ["loss intent ", " entities ", "dev intent accuracy ", "entities entity F1 ", "mean "] {
        assert!(lines[3].contains(part), "{part}: {stderr}");
    }
}

#[test]
fn train_json_is_one_object() {
    let folder = project();
    let arguments =
        ["train", "train.toml", "--out", "model", "--json", "--threads", "1", "--set", "trainer.epochs=1"];
    let (stdout, _) = run(folder.path(), &arguments, 0);
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let summary = json(&stdout);
    let keys: Vec<_> = summary.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        "seconds steps tokens_per_s examples_per_s padding peak_rss_mb parameters trained_parameters dev";
    assert_eq!(keys.join(" "), expected);
    assert_eq!(summary["steps"], 5);
    assert!(summary["parameters"].as_u64().unwrap() > 1000);
    assert!(summary["dev"]["intent"].is_f64() && summary["dev"]["entities"].is_f64(), "{stdout}");
}

#[test]
fn train_resumes_a_finished_run_with_nothing_to_do() {
    let folder = trained();
    let before = fs::read(folder.path().join("model/checkpoint.safetensors")).unwrap();
    // The same file by another path: what counts is the same configuration.
    let config = folder.path().join("train.toml");
    run(folder.path(), &["train", config.to_str().unwrap(), "--out", "model", "--resume"], 0);
    assert_eq!(fs::read(folder.path().join("model/checkpoint.safetensors")).unwrap(), before);
}

#[test]
fn eval_needs_neither_the_place_nor_the_training_file() {
    let folder = trained();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(folder.path().join("model"), elsewhere.path().join("moved")).unwrap();
    fs::remove_file(folder.path().join("train.jsonl")).unwrap();
    let (stdout, _) = run(elsewhere.path(), &["eval", "moved", "--json"], 0);
    let kept = fs::read_to_string(elsewhere.path().join("moved/metrics.json")).unwrap();
    let reports = json(&stdout);
    for entry in json(&kept).as_array().unwrap() {
        assert_eq!(reports[entry[0].as_str().unwrap()], entry[1], "the same as after training");
    }

    fs::write(elsewhere.path().join("other.jsonl"), row(60) + &row(61) + &row(62)).unwrap();
    let (stdout, _) = run(elsewhere.path(), &["eval", "moved", "--data", "shop=other.jsonl"], 0);
    assert!(stdout.starts_with("intent\n") && stdout.ends_with("examples          3\n"), "{stdout}");
}

#[test]
fn eval_reads_all_rows_of_a_given_file() {
    let folder = project();
    run(folder.path(), &["train", "train.toml", "--out", "model", "--set", "data.shop.max_rows=10"], 0);
    let (stdout, _) = run(folder.path(), &["eval", "model", "--data", "shop=dev.jsonl"], 0);
    assert!(stdout.ends_with("examples         12\n"), "{stdout}");
}

#[test]
fn predict_answers_arguments() {
    let folder = trained();
    let texts = ["please send parcel 3 to Oslo", ""];
    let arguments = ["predict", "model", texts[0], texts[1], "--attention", "--batch", "1"];
    let (stdout, _) = run(folder.path(), &arguments, 0);
    let answers: Vec<_> = stdout.lines().map(json).collect();
    assert_eq!(answers.len(), 2);
    for (answer, text) in answers.iter().zip(texts) {
        assert_eq!(answer["text"], text);
        assert!(
            answer["tasks"]["intent"]["label"].is_string() && answer["tasks"]["entities"].is_array(),
            "{stdout}"
        );
    }
    assert_eq!(answers[0]["attention"]["words"].as_array().unwrap().len(), 6);
    assert_eq!(answers[0]["attention"]["weights"]["intent"][0].as_array().unwrap().len(), 6);

    let (stdout, _) = run(folder.path(), &["predict", "model", "a", "--tasks", " entities "], 0);
    let tasks = &json(&stdout)["tasks"];
    assert_eq!(tasks.as_object().unwrap().keys().collect::<Vec<_>>(), ["entities"]);
}

/// Each answer comes before the next line is written: a reader that waits for more would never end.
#[test]
fn predict_answers_each_line_of_a_slow_writer_at_once() {
    let folder = trained();
    let mut command = polytask(folder.path(), &["predict", "model"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for text in ["to Rome", "", "café"] {
        writeln!(input, "{text}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(json(&line)["text"], text);
    }
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn predict_minds_no_broken_pipe() {
    let folder = trained();
    let mut child =
        polytask(folder.path(), &["predict", "model", "a", "b"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn quantize_writes_a_smaller_model_and_says_what_it_lost() {
    let folder = trained();
    let (stdout, _) = run(folder.path(), &["quantize", "model", "--json"], 0);
    let report = json(&stdout);
    assert_eq!(report["folder"], "model-int8");
    let task = &report["tasks"]["intent"];
    let lost = task["before"].as_f64().unwrap() - task["after"].as_f64().unwrap();
    assert!(task["metric"] == "accuracy" && task["lost"] == lost, "{stdout}");
    assert!(report["bytes"]["after"].as_u64().unwrap() < report["bytes"]["before"].as_u64().unwrap());
    run(folder.path(), &["eval", "model-int8"], 0);
    run(folder.path(), &["predict", "model-int8", "to Rome"], 0);
    let (stdout, _) = run(folder.path(), &["info", "model-int8", "--json"], 0);
    assert_eq!(json(&stdout)["precision"], "int8");

    for arguments in
        [&["quantize", "model-int8"][..], &["predict", "model-int8", "to Rome", "--precision", "bf16"]]
    {
        let (_, stderr) = run(folder.path(), arguments, 1);
        assert!(stderr.contains("model-int8 is a model of 8-bit integers"), "{stderr}");
    }
    let (_, stderr) = run(folder.path(), &["quantize", "model"], 1);
    assert!(stderr.contains("model-int8 holds a model already: give another folder with --out"), "{stderr}");
    let (stdout, _) = run(folder.path(), &["quantize", "model", "--out", "small"], 0);
    assert!(
        stdout.starts_with("task") && stdout.contains("intent") && stdout.contains(" became "),
        "{stdout}"
    );
}

#[test]
fn predict_in_bf16_answers_too() {
    let folder = trained();
    let (stdout, _) = run(folder.path(), &["predict", "model", "to Rome", "--precision", "bf16"], 0);
    assert!(json(&stdout)["tasks"]["intent"]["label"].is_string(), "{stdout}");
}

#[test]
fn info_describes_the_folder() {
    let folder = trained();
    let (stdout, _) = run(folder.path(), &["info", "model"], 0);
    for part in [
        "transformer, width 16",
        "task intent",
        "classification, 2 labels, accuracy ",
        "  model.safetensors ",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (stdout, _) = run(folder.path(), &["info", "model", "--json"], 0);
    let info = json(&stdout);
    assert_eq!(info["format_version"], 1);
    assert_eq!(info["tasks"][1]["type"], "ner");
    let parts: u64 = info["parts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(info["parameters"], parts);
    let size = fs::metadata(folder.path().join("model/model.json")).unwrap().len();
    assert_eq!(info["files"]["model.json"], size);
}

#[test]
fn tasks_lists_and_documents() {
    let folder = tempfile::tempdir().unwrap();
    let (stdout, _) = run(folder.path(), &["tasks"], 0);
    let names: Vec<_> =
        stdout.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        names[..7],
        [
            "task classification",
            "task masked_language_model",
            "task ner",
            "task sentiment",
            "encoder pretrained",
            "encoder transformer",
            "optimizer adamw"
        ]
    );
    let (stdout, _) = run(folder.path(), &["tasks", "ner"], 0);
    for part in
        ["task `ner`", "type = \"ner\"", "  decoder  (\"crf\" | \"softmax\", default \"crf\")", "`label`"]
    {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (stdout, _) = run(folder.path(), &["tasks", "transformer", "--json"], 0);
    assert_eq!(json(&stdout)[0]["keys"][0]["name"], "width");
    assert_eq!(json(&stdout)[0]["keys"][0]["type"], "integer from 1 to 16384");

    let (stdout, _) = run(folder.path(), &["tasks", "trainer"], 0);
    assert!(stdout.starts_with("section `trainer`\n") && stdout.contains("  warmup_ratio  ("), "{stdout}");
    let (stdout, _) = run(folder.path(), &["tasks", "--all"], 0);
    for part in ["# Configuration", "## `[[data]]`", "| `dev_fraction` |", "### `type = \"sentiment\"`"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}
