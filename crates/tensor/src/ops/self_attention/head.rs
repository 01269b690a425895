//! One head of one text: the products, and the rows of scores between them, a block of rows at a time.

use std::ops::Range;

use pulp::Simd;

use super::Shape;
use super::dropout::Draws;
use super::product::{Place, Rows, Transposed, product, product_at, transpose};
use super::softmax::{Block, LANES, RowStatistics};
use crate::parallel::RowParts;

/// Rows of scores that exist at a time.
const BLOCK: usize = 24;

/// Memory of one task, for one head at a time; n padded to a multiple of `LANES`.
pub(super) struct Scratch {
    /// Kᵀ and Vᵀ, `[d, n]`.
    key: Vec<f32>,
    value: Vec<f32>,
    /// S, then W̃, of a block of rows, `[BLOCK, n]`; and dW̃, then dS.
    scores: Vec<f32>,
    d_weights: Vec<f32>,
    /// Numbers for the dropout of a block.
    random: Vec<u32>,
    /// 0 for each token, −∞ beyond the last, `[n]`.
    padding: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(longest: usize, head_width: usize) -> Self {
        let padded = longest.next_multiple_of(LANES);
        let zeros = |rows| vec![0.0; rows * padded];
        Self {
            key: zeros(head_width),
            value: zeros(head_width),
            scores: zeros(BLOCK),
            d_weights: zeros(BLOCK),
            random: vec![0; (BLOCK + 1) * padded],
            padding: zeros(1),
        }
    }
}

/// One head of one text of n tokens, d columns wide.
pub(super) struct Head<'a> {
    shape: &'a Shape,
    projections: &'a [f32],
    text: Range<usize>,
    head: usize,
}

impl<'a> Head<'a> {
    /// `index` counts the heads of all texts.
    pub(super) fn new(shape: &'a Shape, projections: &'a [f32], index: usize) -> Self {
        let text = shape.offsets.range(index / shape.heads);
        Self { shape, projections, text, head: index % shape.heads }
    }

    /// Where the statistics of its rows stand among those of all heads of all texts.
    pub(super) fn statistics(&self) -> Range<usize> {
        let first = self.text.start * self.shape.heads + self.head * self.text.len();
        first..first + self.text.len()
    }

    /// O, and the statistics of each row of S.
    ///
    /// # Safety
    /// Nobody else may read or write the head's columns of the text's rows of `output` meanwhile.
    #[inline(always)]
    pub(super) unsafe fn forward<S: Simd>(
        &self,
        simd: S,
        scratch: &mut Scratch,
        output: &RowParts<'_>,
        statistics: &mut [RowStatistics],
    ) {
        let (n, d) = (self.text.len(), self.shape.head_width());
        let padded = n.next_multiple_of(LANES);
        let [query, key, value] = self.projections();
        let key_transposed = &mut scratch.key[..d * padded];
        transpose(key, n, d, key_transposed);
        let key_transposed = Rows { values: key_transposed, stride: padded };
        let (padding, scale) = (padding(&mut scratch.padding, n), 1.0 / (d as f32).sqrt());
        for (block, statistics) in (0..n).step_by(BLOCK).zip(statistics.chunks_mut(BLOCK)) {
            let rows = statistics.len();
            let keys = self.keys(block..block + rows);
            let columns = keys.len().next_multiple_of(LANES);
            let padding = &padding[keys.start..][..columns];
            let draws = self.draw(block..block + rows, &keys, &mut scratch.random);
            let scores = &mut scratch.scores[..rows * columns];
            product(simd, scores, query.from(block), key_transposed.columns_from(keys.start), d, columns);
            self.hide(scores, block, &keys);
            Block { scale, padding, draws }.weights(simd, scores, statistics);
            let place = Place { rows: output, row: self.text.start + block, column: self.head * d };
            let weights = Rows { values: scores, stride: columns };
            // SAFETY: the caller's.
            unsafe {
                product_at(simd, place, weights, value.from(keys.start), [rows, keys.len(), d], false);
            }
        }
    }

    /// dQ, dK and dV of dO; `gradients` are rows of the three side by side.
    ///
    /// # Safety
    /// Nobody else may read or write the head's columns of the text's rows of `gradients` meanwhile.
    #[inline(always)]
    pub(super) unsafe fn backward<S: Simd>(
        &self,
        simd: S,
        scratch: &mut Scratch,
        statistics: &[RowStatistics],
        gradient: &[f32],
        gradients: &RowParts<'_>,
    ) {
        let (n, d) = (self.text.len(), self.shape.head_width());
        let padded = n.next_multiple_of(LANES);
        let [query, key, value] = self.projections();
        let gradient = self.columns(gradient, self.shape.width, 0);
        let (key_transposed, value_transposed) =
            (&mut scratch.key[..d * padded], &mut scratch.value[..d * padded]);
        transpose(key, n, d, key_transposed);
        transpose(value, n, d, value_transposed);
        let [key_transposed, value_transposed] =
            [key_transposed, value_transposed].map(|values| Rows { values, stride: padded });
        let (padding, scale) = (padding(&mut scratch.padding, n), 1.0 / (d as f32).sqrt());
        // Keys before have a gradient from earlier blocks, which is added to.
        let mut met = 0;
        for (block, statistics) in (0..n).step_by(BLOCK).zip(statistics.chunks(BLOCK)) {
            let rows = statistics.len();
            let keys = self.keys(block..block + rows);
            let columns = keys.len().next_multiple_of(LANES);
            let padding = &padding[keys.start..][..columns];
            let (query, gradient) = (query.from(block), gradient.from(block));
            let scores = &mut scratch.scores[..rows * columns];
            let d_weights = &mut scratch.d_weights[..rows * columns];
            product(simd, scores, query, key_transposed.columns_from(keys.start), d, columns);
            product(simd, d_weights, gradient, value_transposed.columns_from(keys.start), d, columns);
            self.hide(scores, block, &keys);
            let draws = self.draw(block..block + rows, &keys, &mut scratch.random);
            Block { scale, padding, draws }.backward(simd, scores, d_weights, statistics);
            let [weights, d_scores] = [&*scores, d_weights].map(|values| Rows { values, stride: columns });
            let place = |which: usize, row| Place {
                rows: gradients,
                row: self.text.start + row,
                column: which * self.shape.width + self.head * d,
            };
            // SAFETY: the caller's.
            unsafe {
                product_at(
                    simd,
                    place(0, block),
                    d_scores,
                    key.from(keys.start),
                    [rows, keys.len(), d],
                    false,
                );
                for (part, add) in [(keys.start..met, true), (met..keys.end, false)] {
                    let [weights, d_scores] = [weights, d_scores]
                        .map(|values| Transposed(values.columns_from(part.start - keys.start)));
                    let shape = [part.len(), rows, d];
                    product_at(simd, place(1, part.start), d_scores, query, shape, add);
                    product_at(simd, place(2, part.start), weights, gradient, shape, add);
                }
            }
            met = keys.end;
        }
    }

    /// The keys that some rows of queries see, and a few before, so that they begin with a vector.
    fn keys(&self, queries: Range<usize>) -> Range<usize> {
        let seen = self.shape.seen(queries, self.text.len());
        seen.start / LANES * LANES..seen.end
    }

    /// −∞ for the scores of those `keys` that a row of the block does not see.
    fn hide(&self, scores: &mut [f32], block: usize, keys: &Range<usize>) {
        let n = self.text.len();
        if self.shape.window >= n {
            return;
        }
        for (query, row) in (block..).zip(scores.chunks_exact_mut(keys.len().next_multiple_of(LANES))) {
            let seen = self.shape.seen(query..query + 1, n);
            row[..seen.start - keys.start].fill(f32::NEG_INFINITY);
            row[seen.end - keys.start..].fill(f32::NEG_INFINITY);
        }
    }

    /// Q, K and V, `[n, d]` each.
    fn projections(&self) -> [Rows<'a>; 3] {
        [0, 1, 2].map(|which| self.columns(self.projections, 3 * self.shape.width, which * self.shape.width))
    }

    /// The head's columns of the text's rows; `first` is where those of the first head begin.
    fn columns<'b>(&self, values: &'b [f32], stride: usize, first: usize) -> Rows<'b> {
        let start = self.text.start * stride + first + self.head * self.shape.head_width();
        Rows { values: values.get(start..).unwrap_or_default(), stride }
    }

    /// Random numbers for some rows of the weights.
    #[inline(always)]
    fn draw<'b>(&'b self, block: Range<usize>, keys: &Range<usize>, random: &'b mut [u32]) -> Draws<'b> {
        self.shape.dropout.draw(self.head, self.text.start, self.text.len(), block, keys, random)
    }
}

fn padding(values: &mut [f32], n: usize) -> &[f32] {
    let values = &mut values[..n.next_multiple_of(LANES)];
    values[..n].fill(0.0);
    values[n..].fill(f32::NEG_INFINITY);
    values
}
