//! The task type alone: everything that the trainer does to it.

use polytask_data::{Label, Place, Row};
use polytask_task::{Target, Task, Text};
use serde_json::json;

#[allow(dead_code, reason = "the tests call no `main`")]
#[path = "../src/main.rs"]
mod custom_task;

fn row((text, stars): (&str, f64)) -> Row {
    let mut row = Row::from_text(text, Place::new("reviews.jsonl", 1));
    row.labels.insert("stars".into(), Label::Number(stars));
    row
}

#[test]
fn a_rating_conforms() {
    let texts =
        [("never again", 1.0), ("as good as it gets", 5.0), ("fine, mostly", 3.5), ("rather poor", 2.0)];
    let mut rows: Vec<Row> = texts.into_iter().map(row).collect();
    rows.push(Row::from_text("no stars given", Place::new("reviews.jsonl", 5)));
    polytask_task::conformance::check("type = \"rating\"\nlow = 1\nhigh = 5", &rows, "stars");
}

#[test]
fn what_is_no_rating_is_refused() {
    let rating = |high: u32| -> Box<dyn Task> {
        serde_json::from_value(json!({ "type": "rating", "low": 1, "high": high })).unwrap()
    };
    let row = row(("never again", 1.0));
    let message = |label: Label| rating(5).target(&label, Text::from(&row)).unwrap_err().to_string();
    assert_eq!(message(Label::Number(6.0)), "expected a number from 1 to 5; found the number 6");
    assert_eq!(message(Label::Text("five".into())), "expected a number from 1 to 5; found the string `five`");
    let from_csv = rating(5).target(&Label::Text("3.5".into()), Text::from(&row)).unwrap();
    assert_eq!(from_csv, Target::Values(vec![3.5]));
    let message = rating(1).fit(&[]).unwrap_err().to_string();
    assert_eq!(message, "`low` must be less than `high`; found 1 and 1");
}
