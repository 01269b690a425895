//! Where each key and value of a document was written.

use crate::view::View;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use toml_edit::TableLike;

/// The keys from the root down to a value; an element of a list is its index in decimal.
pub(crate) type KeyPath = Vec<String>;

/// Where something was written; displays as `train.toml:14:1` or `--set trainer.epochs=3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// The file's name as the user gave it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In an assignment on the command line, `trainer.epochs=3`.
    Set(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Set(assignment) => write!(f, "--set {assignment}"),
        }
    }
}

impl Place {
    /// The place of byte `offset` of `text`.
    pub(crate) fn in_file(file: &str, text: &str, offset: usize) -> Place {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::File {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// The places of one document.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// (place of the key, place of the value)
    places: BTreeMap<KeyPath, (Place, Place)>,
    start: Place,
}

impl Places {
    /// All places of a document that was just parsed, and so still has its spans.
    pub(crate) fn of(file: &str, text: &str, root: &dyn TableLike) -> Places {
        let mut places = BTreeMap::new();
        visit(View::Table(root), &mut Vec::new(), &mut |path, key, value| {
            let place = |span: Range<usize>| Place::in_file(file, text, span.start);
            places.insert(path.to_vec(), (place(key), place(value)));
        });
        Places { places, start: Place::in_file(file, text, 0) }
    }

    /// Where the key at the end of `path` was written, or the nearest thing above it that was.
    pub(crate) fn key(&self, path: &[String]) -> Place {
        match self.places.get(path) {
            Some((key, _)) => key.clone(),
            None => self.above(path),
        }
    }

    /// Where the value at `path` was written (a table: its header), or the nearest thing above it that was.
    pub(crate) fn value(&self, path: &[String]) -> Place {
        match self.places.get(path) {
            Some((_, value)) => value.clone(),
            None => self.above(path),
        }
    }

    fn above(&self, path: &[String]) -> Place {
        path.split_last().map_or_else(|| self.start.clone(), |(_, parent)| self.value(parent))
    }

    /// From now on the value at `path`, and what had to be made above it, come from `assignment`.
    pub(crate) fn set(&mut self, path: &[String], assignment: &str) {
        let place = Place::Set(assignment.to_owned());
        self.places.retain(|known, _| !known.starts_with(path));
        for length in 1..=path.len() {
            self.places.entry(path[..length].to_vec()).or_insert_with(|| (place.clone(), place.clone()));
        }
    }
}

/// Gets path, span of the key and span of the value.
type Visitor<'a> = dyn FnMut(&[String], Range<usize>, Range<usize>) + 'a;

fn visit(view: View<'_>, path: &mut KeyPath, visitor: &mut Visitor<'_>) {
    match view {
        View::Table(table) => {
            for (key, item) in table.iter() {
                let key_span = table.key(key).and_then(toml_edit::Key::span).unwrap_or_default();
                path.push(key.to_owned());
                visitor(path, key_span.clone(), item.span().unwrap_or(key_span));
                visit(View::of_item(item), path, visitor);
                path.pop();
            }
        }
        View::List(elements) => {
            for (index, (span, element)) in elements.into_iter().enumerate() {
                let span = span.unwrap_or_default();
                path.push(index.to_string());
                visitor(path, span.clone(), span);
                visit(element, path, visitor);
                path.pop();
            }
        }
        View::Scalar(_) => {}
    }
}
