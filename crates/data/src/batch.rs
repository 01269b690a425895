//! A batch of texts as one sequence.

use crate::{Encoded, SHAPE_FEATURES};

/// Texts one after the other, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedBatch {
    /// The token of each piece, `[pieces]`.
    pub ids: Vec<u32>,
    /// `[texts + 1]`: the pieces of text `t` are `ids[text_offsets[t]..text_offsets[t + 1]]`.
    pub text_offsets: Vec<u32>,
    /// `[segments + 1]`: segment `s` is `ids[piece_offsets[s]..piece_offsets[s + 1]]`, the pieces of a word or the special
    /// pieces at one end of a text.
    pub piece_offsets: Vec<u32>,
    /// `[words]`: the segment of each word. One without a piece of its own, which the tokenizer joined to the word before it or
    /// dropped, has the segment before.
    pub word_segments: Vec<u32>,
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
            word_segments: Vec::with_capacity(texts.iter().map(|text| text.words()).sum()),
            word_offsets: vec![0],
            shapes: Vec::with_capacity(texts.iter().map(|text| text.words()).sum()),
        };
        for text in texts {
            let before = batch.ids.len() as u32;
            batch.close_segment(before + text.piece_offsets.first().copied().unwrap_or_default());
            let first = batch.piece_offsets.len() as u32 - 1;
            let mut last = (first > 0 && text.piece_offsets.first() > Some(&0)).then(|| first - 1);
            for (segment, pieces) in (first..).zip(text.piece_offsets.windows(2)) {
                let own = pieces[0] < pieces[1];
                last = if own { Some(segment) } else { last };
                batch.word_segments.push(last.unwrap_or(segment));
            }
            batch.piece_offsets.extend(text.piece_offsets.iter().skip(1).map(|offset| before + offset));
            batch.ids.extend_from_slice(&text.ids);
            batch.close_segment(batch.ids.len() as u32);
            batch.shapes.extend_from_slice(&text.shapes);
            batch.text_offsets.push(batch.ids.len() as u32);
            batch.word_offsets.push(batch.shapes.len() as u32);
        }
        batch
    }

    /// A segment of special pieces up to `end`, where there are any.
    fn close_segment(&mut self, end: u32) {
        if self.piece_offsets.last().is_some_and(|&last| last < end) {
            self.piece_offsets.push(end);
        }
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

    /// A text whose words have these numbers of pieces, and so many special pieces on each side.
    fn encoded(lengths: &[u32], special: u32) -> Encoded {
        let piece_offsets: Vec<u32> =
            (0..=lengths.len()).map(|w| special + lengths[..w].iter().sum::<u32>()).collect();
        let pieces = lengths.iter().sum::<u32>() + 2 * special;
        Encoded {
            ids: (0..pieces).map(|id| id * 7 + pieces).collect(),
            piece_offsets,
            shapes: lengths.iter().map(|&length| [length; 4]).collect(),
            truncated_words: 0,
        }
    }

    proptest! {
        #[test]
        fn every_text_can_be_cut_out_again(
            lengths in prop::collection::vec(prop::collection::vec(0_u32..4, 0..6), 0..6),
            special in 0_u32..3,
        ) {
            let texts: Vec<Encoded> = lengths.iter().map(|lengths| encoded(lengths, special)).collect();
            let batch = PackedBatch::pack(&texts.iter().collect::<Vec<_>>());
            prop_assert_eq!(batch.texts(), texts.len());
            prop_assert_eq!(batch.word_segments.len(), batch.words());
            prop_assert!(batch.piece_offsets.is_sorted());
            prop_assert_eq!(batch.piece_offsets.last().copied(), Some(batch.pieces() as u32));
            for (t, text) in texts.iter().enumerate() {
                let pieces = batch.text_offsets[t] as usize..batch.text_offsets[t + 1] as usize;
                let words = batch.word_offsets[t] as usize..batch.word_offsets[t + 1] as usize;
                prop_assert_eq!(&batch.ids[pieces.clone()], &text.ids[..]);
                prop_assert_eq!(&batch.shapes[words.clone()], &text.shapes[..]);
                for (word, &segment) in batch.word_segments[words].iter().enumerate() {
                    let segment = segment as usize;
                    if text.piece_offsets[word] == text.piece_offsets[word + 1] {
                        // That of the last word before it that has pieces, or the special one, or its own empty one.
                        let before = text.piece_offsets[word];
                        let end = batch.piece_offsets[segment + 1] - pieces.start as u32;
                        prop_assert_eq!(end, before);
                        prop_assert!(before == 0 || batch.piece_offsets[segment] < batch.piece_offsets[segment + 1]);
                        continue;
                    }
                    let own = [segment, segment + 1].map(|place| batch.piece_offsets[place] - pieces.start as u32);
                    prop_assert_eq!(&own[..], &text.piece_offsets[word..word + 2]);
                }
            }
        }
    }
}
