use std::ops::Range;

use polytask_tensor::RandomKey;

/// The pieces of one text, for a task that [hides](crate::Task::hide) some of them.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    /// The piece ids, those that the tokenizer puts around a text among them.
    pub ids: &'a [u32],
    /// The places of each word's pieces, ascending; what belongs to no word is special.
    pub words: &'a [Range<usize>],
    /// The number of pieces that there are.
    pub vocabulary: usize,
    /// The piece that stands for a hidden one.
    pub mask: u32,
    /// The piece that stands for what the vocabulary cannot spell.
    pub unknown: u32,
    /// Where the random numbers of this text come from.
    pub random: RandomKey,
    /// The block of `random` that belongs to its first piece.
    pub first_block: u64,
}

impl Pieces<'_> {
    /// Four random numbers for the piece at one place. In training a function of the seed, the step and the place in the batch;
    /// in evaluation of the text and the place in it, so that the same pieces are hidden every time.
    pub fn draw(&self, place: usize) -> [u32; 4] {
        self.random.block(self.first_block.wrapping_add(place as u64))
    }
}

/// One piece that the encoder does not get to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HiddenPiece {
    /// Its place among the pieces of the text.
    pub place: usize,
    /// The piece that the encoder reads instead; the task may leave the true one there.
    pub stand_in: u32,
}
