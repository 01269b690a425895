//! The processor's way: text by text, while it is near.

use std::ops::Range;

use super::{Attend, Shape};
use crate::lanes::{self, add_scaled, vectorized};
use crate::memory::{self, Values};
use crate::ops::segment::{softmax_of_columns, softmax_of_columns_backward};
use crate::parallel::{for_each_row_block, for_each_segment, sum_of_blocks};
use crate::{Result, Tensor};

/// α, row after row.
pub(super) fn weights(shape: &Shape, x: &Tensor, query_rows: &Tensor) -> Vec<f32> {
    let columns = shape.columns();
    let mut weights = vec![0.0; shape.offsets.rows() * columns];
    for_each_segment(
        [&mut weights],
        &shape.offsets,
        |n| [n * columns],
        |_, text, [weights]| {
            products(rows_of(x, &text), query_rows.data(), shape.width, weights);
            softmax_of_columns(weights, columns);
        },
    );
    weights
}

/// P, row after row.
pub(super) fn pool(shape: &Shape, x: &Tensor, weights: &Tensor) -> Values {
    let Shape { ref offsets, heads, width, .. } = *shape;
    let (columns, texts) = (shape.columns(), offsets.segments());
    let mut pooled = memory::overwritable(columns * texts * width);
    for_each_row_block(&mut pooled, heads * width, |first, block| {
        for (i, pooled) in block.chunks_exact_mut(heads * width).enumerate() {
            let (task, text) = ((first + i) / texts, offsets.range((first + i) % texts));
            let weights = rows_of(weights, &text).get(task * heads..).unwrap_or_default();
            weighted_sums(rows_of(x, &text), weights, columns, width, pooled);
        }
    });
    pooled
}

/// dX, and dβ of all tasks one below another.
pub(super) fn backward(attend: &Attend, gradient: &Tensor) -> Result<[Tensor; 2]> {
    let Attend { x, query_rows, weights, shape, .. } = attend;
    let (width, columns, texts) = (shape.width, shape.columns(), shape.offsets.segments());
    let mut dx = memory::overwritable(x.len());
    let mut d_queries = vec![0.0; texts * columns * width];
    let lengths = |n| [n * width, columns * width];
    for_each_segment([&mut dx, &mut d_queries], &shape.offsets, lengths, |index, text, results| {
        let (x, weights) = (rows_of(x, &text), rows_of(weights, &text));
        let d_pooled = of_text(shape, gradient, index);
        let mut d_logits = vec![0.0; weights.len()];
        products(x, &d_pooled, width, &mut d_logits);
        softmax_of_columns_backward(weights, &mut d_logits, columns);
        let [dx, d_queries] = results;
        let (d_logits, d_pooled, queries) = (&d_logits, &d_pooled, query_rows.data());
        let of_text = TextOfBackward { x, weights, d_logits, queries, d_pooled };
        through_the_text(of_text, width, dx, d_queries);
    });
    let d_queries = Tensor::new(sum_of_blocks(&d_queries, columns * width), &[columns, width])?;
    Ok([Tensor::of(dx, x.shape())?, d_queries])
}

/// One text's rows of P or dP, `[tasks · heads, width]`.
fn of_text(shape: &Shape, pooled: &Tensor, text: usize) -> Vec<f32> {
    let texts = shape.offsets.segments();
    let rows = (0..shape.tasks).map(|task| pooled.row(task * texts + text));
    rows.collect::<Vec<_>>().concat()
}

/// The values of some rows.
fn rows_of<'a>(tensor: &'a Tensor, rows: &Range<usize>) -> &'a [f32] {
    let (_, columns) = tensor.rows_columns();
    &tensor.data()[rows.start * columns..rows.end * columns]
}

vectorized! {
    /// x_iᵀ q of each row of x and each of the queries `[columns, width]`: `[rows, columns]`.
    fn products(x: &[f32], queries: &[f32], width: usize, result: &mut [f32]) {
        let columns = queries.len() / width.max(1);
        for (x, row) in x.chunks_exact(width.max(1)).zip(result.chunks_exact_mut(columns.max(1))) {
            for (product, query) in row.iter_mut().zip(queries.chunks_exact(width)) {
                *product = lanes::sum_pairs(x, query, |x, query| x * query);
            }
        }
    }
}

vectorized! {
    /// Σ_i w_i x_i for each of the first columns of the weights `[rows, columns]`, as many as `sums` `[_, width]` has.
    fn weighted_sums(x: &[f32], weights: &[f32], columns: usize, width: usize, sums: &mut [f32]) {
        for (column, sum) in sums.chunks_exact_mut(width).enumerate() {
            sum.fill(0.0);
            for (x, weights) in x.chunks_exact(width).zip(weights.chunks(columns)) {
                add_scaled(sum, weights[column], x);
            }
        }
    }
}

vectorized! {
    /// dx_i = Σ_c (α_ic dP_c + dl_ic β_c), and dβ_c += Σ_i dl_ic x_i, of a text; dP and β `[columns, width]`.
    fn through_the_text(inputs: TextOfBackward<'_>, width: usize, dx: &mut [f32], d_queries: &mut [f32]) {
        let TextOfBackward { x, weights, d_logits, queries, d_pooled } = inputs;
        let columns = queries.len() / width.max(1);
        let rows = x.chunks_exact(width.max(1)).zip(dx.chunks_exact_mut(width.max(1)));
        let of_rows = weights.chunks_exact(columns.max(1)).zip(d_logits.chunks_exact(columns.max(1)));
        for ((x, dx), (weights, d_logits)) in rows.zip(of_rows) {
            dx.fill(0.0);
            for column in 0..columns {
                let row = column * width..(column + 1) * width;
                let (weight, d_logit) = (weights[column], d_logits[column]);
                for ((dx, dp), query) in dx.iter_mut().zip(&d_pooled[row.clone()]).zip(&queries[row.clone()]) {
                    *dx += weight * dp + d_logit * query;
                }
                add_scaled(&mut d_queries[row], d_logit, x);
            }
        }
    }
}

/// What the backward reads of one text.
struct TextOfBackward<'a> {
    x: &'a [f32],
    weights: &'a [f32],
    d_logits: &'a [f32],
    queries: &'a [f32],
    d_pooled: &'a [f32],
}
