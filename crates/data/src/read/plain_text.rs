//! Plain text: one text a line, blank lines left out.

use super::{Rows, Words};
use crate::Row;

pub(super) fn read(content: &str, words: &Words, rows: &mut Rows) {
    rows.columns.insert(words.column().to_owned());
    for (index, line) in content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if rows.full() {
            break;
        }
        let place = rows.place(index + 1);
        rows.push(match words {
            Words::Text(_) => Row::from_text(line, place),
            Words::Tokens(_) => Row::from_tokens(line.split_whitespace(), place),
        });
    }
}
