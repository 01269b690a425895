//! CoNLL: one word a line with its columns, blank lines between texts.

use super::{Rows, Wanted};
use crate::{DataConfig, Error, Label, Place, Result, Row};

pub(super) fn read(content: &str, config: &DataConfig, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
    let columns = config.conll_columns();
    rows.columns.extend(columns.iter().cloned());
    let (words, labels) = wanted.find_in(&columns, rows.place(1))?;
    let layout = Layout { words, labels };
    let mut block: Vec<Vec<&str>> = Vec::new();
    let mut start = rows.place(1);
    for (index, line) in content.lines().enumerate() {
        if rows.full() {
            return Ok(());
        }
        if line.trim().is_empty() {
            layout.finish(&mut block, start.clone(), rows);
        } else if !line.starts_with("-DOCSTART-") {
            let place = rows.place(index + 1);
            if block.is_empty() {
                start = place.clone();
            }
            block.push(split(line, &columns, place)?);
        }
    }
    layout.finish(&mut block, start, rows);
    Ok(())
}

/// The fields of a line: between tabs when it has one, else between stretches of white space.
fn split<'a>(line: &'a str, columns: &[String], place: Place) -> Result<Vec<&'a str>> {
    let fields: Vec<&str> =
        if line.contains('\t') { line.split('\t').collect() } else { line.split_whitespace().collect() };
    if fields.len() == columns.len() {
        return Ok(fields);
    }
    let hint = "; `columns` in [[data]] names the columns of the file";
    Err(Error::Ragged { place, expected: columns.to_vec(), found: fields.len(), hint })
}

/// Where the wanted columns stand.
struct Layout {
    words: usize,
    /// Of each wanted column that the file has.
    labels: Vec<(String, usize)>,
}

impl Layout {
    /// Makes a row of the lines of a text, if there are any.
    fn finish(&self, block: &mut Vec<Vec<&str>>, place: Place, rows: &mut Rows) {
        if block.is_empty() {
            return;
        }
        let column = |index: usize| block.iter().filter_map(move |fields| fields.get(index).copied());
        let mut row = Row::from_tokens(column(self.words), place);
        for (name, index) in &self.labels {
            let tags = column(*index).map(String::from).collect();
            row.labels.insert(name.clone(), Label::List(tags));
        }
        block.clear();
        rows.push(row);
    }
}
