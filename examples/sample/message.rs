//! From templates to a message in pieces, and from the pieces to a text with spans.

use serde::{Deserialize, Serialize};

use super::entities::{Author, fill};
use super::phrases::PHRASES;
use super::source::Source;

/// A stretch of a message: an entity if it has a label.
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) label: Option<&'static str>,
}

/// An entity in a text.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Span {
    /// First character, counted in Unicode characters.
    pub(crate) start: usize,
    /// Character after the last one.
    pub(crate) end: usize,
    pub(crate) label: String,
}

/// A message that grows sentence by sentence.
pub(crate) struct Message {
    author: Author,
    pub(crate) pieces: Vec<Piece>,
}

impl Message {
    pub(crate) fn new(source: &mut Source) -> Self {
        Self { author: Author::new(source), pieces: Vec::new() }
    }

    /// Appends a template as a sentence of its own, with a capital.
    pub(crate) fn sentence(&mut self, template: &str, source: &mut Source) {
        if !self.pieces.is_empty() {
            self.text(" ");
        }
        let first = self.pieces.len();
        self.expand(template, source);
        if let Some(Piece { text, label: None }) = self.pieces.get_mut(first) {
            *text = capitalized(text);
        }
    }

    /// `{slot}`, `<phrase>` and `[one|other]` replaced; what a phrase or an alternative holds is expanded in turn.
    fn expand(&mut self, template: &str, source: &mut Source) {
        let mut rest = template;
        while let Some((before, from_mark)) = rest.find(['{', '<', '[']).map(|at| rest.split_at(at)) {
            self.text(before);
            let (mark, after) = from_mark.split_at(1);
            let close = match mark {
                "{" => '}',
                "<" => '>',
                _ => ']',
            };
            let (inside, after) = after.split_once(close).unwrap_or((after, ""));
            match mark {
                "{" => self.entity(inside, source),
                "<" => self.expand(phrase(inside, source), source),
                _ => {
                    let alternatives: Vec<&str> = inside.split('|').collect();
                    self.expand(source.one(&alternatives), source);
                }
            }
            rest = after;
        }
        self.text(rest);
    }

    pub(crate) fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.pieces.push(Piece { text: text.to_owned(), label: None });
        }
    }

    /// Fills a slot; two slots of one message never get the same words, except for the author's.
    fn entity(&mut self, slot: &str, source: &mut Source) {
        let (label, text) = loop {
            let filled = fill(slot, &self.author, source);
            let taken = self.pieces.iter().any(|piece| piece.text == filled.1);
            if !taken || ["author", "home"].contains(&slot) {
                break filled;
            }
        };
        self.pieces.push(Piece { text, label: Some(label) });
    }

    /// The text, and the entities in their order.
    pub(crate) fn render(self) -> (String, Vec<Span>) {
        let mut spans = Vec::new();
        let (mut text, mut start) = (String::new(), 0);
        for piece in self.pieces {
            let end = start + piece.text.chars().count();
            spans.extend(piece.label.map(|label| Span { start, end, label: label.to_owned() }));
            text.push_str(&piece.text);
            start = end;
        }
        (text, spans)
    }
}

fn phrase(name: &str, source: &mut Source) -> &'static str {
    match PHRASES.iter().find(|(known, _)| *known == name) {
        Some((_, phrases)) => source.one(phrases),
        None => unreachable!("a template names the phrase {name}"),
    }
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}
