use polytask_data::{Place, Row};
use polytask_task::conformance;

use super::*;

fn rows(labels: &[&str]) -> Vec<Row> {
    let texts = ["a fine film", "dull", "it was a film", "fine acting in a dull film", "never again"];
    let labelled = labels.iter().zip(texts.iter().cycle()).map(|(label, words)| {
        let mut row = Row::from_text(*words, Place::new("reviews.jsonl", 1));
        row.labels.insert("mood".into(), Label::Text((*label).into()));
        row
    });
    labelled.collect()
}

fn fitted(names: &[&str]) -> Result<Sentiment> {
    let labels: Vec<Label> = names.iter().map(|name| Label::Text((*name).into())).collect();
    let mut task = Sentiment::default();
    let text = Text { text: "", words: &[] };
    task.fit(&labels.iter().map(|label| (label, text)).collect::<Vec<_>>())?;
    Ok(task)
}

#[test]
fn two_and_more_classes_conform() {
    let two = rows(&["positive", "negative", "negative", "positive"]);
    conformance::check(r#"type = "sentiment""#, &two, "mood");
    let mut three = rows(&["good", "bad", "so-so", "good", "bad"]);
    three[3].labels.clear();
    let keys = "type = \"sentiment\"\nlabels = [\"bad\", \"so-so\", \"good\"]\nlabel_smoothing = 0.1";
    conformance::check(keys, &three, "mood");
}

#[test]
fn known_names_and_numbers_are_put_in_order() {
    let order = |names: &[&str]| fitted(names).unwrap().labels.names().to_vec();
    assert_eq!(order(&["positive", "negative", "neutral"]), ["negative", "neutral", "positive"]);
    assert_eq!(
        order(&["Very Positive", "positive", "very_negative"]),
        ["very_negative", "positive", "Very Positive"]
    );
    assert_eq!(order(&["10", "-1", "2"]), ["-1", "2", "10"]);
}

#[test]
fn an_unknown_order_is_asked_for() {
    let message = fitted(&["good", "bad", "bad"]).unwrap_err().to_string();
    let expected = "which of \"bad\", \"good\" is the better is not known: give `labels` from the most negative to the \
                    most positive";
    assert_eq!(message, expected);
}

#[test]
fn polarity_runs_from_the_first_class_to_the_last() {
    assert_eq!(polarity(&[1.0, 0.0, 0.0]), -1.0);
    assert_eq!(polarity(&[0.0, 1.0, 0.0]), 0.0);
    assert_eq!(polarity(&[0.0, 0.0, 0.0, 1.0]), 1.0);
    assert_eq!(polarity(&[0.25, 0.75]), 0.5);
    assert_eq!(polarity(&[]), 0.0);
}

#[test]
fn a_misspelt_label_gets_its_neighbour() {
    let task = fitted(&["positive", "negative"]).unwrap();
    let text = Text { text: "", words: &[] };
    let message = task.target(&Label::Text("postive".into()), text).unwrap_err().to_string();
    assert!(message.starts_with("no label `postive` (known: negative, positive); did you mean `positive`?"));
}
