//! What piece-level tasks hide of a batch before the encoder reads it.

use std::borrow::Cow;
use std::ops::Range;

use polytask_data::PackedBatch;
use polytask_encoder::HIDDEN_WORD;
use polytask_task::{HiddenPiece, Pieces};
use polytask_tensor::{Ids, Offsets, Pass, RandomKey, Tensor, ops};

use crate::model::HeadLayers;
use crate::{Model, Result};

/// What one task hid in the texts wanted of it.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// The places in the batch, ascending.
    places: Vec<u32>,
    /// What truly stands there.
    pub(crate) pieces: Vec<u32>,
    /// How many of them each text has.
    lengths: Vec<usize>,
}

impl Hidden {
    /// The states of the hidden places, from those of all pieces.
    pub(crate) fn inputs(&self, states: &Tensor) -> Result<(Tensor, Offsets)> {
        let inputs = ops::gather_rows(states, &Ids::from(self.places.as_slice()))?;
        Ok((inputs, Offsets::from_lengths(self.lengths.iter().copied())))
    }
}

impl Model {
    /// The batch with stand-ins for what piece-level tasks hide in the texts wanted of them, and what each task hid.
    pub(crate) fn hide<'a>(
        &self,
        batch: &'a PackedBatch,
        wanted: &[Vec<usize>],
        pass: &mut Pass,
    ) -> Result<(Cow<'a, PackedBatch>, Vec<Hidden>)> {
        let mut seen = Cow::Borrowed(batch);
        let mut hidden: Vec<Hidden> = wanted.iter().map(|_| Hidden::default()).collect();
        for (task, texts) in wanted.iter().enumerate().filter(|(_, texts)| !texts.is_empty()) {
            let HeadLayers::Pieces(head) = &self.heads[task].layers else { continue };
            let (key, seen) = (pass.next_key(), seen.to_mut());
            for &text in texts {
                let found = self.hidden_pieces(task, head.mask(), batch, text, key)?;
                let first = batch.text_offsets[text];
                hidden[task].lengths.push(found.len());
                for HiddenPiece { place, stand_in } in found {
                    let place = first + place as u32;
                    hidden[task].places.push(place);
                    hidden[task].pieces.push(batch.ids[place as usize]);
                    // What another task hid stays hidden.
                    if stand_in != batch.ids[place as usize] {
                        seen.ids[place as usize] = stand_in;
                        hide_shapes(seen, text, place);
                    }
                }
            }
        }
        Ok((seen, hidden))
    }

    /// What a task hides of one text; the random numbers are those of the pass, or else of the text alone.
    fn hidden_pieces(
        &self,
        task: usize,
        mask: u32,
        batch: &PackedBatch,
        text: usize,
        key: Option<RandomKey>,
    ) -> Result<Vec<HiddenPiece>> {
        let first = batch.text_offsets[text];
        let ids = &batch.ids[first as usize..batch.text_offsets[text + 1] as usize];
        let (random, first_block) = match key {
            Some(key) => (key, u64::from(first)),
            None => (RandomKey::named(0, &format!("{ids:?}")), 0),
        };
        let (vocabulary, unknown) = (self.tokenizer().vocabulary_size(), self.tokenizer().unknown_id());
        let words: Vec<Range<usize>> = words(batch, text)
            .map(|(_, pieces)| (pieces.start - first) as usize..(pieces.end - first) as usize)
            .collect();
        let pieces = Pieces { ids, words: &words, vocabulary, mask, unknown, random, first_block };
        let found = self.task(task).hide(pieces);
        let exists =
            |hidden: &HiddenPiece| hidden.place < ids.len() && (hidden.stand_in as usize) < vocabulary;
        if !found.iter().all(exists) {
            let (pieces, found) = (ids.len(), format!("{found:?}"));
            let fault = anyhow::anyhow!("`hide` named what a text of {pieces} pieces does not have: {found}");
            return Err(self.task_error(task, fault));
        }
        Ok(found)
    }
}

/// Each word of a text by its place in the batch, and its pieces.
fn words(batch: &PackedBatch, text: usize) -> impl Iterator<Item = (usize, Range<u32>)> {
    let words = batch.word_offsets[text] as usize..batch.word_offsets[text + 1] as usize;
    words.map(|word| {
        let segment = batch.word_segments[word] as usize;
        (word, batch.piece_offsets[segment]..batch.piece_offsets[segment + 1])
    })
}

/// The shapes of a word would tell what its hidden piece is.
fn hide_shapes(batch: &mut PackedBatch, text: usize, place: u32) {
    let word = words(batch, text).find(|(_, pieces)| pieces.contains(&place));
    if let Some((word, _)) = word {
        batch.shapes[word] = HIDDEN_WORD;
    }
}
