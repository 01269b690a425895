//! Self-attention on the CPU: one task a text, a few small matrix products a head.

use std::ops::Range;

use super::{SelfAttention, Shape, WeightDropout};
use crate::matrix::{Matrix, product};
use crate::ops::dropout::drop_values;
use crate::ops::softmax::{softmax_backward_row, softmax_in_place};
use crate::parallel::for_each_segment;

/// The result `[tokens, width]`, and W `[heads, n, n]` of each text, text after text.
pub(super) fn forward(shape: &Shape, query: &[f32], key: &[f32], value: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (width, heads, head_width) = (shape.width, shape.heads, shape.head_width());
    let mut output = vec![0.0; query.len()];
    let mut weights = vec![0.0; shape.offsets.iter().map(|text| shape.weights_of_text(text.len())).sum()];
    let lengths = |n| [n * width, shape.weights_of_text(n)];
    for_each_segment([&mut output, &mut weights], &shape.offsets, lengths, |_, text, [output, weights]| {
        let n = text.len();
        let (mut dropped, mut head_output) = (Vec::new(), vec![0.0; n * head_width]);
        for (head, weights) in (0..heads).zip(weights.chunks_exact_mut((n * n).max(1))) {
            let of_head = |x| shape.head(x, head, &text);
            product(weights, of_head(query), of_head(key).transposed(), head_width, n);
            for row in weights.chunks_exact_mut(n) {
                row.iter_mut().for_each(|score| *score *= shape.scale());
                softmax_in_place(row);
            }
            let weights = shape.dropped(weights, &mut dropped, head, &text);
            product(&mut head_output, Matrix::new(weights, n), of_head(value), n, head_width);
            shape.place(output, head, &head_output);
        }
    });
    (output, weights)
}

/// dQ, dK and dV, `[tokens, width]` each, of dO.
pub(super) fn backward(operation: &SelfAttention, gradient: &[f32]) -> [Vec<f32>; 3] {
    let SelfAttention { query, key, value, weights, shape } = operation;
    let (width, head_width) = (shape.width, shape.head_width());
    let [mut dq, mut dk, mut dv] = [(); 3].map(|()| vec![0.0; gradient.len()]);
    let starts = shape.starts_of_weights();
    let results = [dq.as_mut_slice(), &mut dk, &mut dv];
    for_each_segment(
        results,
        &shape.offsets,
        |n| [n * width; 3],
        |index, text, [dq, dk, dv]| {
            let n = text.len();
            let weights = &weights[starts[index]..starts[index + 1]];
            let [mut d_weights, mut d_scores, mut dropped] = [(); 3].map(|()| vec![0.0; n * n]);
            let mut head_result = vec![0.0; n * head_width];
            for (head, weights) in weights.chunks_exact((n * n).max(1)).enumerate() {
                let of_head = |x| shape.head(x, head, &text);
                let kept = shape.dropped(weights, &mut dropped, head, &text);
                product(
                    &mut head_result,
                    Matrix::new(kept, n).transposed(),
                    of_head(gradient),
                    n,
                    head_width,
                );
                shape.place(dv, head, &head_result);

                product(&mut d_weights, of_head(gradient), of_head(value.data()).transposed(), head_width, n);
                if let Some(dropout) = &shape.dropout {
                    dropout.apply(&mut d_weights, head, &text);
                }
                for ((ds, w), dw) in
                    d_scores.chunks_exact_mut(n).zip(weights.chunks(n)).zip(d_weights.chunks(n))
                {
                    softmax_backward_row(w, dw, ds);
                    ds.iter_mut().for_each(|ds| *ds *= shape.scale());
                }
                let d_scores = Matrix::new(&d_scores, n);
                product(&mut head_result, d_scores, of_head(key.data()), n, head_width);
                shape.place(dq, head, &head_result);
                product(&mut head_result, d_scores.transposed(), of_head(query.data()), n, head_width);
                shape.place(dk, head, &head_result);
            }
        },
    );
    [dq, dk, dv]
}

impl Shape {
    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_width() as f32).sqrt()
    }

    fn weights_of_text(&self, tokens: usize) -> usize {
        self.heads * tokens * tokens
    }

    /// Where the weights of each text begin, and where the last ones end.
    fn starts_of_weights(&self) -> Vec<usize> {
        let ends = self.offsets.iter().scan(0, |end, text| {
            *end += self.weights_of_text(text.len());
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// One head's columns of a text's rows, `[n, head_width]`.
    fn head<'a>(&self, x: &'a [f32], head: usize, text: &Range<usize>) -> Matrix<'a> {
        Matrix::new(&x[text.start * self.width + head * self.head_width()..], self.width)
    }

    /// Writes `[n, head_width]` values to one head's columns of a text's rows `[n, width]`.
    fn place(&self, rows: &mut [f32], head: usize, values: &[f32]) {
        let head_width = self.head_width();
        for (row, values) in rows.chunks_exact_mut(self.width).zip(values.chunks_exact(head_width)) {
            row[head * head_width..(head + 1) * head_width].copy_from_slice(values);
        }
    }

    /// W̃, in `dropped` where there is dropout.
    fn dropped<'a>(
        &self,
        weights: &'a [f32],
        dropped: &'a mut Vec<f32>,
        head: usize,
        text: &Range<usize>,
    ) -> &'a [f32] {
        let Some(dropout) = &self.dropout else { return weights };
        dropped.clear();
        dropped.extend_from_slice(weights);
        dropout.apply(dropped, head, text);
        dropped
    }
}

/// Bits of a draw's index that count the keys of a text in fours: texts of up to 2¹⁸ tokens.
const KEY_BITS: u32 = 16;
/// Bits above those that hold the row of the query.
const QUERY_BITS: u32 = 32;

impl WeightDropout {
    /// Multiplies the values `[n, n]` of one text and head by M / (1 − p).
    fn apply(&self, values: &mut [f32], head: usize, text: &Range<usize>) {
        let mut random = vec![0; text.len()];
        for (query, row) in text.clone().zip(values.chunks_exact_mut(text.len())) {
            let first = (head as u64) << (KEY_BITS + QUERY_BITS) | (query as u64) << KEY_BITS;
            self.key.fill(first, &mut random);
            drop_values(row, &random, self.probability);
        }
    }
}
