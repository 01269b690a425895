//! Writes the sample data: short messages to an online shop for electronics, with intent, sentiment and entities.
//!
//! ```text
//! cargo run --bin generate_sample
//! ```

mod entities;
mod message;
mod noise;
mod phrases;
mod source;
mod templates;
mod vocabulary;

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use message::{Message, Span};
use noise::roughen;
use phrases::{
    ASIDES, CLOSINGS, GREETINGS, NEGATIVE, NEGATIVE_EMOJI, NEUTRAL, NEUTRAL_EMOJI, POSITIVE, POSITIVE_EMOJI,
};
use source::Source;
use templates::{INTENTS, Intent};

const TRAIN_ROWS: usize = 3000;
const DEV_ROWS: usize = 400;

/// How often a row lacks a label, for each of the three labels by itself.
const MISSING: f64 = 0.15;

/// How often a sentence of the dev file is one that is held out from the train file.
const HELD_OUT: f64 = 0.12;

const SENTIMENTS: [&str; 3] = ["negative", "neutral", "positive"];

/// One line of a file; a label that is missing has no key.
#[derive(Serialize, Deserialize)]
struct Row {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentiment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entities: Option<Vec<Span>>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, content) in generate()? {
        std::fs::write(folder().join(name), content)?;
    }
    Ok(())
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/sample"))
}

/// The two files, by name.
fn generate() -> serde_json::Result<[(&'static str, String); 2]> {
    let mut seen = BTreeSet::new();
    let train = lines(TRAIN_ROWS, &mut Source::new(1, false), &mut seen)?;
    let dev = lines(DEV_ROWS, &mut Source::new(2, true), &mut seen)?;
    Ok([("train.jsonl", train), ("dev.jsonl", dev)])
}

/// Rows as JSON lines; a text that was seen before, whatever its case and punctuation, is left out.
fn lines(count: usize, source: &mut Source, seen: &mut BTreeSet<String>) -> serde_json::Result<String> {
    let mut lines = String::new();
    let mut written = 0;
    while written < count {
        let row = row(source);
        if seen.insert(words_only(&row.text)) {
            lines.push_str(&serde_json::to_string(&row)?);
            lines.push('\n');
            written += 1;
        }
    }
    Ok(lines)
}

fn words_only(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn row(source: &mut Source) -> Row {
    let intent = &INTENTS[source.by_percent(INTENTS.iter().map(|intent| intent.percent))];
    let mood = source.by_percent(intent.moods);
    let (text, entities) = message(intent, mood, source).render();
    let mut kept = || !source.chance(MISSING);
    Row {
        text,
        intent: kept().then(|| intent.name.to_owned()),
        sentiment: kept().then(|| SENTIMENTS[mood].to_owned()),
        entities: kept().then_some(entities),
    }
}

/// Greeting, aside, the matter, a sentence of mood, closing: all but the matter optional.
///
/// Where the matter itself shows no mood but the message has one, the sentence of mood is always there.
fn message(intent: &Intent, mood: usize, source: &mut Source) -> Message {
    let (in_this_mood, moods, emoji) = [
        (&intent.negative, &NEGATIVE, NEGATIVE_EMOJI),
        (&intent.plain, &NEUTRAL, NEUTRAL_EMOJI),
        (&intent.positive, &POSITIVE, POSITIVE_EMOJI),
    ][mood];
    let neutral = SENTIMENTS[mood] == "neutral";
    let plain = !neutral && source.chance(0.5);
    let matter = if plain { &intent.plain } else { in_this_mood };
    let expects_answer = intent.name != "praise";
    let with_mood = plain || source.chance(0.25) && (expects_answer || !neutral);
    let mood_first = !neutral && source.chance(0.2);

    let sentences = [
        (&GREETINGS, source.chance(0.45)),
        (&ASIDES, source.chance(0.08)),
        (moods, with_mood && mood_first),
        (matter, true),
        (&ASIDES, source.chance(0.12)),
        (moods, with_mood && !mood_first),
        (&CLOSINGS, source.chance(0.4)),
    ];
    let mut message = Message::new(source);
    for (split, _) in sentences.into_iter().filter(|(_, wanted)| *wanted) {
        message.sentence(source.pick(split, HELD_OUT), source);
    }
    roughen(&mut message, source);
    if source.chance(0.07) {
        message.text(&format!(" {}", source.one(emoji)));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> [Vec<Row>; 2] {
        let rows =
            |content: String| content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        generate().unwrap().map(|(_, content)| rows(content))
    }

    #[test]
    fn files_are_what_the_generator_makes() {
        for (name, content) in generate().unwrap() {
            let on_disk = std::fs::read_to_string(folder().join(name)).unwrap();
            assert!(on_disk == content, "{name} is stale: run the example `generate_sample`");
        }
    }

    #[test]
    fn entities_are_whole_words() {
        for row in files().into_iter().flatten() {
            let text: Vec<char> = row.text.chars().collect();
            let mut last_end = 0;
            for Span { start, end, .. } in row.entities.into_iter().flatten() {
                assert!(last_end <= start && start < end, "{}", row.text);
                assert!(text[start].is_alphanumeric() && text[end - 1].is_alphanumeric(), "{}", row.text);
                assert!(start == 0 || !text[start - 1].is_alphanumeric(), "{}", row.text);
                assert!(end == text.len() || !text[end].is_alphanumeric(), "{}", row.text);
                last_end = end;
            }
        }
    }

    #[test]
    fn nothing_is_left_of_the_templates() {
        for row in files().into_iter().flatten() {
            assert!(!row.text.contains(['{', '}', '<', '>', '[', ']', '|']), "{}", row.text);
        }
    }

    #[test]
    fn dev_texts_and_some_dev_names_are_new() {
        let [train, dev] = files();
        let train: BTreeSet<&str> = train.iter().map(|row| row.text.as_str()).collect();
        assert!(dev.iter().all(|row| !train.contains(row.text.as_str())));
        assert!(dev.iter().any(|row| row.text.contains("Göteborg")));
        assert!(!train.iter().any(|text| text.contains("Göteborg")));
    }

    #[test]
    fn each_label_is_there_in_every_class_and_sometimes_missing() {
        for rows in files() {
            let classes = |label: fn(&Row) -> &Option<String>| -> BTreeSet<&Option<String>> {
                rows.iter().map(label).collect()
            };
            assert_eq!(classes(|row| &row.intent).len(), INTENTS.len() + 1);
            assert_eq!(classes(|row| &row.sentiment).len(), SENTIMENTS.len() + 1);
            assert!(rows.iter().any(|row| row.entities.is_none()));
        }
    }
}
