//! The pieces and the shapes of a text's words.

use std::ops::Range;

use rayon::prelude::*;

use super::known::Word;
use super::{Tokenizer, fault};
use crate::shape::{SHAPE_FEATURES, word_shapes};
use crate::{Result, Row};

/// The pieces and the shapes of a text's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The token of each piece, `[pieces]`.
    pub ids: Vec<u32>,
    /// `[words + 1]`: the pieces of word `w` are `ids[piece_offsets[w]..piece_offsets[w + 1]]`. Before the first and behind
    /// the last word lie the special pieces, where the tokenizer adds any.
    pub piece_offsets: Vec<u32>,
    /// The word-shape features of each word, `[words, 4]`; see [`word_shapes`].
    pub shapes: Vec<[u32; SHAPE_FEATURES]>,
    /// How many words at the end of the text were cut off; the labels of words must be cut alike.
    pub truncated_words: usize,
}

impl Encoded {
    /// Number of words that were kept.
    pub fn words(&self) -> usize {
        self.shapes.len()
    }

    /// Number of pieces.
    pub fn pieces(&self) -> usize {
        self.ids.len()
    }
}

impl Tokenizer {
    /// Encodes the words of a text, each alone or all in one. A word alone has one piece at least: of no known piece, it
    /// becomes the unknown token. Within a whole text one has none that the tokenizer drops, such as a
    /// control character, or joins to the word before it.
    ///
    /// A text with more pieces than `max_tokens` ends with its last word that fits; a first word that is
    /// too long itself loses its end.
    ///
    /// # Errors
    /// The tokenizer cannot handle a word.
    pub fn encode(&self, text: &str, words: &[Range<usize>]) -> Result<Encoded> {
        match self.whole_texts {
            true => self.encode_whole(text, words),
            false => self.encode_words(text, words),
        }
    }

    fn encode_words(&self, text: &str, words: &[Range<usize>]) -> Result<Encoded> {
        let mut ids = Vec::with_capacity(2 * words.len());
        let mut piece_offsets = Vec::with_capacity(words.len() + 1);
        let mut shapes = Vec::with_capacity(words.len());
        piece_offsets.push(0);
        // False where the word is beyond the limit.
        let mut push = |word: &Word| {
            let fits = ids.len() + word.pieces.len() <= self.max_tokens;
            if fits {
                ids.extend_from_slice(&word.pieces);
                piece_offsets.push(ids.len() as u32);
                shapes.push(word.shapes);
            }
            fits
        };
        let mut known = self.known.read();
        for range in words {
            let text = text.get(range.clone()).unwrap_or_default();
            let fits = if let Some(word) = known.get(text) {
                push(word)
            } else {
                drop(known);
                let word = self.encode_word(text)?;
                let fits = push(&word);
                self.known.keep(text, word);
                known = self.known.read();
                fits
            };
            if !fits {
                break;
            }
        }
        let truncated_words = words.len() - shapes.len();
        Ok(Encoded { ids, piece_offsets, shapes, truncated_words })
    }

    fn encode_word(&self, word: &str) -> Result<Word> {
        let encoding = self.inner.encode_fast(word, false).map_err(|error| fault("tokenizer", error))?;
        let pieces = match encoding.get_ids() {
            [] => vec![self.unknown_id],
            pieces => pieces[..pieces.len().min(self.max_tokens)].to_vec(),
        };
        Ok(Word { pieces, shapes: word_shapes(word) })
    }

    /// Encodes rows on all threads, in their order; warns once if texts were cut off.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn encode_rows(&self, rows: &[Row]) -> Result<Vec<Encoded>> {
        let encoded: Vec<Encoded> =
            rows.par_iter().map(|row| self.encode(&row.text, &row.words)).collect::<Result<_>>()?;
        let cut = || rows.iter().zip(&encoded).filter(|(_, encoded)| encoded.truncated_words > 0);
        if let Some((row, _)) = cut().next() {
            let (max_tokens, texts, first) = (self.max_tokens, cut().count(), &row.place);
            tracing::warn!(
                "{first}: the text has more than {max_tokens} tokens and was cut off ({texts} such texts); raise `max_tokens` in [tokenizer] to keep it whole, as far as the encoder can read"
            );
        }
        Ok(encoded)
    }
}
