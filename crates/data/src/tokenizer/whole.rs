//! A whole text as a pretrained encoder reads it: special pieces around it, and spaces that may be part of pieces.

use std::ops::Range;

use super::{Tokenizer, fault};
use crate::shape::word_shapes;
use crate::{Encoded, Result};

/// A piece and the bytes of the text that it stands for; a special one stands for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The token.
    pub id: u32,
    /// The bytes of the text.
    pub bytes: Range<usize>,
    /// Whether the tokenizer added it.
    pub is_special: bool,
}

impl Tokenizer {
    /// The same tokenizer, which encodes each text as a whole and puts its special pieces around it.
    pub fn for_whole_texts(self) -> Self {
        Self { whole_texts: true, ..self }
    }

    /// All pieces of a text, the special ones included, however many.
    ///
    /// # Errors
    /// The tokenizer cannot handle the text.
    pub fn pieces(&self, text: &str) -> Result<Vec<Piece>> {
        let encoding = self.inner.encode(text, true).map_err(|error| fault("tokenizer", error))?;
        let places = encoding.get_offsets().iter().zip(encoding.get_special_tokens_mask());
        let pieces = encoding.get_ids().iter().zip(places);
        Ok(pieces
            .map(|(&id, (&(start, end), &special))| Piece { id, bytes: start..end, is_special: special == 1 })
            .collect())
    }

    /// Each piece belongs to the word in which it begins; one before it, such as a space, to the word that follows. Spaces
    /// behind the last word belong to none.
    pub(super) fn encode_whole(&self, text: &str, words: &[Range<usize>]) -> Result<Encoded> {
        // Of more words there can hardly be room for all.
        let read = &words[..words.len().min(self.max_tokens)];
        let end = if read.len() == words.len() { text.len() } else { read.last().map_or(0, |word| word.end) };
        let pieces = self.pieces(text.get(..end).unwrap_or_default())?;
        let inner = pieces.iter().position(|piece| !piece.is_special).unwrap_or(pieces.len().div_ceil(2));
        let (before, rest) = pieces.split_at(inner);
        let added = before.len() + rest.iter().filter(|piece| piece.is_special).count();
        let room = self.max_tokens.saturating_sub(added);
        let own: Vec<&Piece> = rest.iter().filter(|piece| !piece.is_special).collect();

        let id = |piece: &Piece| piece.id;
        let mut ids: Vec<u32> = before.iter().map(id).collect();
        let mut piece_offsets = vec![ids.len() as u32];
        let mut taken = 0;
        for (index, word) in read.iter().enumerate() {
            let more = own[taken..].iter().take_while(|piece| piece.bytes.start < word.end).count();
            let more = match (index, taken + more > room) {
                (_, false) => more,
                (0, true) => room,
                (_, true) => break,
            };
            ids.extend(own[taken..taken + more].iter().copied().map(id));
            taken += more;
            piece_offsets.push(ids.len() as u32);
        }
        if piece_offsets.len() > words.len() {
            ids.extend(own[taken..].iter().take(room - taken).copied().map(id));
        }
        ids.extend(rest.iter().filter(|piece| piece.is_special).map(id));
        let kept = &words[..piece_offsets.len() - 1];
        let shapes = kept.iter().map(|word| word_shapes(text.get(word.clone()).unwrap_or_default()));
        Ok(Encoded {
            ids,
            piece_offsets,
            shapes: shapes.collect(),
            truncated_words: words.len() - kept.len(),
        })
    }
}
