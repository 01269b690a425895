//! Labels as entities over words: tags or character spans, and what was odd about them.

use std::ops::Range;

use anyhow::{Result, bail};
use polytask_data::{Label, Span, byte_offsets};
use polytask_task::metrics::{EntitySpan, spans};
use polytask_task::{Text, describe};

/// The entities of one text.
#[derive(Debug, Default)]
pub(crate) struct Entities {
    /// In their order, no two over one word.
    pub(crate) spans: Vec<EntitySpan>,
    /// What had to be changed to read them so, a sentence each.
    pub(crate) findings: Vec<String>,
}

impl Entities {
    /// # Errors
    /// The label is neither a tag a word, in a list or in one string, nor a list of spans.
    pub(crate) fn read(label: &Label, text: Text<'_>) -> Result<Self> {
        match label {
            // A list without entries says that there is no entity: tags or spans look the same here.
            Label::List(tags) if tags.is_empty() => Ok(Self::default()),
            Label::List(tags) => Self::from_tags(tags, text),
            Label::Text(tags) => {
                Self::from_tags(&tags.split_whitespace().map(String::from).collect::<Vec<_>>(), text)
            }
            Label::Spans(spans) => Ok(Self::from_spans(spans, text)),
            other => bail!(
                "expected a list of tags, one a word, or a list of {{start, end, label}}; found {}",
                describe(other)
            ),
        }
    }

    fn from_tags(tags: &[String], text: Text<'_>) -> Result<Self> {
        if tags.len() != text.words.len() {
            bail!(
                "{} tags for {} words: a tag a word is needed; where the data has its own words, name their column \
                 with `tokens`",
                tags.len(),
                text.words.len()
            );
        }
        if let Some(tag) = tags.iter().find(|tag| !is_tag(tag)) {
            // Of `U-person`, a tag of another scheme, the type is meant.
            let entity_type = tag.split_once('-').map_or(tag.as_str(), |(_, entity_type)| entity_type);
            bail!(
                "`{tag}` is no BIO tag: expected `O`, or `B-` or `I-` and a type, such as `B-{entity_type}`"
            );
        }
        let spans = spans(&tags.iter().map(String::as_str).collect::<Vec<_>>());
        let broken = spans.iter().filter(|span| tags[span.start].starts_with(['I', 'E']));
        let findings = broken.map(|span| {
            let (tag, label) = (&tags[span.start], &span.label);
            format!("tag {} `{tag}` continues no entity: read as `B-{label}`", span.start + 1)
        });
        Ok(Self { findings: findings.collect(), spans })
    }

    fn from_spans(labelled: &[Span], text: Text<'_>) -> Self {
        let characters: Vec<Range<usize>> = labelled.iter().map(|span| span.start..span.end).collect();
        let mut entities = Self::default();
        let mut candidates = Vec::new();
        for (span, bytes) in labelled.iter().zip(byte_offsets(text.text, &characters)) {
            let words = words_touched(text.words, &bytes);
            let Some(touched) = text.words.get(words.clone()).filter(|touched| !touched.is_empty()) else {
                entities.findings.push(format!("{} holds no word: left out", quoted(span)));
                continue;
            };
            let whole = touched[0].start..touched[touched.len() - 1].end;
            if whole.start < bytes.start || bytes.end < whole.end {
                let whole = text.text.get(whole).unwrap_or_default();
                entities.findings.push(format!("{} cuts a word: widened to `{whole}`", quoted(span)));
            }
            candidates.push((span, words));
        }
        entities.keep_apart(candidates);
        entities
    }

    /// Takes the longest first, the first of equals, and leaves out what overlaps with one taken.
    fn keep_apart(&mut self, mut candidates: Vec<(&Span, Range<usize>)>) {
        candidates.sort_by_key(|(_, words)| (usize::MAX - words.len(), words.start));
        for (span, words) in candidates {
            match self.spans.iter().find(|taken| taken.start < words.end && words.start < taken.end) {
                Some(taken) => {
                    self.findings.push(format!("{} overlaps a `{}`: left out", quoted(span), taken.label))
                }
                None => self.spans.push(EntitySpan {
                    label: span.label.clone(),
                    start: words.start,
                    end: words.end,
                }),
            }
        }
        self.spans.sort_by_key(|span| span.start);
    }
}

fn is_tag(tag: &str) -> bool {
    tag == "O"
        || tag.strip_prefix(['B', 'I', 'E', 'S']).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The words that share a byte with a stretch of the text.
fn words_touched(words: &[Range<usize>], bytes: &Range<usize>) -> Range<usize> {
    let first = words.partition_point(|word| word.end <= bytes.start);
    let end = words.partition_point(|word| word.start < bytes.end);
    first..end.max(first)
}

fn quoted(span: &Span) -> String {
    format!("span {}..{} `{}`", span.start, span.end, span.label)
}

#[cfg(test)]
mod tests {
    use polytask_data::{Place, Row};

    use super::*;

    const TEXT: &str = "Frau Löwe's café in New York City";

    fn spans(labelled: &[(usize, usize, &str)]) -> (Vec<(usize, usize, String)>, Vec<String>) {
        let row = Row::from_text(TEXT, Place::new("x.jsonl", 1));
        let span = |&(start, end, label): &(usize, usize, &str)| Span { start, end, label: label.into() };
        let label = Label::Spans(labelled.iter().map(span).collect());
        let Entities { spans, findings } = Entities::read(&label, Text::from(&row)).unwrap();
        (spans.into_iter().map(|span| (span.start, span.end, span.label)).collect(), findings)
    }

    #[test]
    fn a_span_of_whole_words_is_taken_as_it_is() {
        let (entities, findings) = spans(&[(20, 33, "place"), (0, 11, "person")]);
        assert_eq!(entities, [(0, 2, "person".into()), (4, 7, "place".into())]);
        assert_eq!(findings, [""; 0]);
    }

    #[test]
    fn a_span_that_cuts_a_word_is_widened() {
        let (entities, findings) = spans(&[(5, 9, "person")]);
        assert_eq!(entities, [(1, 2, "person".into())]);
        assert_eq!(findings, ["span 5..9 `person` cuts a word: widened to `Löwe's`"]);
    }

    #[test]
    fn of_overlapping_spans_the_longest_stays_and_of_equals_the_first() {
        let (entities, findings) =
            spans(&[(20, 28, "city"), (20, 33, "place"), (0, 4, "title"), (0, 4, "person")]);
        assert_eq!(entities, [(0, 1, "title".into()), (4, 7, "place".into())]);
        let expected = [
            "span 0..4 `person` overlaps a `title`: left out",
            "span 20..28 `city` overlaps a `place`: left out",
        ];
        assert!(expected.iter().all(|finding| findings.contains(&(*finding).to_owned())), "{findings:?}");
    }

    #[test]
    fn a_span_without_a_word_is_left_out() {
        let (entities, findings) = spans(&[(4, 5, "person")]);
        assert!(entities.is_empty());
        assert_eq!(findings, ["span 4..5 `person` holds no word: left out"]);
    }

    #[test]
    fn an_empty_list_says_that_there_is_no_entity() {
        let Entities { spans, findings } = tags(&[]).unwrap();
        assert!(spans.is_empty() && findings.is_empty());
    }

    fn tags(tags: &[&str]) -> Result<Entities> {
        let row = Row::from_tokens(["a", "b", "c"], Place::new("x.conll", 1));
        Entities::read(&Label::List(tags.iter().map(|tag| (*tag).to_owned()).collect()), Text::from(&row))
    }

    #[test]
    fn tags_of_a_file_without_lists_stand_in_one_string() {
        let row = Row::from_tokens(["a", "b", "c"], Place::new("x.csv", 2));
        let read = |tags: &str| Entities::read(&Label::Text(tags.into()), Text::from(&row));
        let spans = read("O B-person  I-person").unwrap().spans;
        assert_eq!(spans, [EntitySpan { label: "person".into(), start: 1, end: 3 }]);
        assert!(read("O O").unwrap_err().to_string().starts_with("2 tags for 3 words: "));
    }

    #[test]
    fn broken_tags_are_read_leniently_and_reported() {
        let Entities { spans, findings } = tags(&["O", "I-person", "I-place"]).unwrap();
        assert_eq!(spans.iter().map(|span| (span.start, span.end)).collect::<Vec<_>>(), [(1, 2), (2, 3)]);
        let expected = [
            "tag 2 `I-person` continues no entity: read as `B-person`",
            "tag 3 `I-place` continues no entity: read as `B-place`",
        ];
        assert_eq!(findings, expected);
        assert!(tags(&["B-person", "I-person", "O"]).unwrap().findings.is_empty());
    }

    #[test]
    fn what_is_no_label_of_this_text_is_refused_with_what_was_found() {
        let message = |found: &[&str]| tags(found).unwrap_err().to_string();
        assert!(message(&["O"]).starts_with("1 tags for 3 words: "));
        for (tag, expected) in [("person", "`B-person`"), ("U-person", "`B-person`")] {
            let message = message(&["O", "O", tag]);
            assert!(message.starts_with(&format!("`{tag}` is no BIO tag: ")), "{message}");
            assert!(message.ends_with(&format!("such as {expected}")), "{message}");
        }
        let text = Text { text: "", words: &[] };
        let message = Entities::read(&Label::Number(3.0), text).unwrap_err().to_string();
        assert!(message.ends_with("found the number 3"), "{message}");
    }
}
