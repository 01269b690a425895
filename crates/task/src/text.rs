use std::ops::Range;

use polytask_data::Row;

/// A text and its words, as a task sees it.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The text.
    pub text: &'a str,
    /// The words as byte ranges of the text, in order.
    pub words: &'a [Range<usize>],
}

impl<'a> From<&'a Row> for Text<'a> {
    fn from(row: &'a Row) -> Self {
        Self { text: &row.text, words: &row.words }
    }
}
