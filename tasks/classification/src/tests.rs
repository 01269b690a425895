use polytask_data::{Place, Row};
use polytask_task::conformance;

use super::*;

fn text(words: &str) -> Row {
    Row::from_text(words, Place::new("news.jsonl", 1))
}

fn rows(labels: &[Option<Label>]) -> Vec<Row> {
    let texts = ["a late goal", "the vote was close", "rain again tomorrow", "a second goal", "they vote"];
    let labelled = labels.iter().zip(texts.iter().cycle()).map(|(label, words)| {
        let mut row = text(words);
        row.labels.extend(label.clone().map(|label| ("topic".to_owned(), label)));
        row
    });
    labelled.collect()
}

fn names(names: &[&str]) -> Vec<Row> {
    let label =
        |name: &&str| Some(*name).filter(|name| !name.is_empty()).map(|name| Label::Text(name.into()));
    rows(&names.iter().map(label).collect::<Vec<_>>())
}

fn list(names: &[&str]) -> Label {
    Label::List(names.iter().map(|name| (*name).to_owned()).collect())
}

fn fitted(mut task: Classification, labels: &[Label]) -> Result<Classification> {
    let row = text("x");
    task.fit(&labels.iter().map(|label| (label, Text::from(&row))).collect::<Vec<_>>())?;
    Ok(task)
}

fn target(task: &Classification, label: &Label) -> Result<Target> {
    task.target(label, Text::from(&text("x")))
}

#[test]
fn one_class_a_text_conforms() {
    let rows = names(&["sport", "politics", "weather", "", "politics", "sport"]);
    conformance::check(r#"type = "classification""#, &rows, "topic");
    let keys = "label_smoothing = 0.1\nclass_weights = \"balanced\"\nlabels = [\"weather\", \"sport\", \"politics\"]";
    conformance::check(&format!("type = \"classification\"\n{keys}"), &rows, "topic");
    let weights = "type = \"classification\"\nclass_weights = [1.0, 0.5, 2]";
    conformance::check(weights, &rows, "topic");
}

#[test]
fn several_classes_a_text_conform() {
    let lists = [list(&["sport", "local"]), list(&[]), list(&["politics"]), list(&["sport"])];
    let rows_of_lists = rows(&[lists.map(Some).as_slice(), &[None]].concat());
    let keys = "type = \"classification\"\nmulti_label = true\n";
    conformance::check(keys, &rows_of_lists, "topic");
    conformance::check(&format!("{keys}threshold = 0.3\nlabel_smoothing = 0.2"), &rows_of_lists, "topic");
    let rows_of_strings = names(&["sport; local", "politics", "", "sport", "local;politics"]);
    conformance::check(&format!("{keys}separator = \";\""), &rows_of_strings, "topic");
}

#[test]
fn numbers_are_classes_by_their_digits() {
    let task = fitted(Classification::default(), &[Label::Number(3.0), Label::Number(1.0)]).unwrap();
    assert_eq!(task.labels.names(), ["1", "3"]);
    assert_eq!(target(&task, &Label::Number(3.0)).unwrap(), Target::Ids(vec![1]));
}

#[test]
fn several_classes_are_a_list_or_one_string() {
    let task = Classification { multi_label: true, ..Default::default() };
    let task = fitted(task, &[list(&["b", "a"]), Label::Text("c | b|".into())]).unwrap();
    assert_eq!(task.labels.names(), ["a", "b", "c"]);
    assert_eq!(target(&task, &Label::Text(" b| c".into())).unwrap(), Target::Values(vec![0.0, 1.0, 1.0]));
    assert_eq!(target(&task, &list(&[])).unwrap(), Target::Values(vec![0.0; 3]));
    let counts =
        task.label_counts(&[&Target::Values(vec![0.0, 1.0, 1.0]), &Target::Values(vec![0.0, 1.0, 0.0])]);
    assert_eq!(counts, [("a".to_owned(), 0), ("b".to_owned(), 2), ("c".to_owned(), 1)]);
}

#[test]
fn balanced_weights_make_all_classes_count_the_same() {
    let task =
        Classification { class_weights: ClassWeights::Rule(WeightRule::Balanced), ..Default::default() };
    let labels = ["a", "b", "b", "b"].map(|name| Label::Text(name.into()));
    let task = fitted(task, &labels).unwrap();
    // 4 texts, 2 classes: 4 / (2 · 1) and 4 / (2 · 3).
    assert_eq!(task.class_weights, ClassWeights::Each(vec![2.0, 2.0 / 3.0]));
}

#[test]
fn the_answer_names_the_classes_above_the_threshold() {
    let labels = Classes::from(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    let task = Classification { labels, multi_label: true, ..Default::default() };
    let prediction =
        Prediction { target: Target::Values(vec![1.0, 0.0, 1.0]), confidence: vec![0.51239, 0.2, 0.9] };
    let answer = task.answer(&prediction, Text::from(&text("x")));
    let expected = r#"{"labels":[{"label":"a","confidence":0.5124},{"label":"c","confidence":0.9}]}"#;
    assert_eq!(answer.to_string(), expected);
}

#[test]
fn labels_of_another_form_are_refused() {
    let labels = ["a", "b"].map(|name| Label::Text(name.into()));
    let task = fitted(Classification::default(), &labels).unwrap();
    let message = |label| target(&task, &label).unwrap_err().to_string();
    let expected = "expected one class; found a list of 2 strings; `multi_label = true` takes several";
    assert_eq!(message(list(&["a", "b"])), expected);
    assert!(message(Label::Text("c".into())).starts_with("no label `c` (known: a, b); list it in `labels`"));
    assert!(message(Label::Spans(Vec::new())).contains("a list of 0 spans"));
    assert!(fitted(Classification::default(), &vec![labels[0].clone(); 3]).is_err());
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let labels = ["a", "b"].map(|name| Label::Text(name.into()));
    let message = |multi_label, weights: &[f32]| {
        let class_weights = ClassWeights::Each(weights.to_vec());
        fitted(Classification { multi_label, class_weights, ..Default::default() }, &labels)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(message(false, &[1.0]), "`class_weights` has 1 numbers for 2 classes: a, b");
    for useless in [[1.0, -0.5], [0.0, 0.0]] {
        let found = format!("{useless:?}");
        let expected = "`class_weights` must be numbers of at least 0, one of them greater; found ";
        assert_eq!(message(false, &useless), format!("{expected}{found}"));
    }
    assert_eq!(
        message(true, &[1.0, 2.0]),
        "`class_weights` is for one class a text: leave it out with `multi_label`"
    );
}
