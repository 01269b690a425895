//! CSV and TSV: the first line names the columns.

use csv::{ReaderBuilder, StringRecord};

use super::{Rows, Wanted, Words};
use crate::{DataConfig, Error, Label, Place, Result, Row};

pub(super) fn read(
    content: &str,
    delimiter: char,
    quoting: bool,
    config: &DataConfig,
    wanted: &Wanted<'_>,
    rows: &mut Rows,
) -> Result<()> {
    let delimiter = config.delimiter.unwrap_or(delimiter);
    let Some(byte) = u8::try_from(delimiter).ok().filter(u8::is_ascii) else {
        return Err(config.error(format!("`delimiter` must be one ASCII character, found `{delimiter}`")));
    };
    let quoting = config.quoting.unwrap_or(quoting);
    let mut reader = ReaderBuilder::new()
        .delimiter(byte)
        .quoting(quoting)
        .has_headers(false)
        .flexible(true)
        .from_reader(content.as_bytes());
    let mut record = StringRecord::new();
    let mut layout: Option<Layout> = None;
    while !rows.full() {
        let start = reader.position().clone();
        let more = reader.read_record(&mut record);
        if !more.map_err(|error| Error::Unreadable { path: rows.file.to_path_buf(), source: error.into() })? {
            break;
        }
        let raw = content.get(start.byte() as usize..reader.position().byte() as usize).unwrap_or_default();
        let place = rows.place(start.line() as usize + blank_lines(raw));
        if quoting && reader.position().byte() as usize == content.len() && is_unclosed(raw) {
            return Err(Error::UnclosedQuote { place });
        }
        match &layout {
            None => {
                let header = Layout::new(&record, wanted, place)?;
                rows.columns.extend(header.columns.iter().cloned());
                layout = Some(header);
            }
            Some(layout) => rows.push(layout.row(&record, wanted, place)?),
        }
    }
    Ok(())
}

/// The line ends before a record, which its position counts as part of it.
fn blank_lines(raw: &str) -> usize {
    raw.chars().take_while(|&c| c == '\n' || c == '\r').filter(|&c| c == '\n').count()
}

/// Whether the last record runs over several lines because a quote in it is never closed: quotes come in
/// pairs within a quoted field.
fn is_unclosed(raw: &str) -> bool {
    raw.trim_matches(['\n', '\r']).contains('\n') && raw.matches('"').count() % 2 == 1
}

/// Where the wanted columns stand.
struct Layout {
    columns: Vec<String>,
    words: usize,
    /// Of each wanted column that the file has.
    labels: Vec<(String, usize)>,
}

impl Layout {
    fn new(header: &StringRecord, wanted: &Wanted<'_>, place: Place) -> Result<Layout> {
        let columns: Vec<String> = header.iter().map(|name| name.trim().to_string()).collect();
        let (words, labels) = wanted.find_in(&columns, place)?;
        Ok(Layout { columns, words, labels })
    }

    fn row(&self, record: &StringRecord, wanted: &Wanted<'_>, place: Place) -> Result<Row> {
        if record.len() != self.columns.len() {
            let (expected, found) = (self.columns.clone(), record.len());
            let hint =
                "; a field with the delimiter in it needs quotes (see `delimiter` and `quoting` in [[data]])";
            return Err(Error::Ragged { place, expected, found, hint });
        }
        let text = record.get(self.words).unwrap_or_default();
        let mut row = match wanted.words {
            Words::Text(_) => Row::from_text(text, place),
            Words::Tokens(_) => Row::from_tokens(text.split_whitespace(), place),
        };
        for (column, index) in &self.labels {
            if let Some(label) = record.get(*index).map(str::trim).filter(|label| !label.is_empty()) {
                row.labels.insert(column.clone(), Label::Text(label.to_string()));
            }
        }
        Ok(row)
    }
}
