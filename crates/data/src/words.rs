//! Words of a text, and offsets counted in bytes or in characters.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// The words of a text as byte ranges: Unicode word boundaries (UAX #29), white space dropped.
///
/// Punctuation marks are words of their own. Reading and prediction both split here, so that a model
/// sees in use what it saw in training.
///
/// ```
/// let text = "It's 3.5 km!";
/// let words: Vec<&str> = polytask_data::split_words(text).into_iter().map(|word| &text[word]).collect();
/// assert_eq!(words, ["It's", "3.5", "km", "!"]);
/// ```
pub fn split_words(text: &str) -> Vec<Range<usize>> {
    text.split_word_bound_indices()
        .filter(|(_, word)| !word.trim().is_empty())
        .map(|(start, word)| start..start + word.len())
        .collect()
}

/// Byte ranges of a text as ranges of characters (Unicode scalar values).
///
/// An offset within a character counts as the next character, one behind the text as its end.
///
/// ```
/// assert_eq!(polytask_data::character_offsets("café au", &[0..5, 6..8]), [0..4, 5..7]);
/// ```
pub fn character_offsets(text: &str, bytes: &[Range<usize>]) -> Vec<Range<usize>> {
    let starts = character_starts(text);
    let character = |byte| starts.partition_point(|&start| start < byte);
    bytes.iter().map(|range| character(range.start)..character(range.end)).collect()
}

/// Ranges of characters (Unicode scalar values) of a text as byte ranges, the inverse of
/// [`character_offsets`].
///
/// An offset behind the text counts as its end.
///
/// ```
/// assert_eq!(polytask_data::byte_offsets("café au", &[0..4, 5..7]), [0..5, 6..8]);
/// ```
pub fn byte_offsets(text: &str, characters: &[Range<usize>]) -> Vec<Range<usize>> {
    let starts = character_starts(text);
    let byte = |character: usize| starts.get(character).copied().unwrap_or(text.len());
    characters.iter().map(|range| byte(range.start)..byte(range.end)).collect()
}

fn character_starts(text: &str) -> Vec<usize> {
    text.char_indices().map(|(start, _)| start).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn white_space_alone_has_no_words() {
        assert!(split_words(" \t\u{3000}\n").is_empty());
    }

    proptest! {
        #[test]
        fn words_cover_all_but_white_space(text in "\\PC{0,40}") {
            let joined: String = split_words(&text).into_iter().map(|word| &text[word]).collect();
            let squeeze = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(squeeze(&joined), squeeze(&text));
        }

        #[test]
        fn characters_and_bytes_are_inverse(text in "\\PC{0,40}") {
            let words = split_words(&text);
            let characters = character_offsets(&text, &words);
            for (word, range) in words.iter().zip(&characters) {
                let by_character: String = text.chars().skip(range.start).take(range.len()).collect();
                prop_assert_eq!(&by_character, &text[word.clone()]);
            }
            prop_assert_eq!(byte_offsets(&text, &characters), words);
        }
    }
}
