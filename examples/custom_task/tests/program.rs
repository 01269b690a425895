//! The program as a user runs it: it trains, measures and predicts the type that it adds.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const CONFIGURATION: &str = r#"
    [encoder]
    type = "transformer"
    width = 16
    layers = 1
    heads = 2

    [[data]]
    name = "reviews"
    train = "reviews.jsonl"
    dev_fraction = 0.25

    [[tasks]]
    name = "stars"
    type = "rating"
    label = "reviews.stars"
    low = 1
    high = 5

    [trainer]
    epochs = 12
    learning_rate = 1e-2
"#;

/// The verdicts from 1 star to 5.
const VERDICTS: [&str; 5] = ["awful", "poor", "fair", "good", "superb"];

fn review(number: usize) -> (String, usize) {
    let things = ["soup", "room", "staff", "view", "bed", "tea", "lift"];
    let verdict = number * 7 % 5;
    (format!("the {} was {}", things[number % things.len()], VERDICTS[verdict]), verdict + 1)
}

/// Runs the program in the folder; its standard output.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polytask-custom-task"));
    let output = command.args(arguments).current_dir(folder).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn stars(line: &str) -> f64 {
    serde_json::from_str::<Value>(line).unwrap()["tasks"]["stars"]["rating"].as_f64().unwrap()
}

#[test]
fn the_stock_command_line_has_the_new_type() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line = |(text, stars)| json!({ "text": text, "stars": stars }).to_string() + "\n";
    fs::write(folder.join("reviews.jsonl"), (0..160).map(review).map(line).collect::<String>()).unwrap();
    fs::write(folder.join("reviews.toml"), CONFIGURATION).unwrap();

    let described = run(folder, &["tasks", "rating"]);
    assert!(
        described.contains("Predicts a rating") && described.contains("The highest rating"),
        "{described}"
    );
    run(folder, &["train", "reviews.toml", "--out", "model"]);
    let reports: Value = serde_json::from_str(&run(folder, &["eval", "model", "--json"])).unwrap();
    let (metric, value) = (&reports["stars"]["metric"], reports["stars"]["value"].as_f64().unwrap());
    assert!(metric == "R²" && value > 0.8, "{metric} {value}");

    let answers = run(folder, &["predict", "model", "the lift was awful", "the lift was superb"]);
    let ratings: Vec<f64> = answers.lines().map(stars).collect();
    assert!(1.0 <= ratings[0] && ratings[0] < 2.0 && ratings[1] > 4.0 && ratings[1] <= 5.0, "{ratings:?}");
}
