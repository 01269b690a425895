//! One text with any subset of labels.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::words::split_words;

/// One text, its words, and the labels that it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The text.
    pub text: String,
    /// Its words as byte ranges in `text`, in order, never empty ranges.
    pub words: Vec<Range<usize>>,
    /// Its labels by column. A column that is not here has no label on this text.
    pub labels: BTreeMap<String, Label>,
    /// Where it stands.
    pub place: Place,
}

impl Row {
    /// A text split into words by [`split_words`], without labels.
    pub fn from_text(text: impl Into<String>, place: Place) -> Row {
        let text = text.into();
        Row { words: split_words(&text), text, labels: BTreeMap::new(), place }
    }

    /// Given words joined by one space each, without labels.
    ///
    /// A word of nothing but white space becomes `_`, so that every word has a character to stand for it.
    pub fn from_tokens<'a>(tokens: impl IntoIterator<Item = &'a str>, place: Place) -> Row {
        let (mut text, mut words) = (String::new(), Vec::new());
        for token in tokens {
            if !words.is_empty() {
                text.push(' ');
            }
            let start = text.len();
            text.push_str(if token.trim().is_empty() { "_" } else { token });
            words.push(start..text.len());
        }
        Row { text, words, labels: BTreeMap::new(), place }
    }

    /// The words as text, in order.
    pub fn word_texts(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|word| self.text.get(word.clone()).unwrap_or_default())
    }
}

/// What a column says of one text.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// One name: `"positive"`; from JSON also `true` and `false`.
    Text(String),
    /// One number: `4.5`, from JSON alone; see [`Label::number`].
    Number(f64),
    /// Several names, or one for each word: `["O", "B-person"]`.
    List(Vec<String>),
    /// Marked stretches of the text.
    Spans(Vec<Span>),
}

impl Label {
    /// The finite number that this is or, since CSV and TSV hold nothing else, that its text says.
    ///
    /// ```
    /// # use polytask_data::Label;
    /// assert_eq!(Label::Text("4.5".into()).number(), Some(4.5));
    /// assert_eq!(Label::Text("four".into()).number(), None);
    /// ```
    pub fn number(&self) -> Option<f64> {
        let number = match self {
            Label::Number(number) => *number,
            Label::Text(text) => text.trim().parse().ok()?,
            Label::List(_) | Label::Spans(_) => return None,
        };
        Some(number).filter(|number| number.is_finite())
    }
}

/// A marked stretch of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// First character (Unicode scalar value, from 0).
    pub start: usize,
    /// The character after the last, greater than `start`.
    pub end: usize,
    /// What the stretch is.
    pub label: String,
}

/// Where a row stands; shown as `reviews.jsonl:212`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// The line of the row's start, from 1.
    pub line: usize,
}

impl Place {
    /// A line of a file.
    pub fn new(file: impl AsRef<Path>, line: usize) -> Place {
        Place { file: file.as_ref().into(), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_joined_by_one_space_and_blank_ones_replaced() {
        let row = Row::from_tokens(["New York", "", "\t", "é"], Place::new("x.conll", 3));
        assert_eq!(row.text, "New York _ _ é");
        assert_eq!(row.word_texts().collect::<Vec<_>>(), ["New York", "_", "_", "é"]);
        assert_eq!(row.place.to_string(), "x.conll:3");
    }
}
