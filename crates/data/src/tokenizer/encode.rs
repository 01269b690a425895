//! The pieces and the shapes of a text's words.

use std::ops::Range;

use rayon::prelude::*;

use super::{Tokenizer, fault};
use crate::shape::{SHAPE_FEATURES, word_shapes};
use crate::{Result, Row};

/// The pieces and the shapes of a text's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The token of each piece, `[pieces]`.
    pub ids: Vec<u32>,
    /// `[words + 1]`: the pieces of word `w` are `ids[piece_offsets[w]..piece_offsets[w + 1]]`, one at least.
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
    /// Encodes the words of a text, each alone. A word of no known piece becomes the unknown token.
    ///
    /// A text with more pieces than `max_tokens` ends with its last word that fits; a first word that is
    /// too long itself loses its end.
    ///
    /// # Errors
    /// The tokenizer cannot handle a word.
    pub fn encode(&self, text: &str, words: &[Range<usize>]) -> Result<Encoded> {
        let (mut ids, mut piece_offsets, mut shapes) = (Vec::new(), vec![0], Vec::new());
        for range in words {
            let word = text.get(range.clone()).unwrap_or_default();
            let encoding = self.inner.encode_fast(word, false).map_err(|error| fault("tokenizer", error))?;
            let pieces = match encoding.get_ids() {
                [] => &[self.unknown_id],
                pieces => pieces,
            };
            if ids.len() + pieces.len() > self.max_tokens {
                break;
            }
            ids.extend_from_slice(pieces);
            piece_offsets.push(ids.len() as u32);
            shapes.push(word_shapes(word));
        }
        let truncated_words = words.len() - shapes.len();
        Ok(Encoded { ids, piece_offsets, shapes, truncated_words })
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
                "{first}: the text has more than {max_tokens} tokens and was cut off ({texts} such texts); raise `max_tokens` in [tokenizer] to keep it whole"
            );
        }
        Ok(encoded)
    }
}
