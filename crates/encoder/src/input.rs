use polytask_tensor::{Ids, Offsets};

/// A packed batch as an encoder reads it.
#[derive(Clone, Debug)]
pub struct EncoderInput {
    /// The piece ids of all texts, one text after another, `[pieces]`.
    pub pieces: Ids,
    /// The piece that stands for what the vocabulary cannot spell.
    pub unknown_piece: u32,
    /// The pieces of each text.
    pub texts: Offsets,
    /// The pieces of each word, over the whole batch.
    pub words: Offsets,
    /// Four hashes a word: lower-cased form, prefix, suffix, shape; or [`HIDDEN_WORD`].
    pub shapes: Vec<[u32; 4]>,
    /// Which of the encoder's adapters reads it, by its place; `None`: the encoder alone.
    pub adapter: Option<usize>,
}

/// The hashes of a word of which nothing is to be seen.
pub const HIDDEN_WORD: [u32; 4] = [u32::MAX; 4];
