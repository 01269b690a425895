//! What a token starts from: its piece, its word's features and its place in the text.

use polytask_attention::LayerNorm;
use polytask_tensor::initialize::Initializer;
use polytask_tensor::{
    Error, Ids, Offsets, ParameterBuilder, ParameterId, Parameters, Pass, RandomKey, Result, Tensor, ops,
};

use crate::{EncoderInput, HIDDEN_WORD, Positions, Transformer};

/// Features a word: lower-cased form, prefix, suffix, shape.
const FEATURES: usize = 4;
/// The row of a feature table that stands for a word whose form is hidden.
const HIDDEN: u32 = 0;

/// x_i = E_piece[id_i] + Σ_f E_f[hash_f(word of i)] + P[place of i], then layer norm and dropout.
///
/// Word dropout hides a word's identity in training (its pieces become the unknown piece, its lower-cased form the
/// hidden row) and leaves prefix, suffix and shape: so the model learns to read words it has never seen.
#[derive(Debug)]
pub(crate) struct Embeddings {
    pieces: ParameterId,
    shapes: Option<ParameterId>,
    positions: PositionTable,
    norm: LayerNorm,
    width: usize,
    buckets: usize,
    word_dropout: f32,
    dropout: f32,
}

#[derive(Debug)]
enum PositionTable {
    Learnt(ParameterId, usize),
    Sinusoidal,
    None,
}

impl Embeddings {
    pub(crate) fn new(
        config: &Transformer,
        vocabulary: usize,
        max_tokens: usize,
        builder: &mut ParameterBuilder<'_>,
    ) -> Result<Self> {
        let normal = Initializer::Normal { standard_deviation: 1.0 / (config.width as f32).sqrt() };
        let width = config.width;
        let mut table =
            |name: &str, rows: usize| builder.part(name).parameter("weight", &[rows, width], normal);
        let pieces = table("pieces", vocabulary)?;
        let shapes = match config.word_shapes {
            0 => None,
            buckets => Some(table("shapes", FEATURES * buckets)?),
        };
        let positions = match config.positions {
            Positions::Learnt => PositionTable::Learnt(table("positions", max_tokens)?, max_tokens),
            Positions::Sinusoidal => PositionTable::Sinusoidal,
            Positions::None => PositionTable::None,
        };
        let norm = LayerNorm::new(&mut builder.part("norm"), width, LayerNorm::EPSILON)?;
        Ok(Self {
            pieces,
            shapes,
            positions,
            norm,
            width,
            buckets: config.word_shapes,
            word_dropout: config.word_dropout,
            dropout: config.dropout,
        })
    }

    /// The table of pieces.
    pub(crate) fn pieces(&self) -> ParameterId {
        self.pieces
    }

    /// `[pieces, width]` of the input.
    pub(crate) fn forward(
        &self,
        parameters: &Parameters,
        input: &EncoderInput,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let hidden = self.hidden_words(input.words.segments(), pass.next_key());
        let mut tables = vec![(parameters.get(self.pieces).clone(), hide_pieces(input, &hidden))];
        if let Some(shapes) = self.shapes {
            tables.push((parameters.get(shapes).clone(), self.feature_rows(input, &hidden)?));
        }
        if let Some(table) = self.position_table(parameters, &input.texts)? {
            let places = input.texts.iter().flat_map(|text| 0..text.len() as u32);
            tables.push((table, places.collect::<Vec<_>>().into()));
        }
        let tables: Vec<(&Tensor, &Ids)> = tables.iter().map(|(table, ids)| (table, ids)).collect();
        let x = ops::embedding_sum(&tables, input.pieces.len())?;
        pass.dropout(&self.norm.forward(parameters, &x)?, self.dropout)
    }

    fn hidden_words(&self, words: usize, key: Option<RandomKey>) -> Vec<bool> {
        let threshold = (f64::from(self.word_dropout) * f64::from(u32::MAX)) as u32;
        match key {
            Some(key) => (0..words).map(|word| key.block(word as u64)[0] < threshold).collect(),
            None => vec![false; words],
        }
    }

    /// The rows of the feature table that each piece's word names, [`FEATURES`] a piece.
    fn feature_rows(&self, input: &EncoderInput, hidden: &[bool]) -> Result<Ids> {
        let words = input.words.segments();
        if input.shapes.len() != words {
            let message = format!("{} word shapes for {words} words", input.shapes.len());
            return Err(Error::shape("word features", message));
        }
        let buckets = self.buckets as u32;
        let row = |feature: usize, hash: u32, hidden: bool| {
            // Row 0 of each table is kept for a hidden word.
            let bucket = if hidden { HIDDEN } else { 1 + hash % (buckets - 1) };
            feature as u32 * buckets + bucket
        };
        let mut rows = Vec::with_capacity(FEATURES * input.pieces.len());
        for ((pieces, hashes), &hidden) in input.words.iter().zip(&input.shapes).zip(hidden) {
            // Of a word that is hidden by dropout the form alone, which tells which word it is.
            let of_word: [u32; FEATURES] = std::array::from_fn(|feature| {
                row(feature, hashes[feature], *hashes == HIDDEN_WORD || feature == 0 && hidden)
            });
            pieces.for_each(|_| rows.extend(of_word));
        }
        Ok(rows.into())
    }

    /// A row for each place in a text.
    fn position_table(&self, parameters: &Parameters, texts: &Offsets) -> Result<Option<Tensor>> {
        let longest = texts.longest();
        match self.positions {
            PositionTable::None => Ok(None),
            PositionTable::Learnt(_, rows) if longest > rows => {
                let message = format!("a text of {longest} pieces, but only {rows} learnt positions");
                Err(Error::shape("positions", message))
            }
            PositionTable::Learnt(table, _) => Ok(Some(parameters.get(table).clone())),
            PositionTable::Sinusoidal => {
                let values = (0..longest).flat_map(|place| sinusoid(place, self.width)).collect();
                Tensor::new(values, &[longest, self.width]).map(Some)
            }
        }
    }
}

fn hide_pieces(input: &EncoderInput, hidden: &[bool]) -> Ids {
    let mut pieces = input.pieces.as_slice().to_vec();
    for (range, _) in input.words.iter().zip(hidden).filter(|(_, hidden)| **hidden) {
        pieces[range].fill(input.unknown_piece);
    }
    pieces.into()
}

/// PE(place, 2k) = sin(place / 10000^(2k / width)), PE(place, 2k + 1) = cos of the same, scaled by 1/√width to the
/// size of the other embeddings: Vaswani et al. 2017, section 3.5.
fn sinusoid(place: usize, width: usize) -> impl Iterator<Item = f32> {
    let scale = 1.0 / (width as f64).sqrt();
    (0..width).map(move |column| {
        let angle = place as f64 / 10_000f64.powf((column / 2 * 2) as f64 / width as f64);
        (scale * if column % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_word_of_which_nothing_is_to_be_seen_no_feature_is_read() {
        let config = Transformer { width: 4, word_shapes: 10, ..Transformer::default() };
        let mut parameters = Parameters::default();
        let mut builder = ParameterBuilder::random(&mut parameters, 1);
        let embeddings = Embeddings::new(&config, 8, 8, &mut builder).unwrap();
        let input = EncoderInput {
            pieces: Ids::from(vec![3, 1, 1]),
            unknown_piece: 0,
            texts: Offsets::from_lengths([3]),
            words: Offsets::from_lengths([1, 2]),
            shapes: vec![[9, 10, 11, 12], HIDDEN_WORD],
            adapter: None,
        };
        let rows = embeddings.feature_rows(&input, &[true, false]).unwrap();
        // The first word is one that word dropout hides: row 0 for its form, hash modulo 9 for the others.
        assert_eq!(rows.as_slice(), [0, 12, 23, 34, 0, 10, 20, 30, 0, 10, 20, 30]);
    }

    #[test]
    fn the_pieces_of_a_hidden_word_are_the_unknown_one() {
        let input = EncoderInput {
            pieces: Ids::from(vec![3, 4, 5, 6]),
            unknown_piece: 7,
            texts: Offsets::from_lengths([4]),
            words: Offsets::from_lengths([1, 2, 1]),
            shapes: vec![[0; 4]; 3],
            adapter: None,
        };
        assert_eq!(hide_pieces(&input, &[false, true, false]).as_slice(), [3, 7, 7, 6]);
    }
}
