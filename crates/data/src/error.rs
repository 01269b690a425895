//! What can go wrong between a file and a batch.

use std::io;
use std::path::{Path, PathBuf};

use crate::Place;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a file and a batch; the message says where, what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path that leads to no file.
    #[error("{}: no such file; looked in the folder {}{}", path.display(), folder.display(), did_you_mean(name_of(path), siblings))]
    MissingFile {
        /// The path as it was looked up.
        path: PathBuf,
        /// Its folder, absolute.
        folder: PathBuf,
        /// The names that the folder has.
        siblings: Vec<String>,
    },

    /// A file that exists and cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },

    /// A file without a single row that has a word.
    #[error("{}: no rows: a file of texts needs at least one text with a word", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },

    /// A file name whose ending belongs to no format.
    #[error("{}: the ending tells no format (known: .jsonl .ndjson .json-lines .csv .tsv .conll .iob .bio .txt); set `format` in [[data]]", path.display())]
    UnknownExtension {
        /// The file.
        path: PathBuf,
    },

    /// A name that no data set has.
    #[error("no data set is called `{name}` (there are: {}){}", known.join(", "), did_you_mean(name, known))]
    UnknownDataSet {
        /// The name.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },

    /// A `[[data]]` table that contradicts itself.
    #[error("data set `{data_set}`: {message}")]
    Config {
        /// The name of the data set.
        data_set: String,
        /// What is wrong, and the remedy.
        message: String,
    },

    /// Bytes that are no UTF-8.
    #[error("{place}: not UTF-8 (byte 0x{byte:02x}); convert the file to UTF-8")]
    NotUtf8 {
        /// The line.
        place: Place,
        /// The first byte that does not belong.
        byte: u8,
    },

    /// A line that is no JSON.
    #[error("{place}:{column}: broken JSON: {message}")]
    BrokenJson {
        /// The line.
        place: Place,
        /// The column in it, from 1.
        column: usize,
        /// What the parser expected.
        message: String,
    },

    /// A line of JSON that is not an object.
    #[error("{place}: a row must be a JSON object {{…}} on a line of its own, found {found}")]
    NotAnObject {
        /// The line.
        place: Place,
        /// What stands there.
        found: &'static str,
    },

    /// A wanted column that a header, a row or the key `columns` lacks.
    #[error("{place}: no column `{column}` (found: {}){}", known.join(", "), did_you_mean(column, known))]
    NoColumn {
        /// The header or the row.
        place: Place,
        /// The column that was wanted.
        column: String,
        /// The columns that exist.
        known: Vec<String>,
    },

    /// A label column that no training file has.
    #[error("{files}: no row has a column `{column}` (found: {}){}", known.join(", "), did_you_mean(column, known))]
    ColumnInNoRow {
        /// The files.
        files: String,
        /// The column that was wanted.
        column: String,
        /// Every column that some row has.
        known: Vec<String>,
    },

    /// A line with more or fewer fields than the header or the key `columns` names.
    #[error("{place}: expected {} fields ({}), found {found}{hint}", expected.len(), expected.join(", "))]
    Ragged {
        /// The line.
        place: Place,
        /// The names of the fields.
        expected: Vec<String>,
        /// How many fields the line has.
        found: usize,
        /// The remedy, or nothing.
        hint: &'static str,
    },

    /// A quoted field that never ends.
    #[error(
        "{place}: the quote that opens in this row is never closed; close it, or set `quoting = false` in [[data]]"
    )]
    UnclosedQuote {
        /// Where the row starts.
        place: Place,
    },

    /// A value of a kind that the column cannot hold.
    #[error("{place}: column `{column}` must be {expected}, found {found}")]
    WrongType {
        /// The row.
        place: Place,
        /// The column.
        column: String,
        /// What it may hold.
        expected: &'static str,
        /// What it holds.
        found: String,
    },

    /// A span that ends behind the text.
    #[error(
        "{place}: column `{column}`: the span {start}..{end} ends behind the text, which has {characters} characters"
    )]
    SpanOutside {
        /// The row.
        place: Place,
        /// The column.
        column: String,
        /// First character of the span.
        start: usize,
        /// The character after its last.
        end: usize,
        /// Length of the text.
        characters: usize,
    },

    /// A span without a character.
    #[error(
        "{place}: column `{column}`: the span {start}..{end} is empty: `start` must be smaller than `end`"
    )]
    SpanEmpty {
        /// The row.
        place: Place,
        /// The column.
        column: String,
        /// First character of the span.
        start: usize,
        /// The character after its last.
        end: usize,
    },

    /// A tokenizer that cannot be read, trained or used.
    #[error("{origin}: {message}")]
    Tokenizer {
        /// The file, or what else the tokenizer came from.
        origin: String,
        /// What is wrong.
        message: String,
    },

    /// A sampler that planned a step which no data set can fill.
    #[error(
        "the sampler gave step {step} to data set {data_set}, which has no batches ({data_sets} data sets exist)"
    )]
    Sampler {
        /// The step of the epoch, from 0.
        step: usize,
        /// The data set that was named, from 0.
        data_set: usize,
        /// How many data sets there are.
        data_sets: usize,
    },
}

fn did_you_mean(name: &str, known: &[String]) -> String {
    polytask_config::did_you_mean(name, known.iter().map(String::as_str))
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
