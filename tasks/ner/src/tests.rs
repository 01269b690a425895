use polytask_data::{Place, Row, Span};
use polytask_task::conformance;
use polytask_tensor::Offsets;

use super::*;

fn tagged(lines: &[&[(&str, &str)]]) -> Vec<Row> {
    let row = |words: &&[(&str, &str)]| {
        let mut row = Row::from_tokens(words.iter().map(|(word, _)| *word), Place::new("news.conll", 1));
        let tags = words.iter().map(|(_, tag)| (*tag).to_owned()).collect();
        row.labels.insert("tags".into(), Label::List(tags));
        row
    };
    lines.iter().map(row).collect()
}

fn news() -> Vec<Row> {
    let mut rows = tagged(&[
        &[("Ada", "B-person"), ("Byron", "I-person"), ("left", "O"), ("London", "B-place")],
        &[("nothing", "O"), ("happened", "O")],
        &[("New", "B-place"), ("York", "I-place"), ("City", "I-place"), ("saw", "O"), ("Ada", "B-person")],
        &[("Byron", "B-person")],
        &[("Ulm", "B-place"), ("slept", "O")],
    ]);
    rows[4].labels.clear();
    rows
}

fn fitted(rows: &[Row], decoder: Decoder) -> Result<Ner> {
    let mut task = Ner { decoder, ..Default::default() };
    let labels: Vec<_> =
        rows.iter().filter_map(|row| Some((row.labels.get("tags")?, Text::from(row)))).collect();
    task.fit(&labels)?;
    Ok(task)
}

#[test]
fn tags_conform_with_either_decoder() {
    conformance::check(r#"type = "ner""#, &news(), "tags");
    conformance::check("type = \"ner\"\ndecoder = \"softmax\"", &news(), "tags");
    conformance::check("type = \"ner\"\nlabels = [\"place\", \"person\"]", &news(), "tags");
}

#[test]
fn spans_conform() {
    let row = |text: &str, spans: &[(usize, usize, &str)]| {
        let mut row = Row::from_text(text, Place::new("news.jsonl", 1));
        let span = |&(start, end, label): &(usize, usize, &str)| Span { start, end, label: label.into() };
        let spans: Vec<Span> = spans.iter().map(span).collect();
        let label = if spans.is_empty() { Label::List(Vec::new()) } else { Label::Spans(spans) };
        row.labels.insert("entities".into(), label);
        row
    };
    let rows = [
        row("Müller's train left Köln.", &[(0, 6, "person"), (20, 24, "place")]),
        row("It rained.", &[]),
        row("Köln and New York", &[(0, 4, "place"), (9, 17, "place"), (9, 12, "state")]),
    ];
    conformance::check(r#"type = "ner""#, &rows, "entities");
}

#[test]
fn the_chain_never_predicts_a_broken_sequence_and_softmax_is_repaired() {
    let rows = news();
    // O, B-person, I-person, B-place, I-place: every word by itself would be I-place, then I-person.
    let logits = Tensor::new(vec![0.0, 0.0, 0.0, 0.1, 5.0, 0.0, 0.0, 5.0, 0.0, 0.0], &[2, 5]).unwrap();
    let zeros = [Tensor::zeros(&[5, 5]), Tensor::zeros(&[5]), Tensor::zeros(&[5])];
    let own: Vec<&Tensor> = zeros.iter().collect();
    let output =
        TaskOutput { logits: &logits, texts: &Offsets::from_lengths([2]), parameters: &own, pieces: &[] };

    let softmax =
        fitted(&rows, Decoder::Softmax).unwrap().decode(TaskOutput { parameters: &[], ..output }).unwrap();
    assert_eq!(softmax[0].target, Target::Ids(vec![3, 1]));
    let crf = fitted(&rows, Decoder::Crf).unwrap().decode(output).unwrap();
    assert_eq!(crf[0].target, Target::Ids(vec![1, 2]));
}

#[test]
fn the_confidence_of_an_entity_is_that_of_its_most_doubtful_word() {
    let row = &news()[2];
    let task = fitted(&news(), Decoder::Crf).unwrap();
    let target = task.target(&row.labels["tags"], Text::from(row)).unwrap();
    let answer =
        task.answer(&Prediction { target, confidence: vec![0.9, 0.5, 0.8, 0.1, 0.7] }, Text::from(row));
    let expected = json!([
        { "type": "place", "text": "New York City", "start": 0, "end": 13, "confidence": 0.5 },
        { "type": "person", "text": "Ada", "start": 18, "end": 21, "confidence": 0.7 },
    ]);
    assert_eq!(answer, expected);
}

#[test]
fn an_answer_to_fewer_words_than_tags_is_cut_and_no_panic() {
    let task = fitted(&news(), Decoder::Crf).unwrap();
    let prediction = Prediction { target: Target::Ids(vec![0, 1, 2]), confidence: vec![1.0; 3] };
    assert_eq!(task.answer(&prediction, Text { text: "x", words: &[0..1, 0..1] }), json!([]));
}

#[test]
fn entities_are_counted_by_type() {
    let (rows, task) = (news(), fitted(&news(), Decoder::Crf).unwrap());
    let target = |row: &Row| Some(task.target(row.labels.get("tags")?, Text::from(row)).unwrap());
    let targets: Vec<Target> = rows.iter().filter_map(target).collect();
    let counts = task.label_counts(&targets.iter().collect::<Vec<_>>());
    assert_eq!(counts, [("person".to_owned(), 3), ("place".to_owned(), 2)]);
}

#[test]
fn labels_without_an_entity_and_unknown_types_are_refused() {
    let outside = tagged(&[&[("a", "O")], &[("b", "O")]]);
    let message = fitted(&outside, Decoder::Crf).unwrap_err().to_string();
    assert_eq!(message, "no entity in 2 labelled texts: every tag is `O`");

    let task = fitted(&news(), Decoder::Crf).unwrap();
    let row = &tagged(&[&[("Ada", "B-persn")]])[0];
    let message = task.target(&row.labels["tags"], Text::from(row)).unwrap_err().to_string();
    assert!(
        message.starts_with("no label `persn` (known: person, place); did you mean `person`?"),
        "{message}"
    );
}
