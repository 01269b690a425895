//! Files to rows: one reader a format.

mod conll;
mod delimited;
mod json_lines;
mod plain_text;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;
use std::{fs, io};

use crate::{DataConfig, Error, Format, Place, Result, Row};

/// What one file holds.
#[derive(Debug)]
pub(crate) struct FileRows {
    /// Its rows, in its order.
    pub(crate) rows: Vec<Row>,
    /// The columns that it has, labels or not.
    pub(crate) columns: BTreeSet<String>,
}

/// Reads one file with the labels of the wanted columns, as far as it has them.
///
/// A byte order mark is skipped; lines may end in CRLF. A row without a single word is left out, with one
/// warning a file. A label that is null, missing or a blank string or field is no label.
///
/// # Errors
/// With file and line: a file that is missing, is not UTF-8, has no rows or an unknown ending; a broken
/// line; no column of the text; a value that its column cannot hold; a span outside of its text.
pub(crate) fn read_file(path: &Path, config: &DataConfig, columns: &[String]) -> Result<FileRows> {
    let content = load(path)?;
    let format = Format::of(path, config)?;
    let wanted = Wanted { words: Words::of(config, format)?, labels: columns };
    let mut rows = Rows::new(path, config.max_rows);
    match format {
        Format::Jsonl => json_lines::read(&content, &wanted, &mut rows)?,
        Format::Csv => delimited::read(&content, ',', true, config, &wanted, &mut rows)?,
        Format::Tsv => delimited::read(&content, '\t', false, config, &wanted, &mut rows)?,
        Format::Conll => conll::read(&content, config, &wanted, &mut rows)?,
        Format::Text => plain_text::read(&content, &wanted.words, &mut rows),
    }
    rows.finish()
}

/// The columns that a reader looks for.
struct Wanted<'a> {
    words: Words,
    labels: &'a [String],
}

impl Wanted<'_> {
    /// Where the text stands among the columns of a file, and those labels that it has.
    fn find_in(&self, columns: &[String], place: Place) -> Result<(usize, Vec<(String, usize)>)> {
        let find = |column: &str| columns.iter().position(|name| name == column);
        let column = self.words.column();
        let words = find(column).ok_or_else(|| Error::NoColumn {
            place,
            column: column.into(),
            known: columns.to_vec(),
        })?;
        let labels = self.labels.iter().filter_map(|column| Some((column.clone(), find(column)?)));
        Ok((words, labels.collect()))
    }
}

/// The column that holds the text, and how its words are told.
enum Words {
    /// Running text, split by [`crate::split_words`].
    Text(String),
    /// Words given one by one.
    Tokens(String),
}

impl Words {
    fn of(config: &DataConfig, format: Format) -> Result<Words> {
        match (&config.text, &config.tokens) {
            (Some(_), Some(_)) => Err(config.error("set either `text` or `tokens`, not both")),
            (Some(_), None) if format == Format::Conll => {
                Err(config.error("a CoNLL file has one word a line: set `tokens` instead of `text`"))
            }
            (Some(text), None) => Ok(Words::Text(text.clone())),
            (None, Some(tokens)) => Ok(Words::Tokens(tokens.clone())),
            (None, None) if format == Format::Conll => Ok(Words::Tokens("tokens".into())),
            (None, None) => Ok(Words::Text("text".into())),
        }
    }

    fn column(&self) -> &str {
        match self {
            Words::Text(column) | Words::Tokens(column) => column,
        }
    }
}

/// The rows and columns of a file as they come.
struct Rows {
    file: Arc<Path>,
    limit: usize,
    rows: Vec<Row>,
    columns: BTreeSet<String>,
    left_out: usize,
    first_left_out: usize,
}

impl Rows {
    fn new(path: &Path, limit: Option<usize>) -> Rows {
        let limit = limit.unwrap_or(usize::MAX);
        let (rows, columns) = (Vec::new(), BTreeSet::new());
        Rows { file: path.into(), limit, rows, columns, left_out: 0, first_left_out: 0 }
    }

    fn place(&self, line: usize) -> Place {
        Place { file: Arc::clone(&self.file), line }
    }

    fn full(&self) -> bool {
        self.rows.len() >= self.limit
    }

    fn push(&mut self, row: Row) {
        if !row.words.is_empty() {
            self.rows.push(row);
            return;
        }
        if self.left_out == 0 {
            self.first_left_out = row.place.line;
        }
        self.left_out += 1;
    }

    fn finish(self) -> Result<FileRows> {
        if self.left_out > 0 {
            let (rows, first) = (self.left_out, self.place(self.first_left_out));
            tracing::warn!(
                "{first}: no word in the text; rows without a word are left out ({rows} in this file)"
            );
        }
        if self.rows.is_empty() {
            return Err(Error::NoRows { path: self.file.to_path_buf() });
        }
        Ok(FileRows { rows: self.rows, columns: self.columns })
    }
}

/// The content of a UTF-8 file without its byte order mark.
pub(crate) fn load(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|source| unreadable(path, source))?;
    let mut content = String::from_utf8(bytes).map_err(|error| not_utf8(path, &error))?;
    if content.starts_with('\u{feff}') {
        content.drain(..'\u{feff}'.len_utf8());
    }
    Ok(content)
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> Error {
    let (valid, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
    let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
    Error::NotUtf8 { place: Place::new(path, line), byte: rest.first().copied().unwrap_or_default() }
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    if source.kind() != io::ErrorKind::NotFound {
        return Error::Unreadable { path: path.to_path_buf(), source };
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = absolute(parent).unwrap_or_else(|_| PathBuf::from(parent));
    let mut siblings: Vec<String> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    siblings.sort_unstable();
    Error::MissingFile { path: path.to_path_buf(), folder, siblings }
}
