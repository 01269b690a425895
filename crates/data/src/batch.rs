//! A batch of texts as one sequence.

use crate::{Encoded, SHAPE_FEATURES};

/// Texts one after the other, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedBatch {
    /// The token of each piece, `[pieces]`.
    pub ids: Vec<u32>,
    /// `[texts + 1]`: the pieces of text `t` are `ids[text_offsets[t]..text_offsets[t + 1]]`.
    pub text_offsets: Vec<u32>,
    /// `[words + 1]`: the pieces of word `w` of the batch are `ids[piece_offsets[w]..piece_offsets[w + 1]]`.
    pub piece_offsets: Vec<u32>,
    /// `[texts + 1]`: the words of text `t` are `word_offsets[t]..word_offsets[t + 1]`.
    pub word_offsets: Vec<u32>,
    /// The word-shape features of each word, `[words, 4]`.
    pub shapes: Vec<[u32; SHAPE_FEATURES]>,
}

impl PackedBatch {
    /// Packs texts in their order.
    pub fn pack(texts: &[&Encoded]) -> PackedBatch {
        let mut batch = PackedBatch {
            ids: Vec::with_capacity(texts.iter().map(|text| text.pieces()).sum()),
            text_offsets: vec![0],
            piece_offsets: vec![0],
            word_offsets: vec![0],
            shapes: Vec::with_capacity(texts.iter().map(|text| text.words()).sum()),
        };
        for text in texts {
            let before = batch.ids.len() as u32;
            batch.piece_offsets.extend(text.piece_offsets.iter().skip(1).map(|offset| before + offset));
            batch.ids.extend_from_slice(&text.ids);
            batch.shapes.extend_from_slice(&text.shapes);
            batch.text_offsets.push(batch.ids.len() as u32);
            batch.word_offsets.push(batch.shapes.len() as u32);
        }
        batch
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.text_offsets.len().saturating_sub(1)
    }

    /// Number of pieces.
    pub fn pieces(&self) -> usize {
        self.ids.len()
    }

    /// Number of words.
    pub fn words(&self) -> usize {
        self.shapes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A text whose words have these numbers of pieces.
    fn encoded(lengths: &[u32]) -> Encoded {
        let piece_offsets: Vec<u32> = (0..=lengths.len()).map(|w| lengths[..w].iter().sum()).collect();
        let pieces: u32 = lengths.iter().sum();
        Encoded {
            ids: (0..pieces).map(|id| id * 7 + pieces).collect(),
            piece_offsets,
            shapes: lengths.iter().map(|&length| [length; 4]).collect(),
            truncated_words: 0,
        }
    }

    proptest! {
        #[test]
        fn every_text_can_be_cut_out_again(lengths in prop::collection::vec(prop::collection::vec(1_u32..4, 0..6), 0..6)) {
            let texts: Vec<Encoded> = lengths.iter().map(|lengths| encoded(lengths)).collect();
            let batch = PackedBatch::pack(&texts.iter().collect::<Vec<_>>());
            prop_assert_eq!(batch.texts(), texts.len());
            prop_assert_eq!(batch.piece_offsets.len(), batch.words() + 1);
            for (t, text) in texts.iter().enumerate() {
                let pieces = batch.text_offsets[t] as usize..batch.text_offsets[t + 1] as usize;
                let words = batch.word_offsets[t] as usize..batch.word_offsets[t + 1] as usize;
                prop_assert_eq!(&batch.ids[pieces.clone()], &text.ids[..]);
                prop_assert_eq!(&batch.shapes[words.clone()], &text.shapes[..]);
                let offsets = &batch.piece_offsets[words.start..=words.end];
                let own: Vec<u32> = offsets.iter().map(|offset| offset - pieces.start as u32).collect();
                prop_assert_eq!(own, text.piece_offsets.clone());
            }
        }
    }
}
