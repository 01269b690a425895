//! Task attention: each task reads a text with queries of its own.
//!
//! ```text
//! X [tokens, width]   β of each task [heads, width]   →   P [tasks · texts, heads · width]
//! of a text s, a task t and a head h (β, α and x are those of t and h where they stand alone):
//! l_i = βᵀ x_i     α_i = exp(l_i) / Σ_{j ∈ s} exp(l_j)     P_{t,s,h} = Σ_{i ∈ s} α_i x_i
//!
//! dα_i = dP_{t,s,h}ᵀ x_i     dl_i = α_i (dα_i − Σ_{j ∈ s} α_j dα_j)     dβ = Σ_i dl_i x_i
//! dx_i = Σ_{t,h} (α_i dP_{t,s,h} + dl_i β)
//! ```
//!
//! All queries are one matrix B [tasks · heads, width]. A text is read while it is near the processor, all tasks
//! together; dβ is summed text by text, in their order. Kept for the backward: X, B, α.
//!
//! With one task and one head this is the attention of Yang et al., *Hierarchical Attention Networks*, NAACL 2016,
//! equations 6 and 7, without its hidden layer.

use std::ops::Range;

use crate::lanes::{self, add_scaled, vectorized};
use crate::ops::segment::{softmax_of_columns, softmax_of_columns_backward};
use crate::parallel::{for_each_row_block, for_each_segment, sum_of_blocks};
use crate::{Buffer, Error, Gradient, Offsets, Operation, Result, Tensor, memory};

/// What [`task_attention`] gives.
#[derive(Clone, Debug)]
pub struct TaskAttention {
    /// What each task read of each text, `[tasks · texts, heads · width]`: task t's texts are rows t · texts to
    /// (t + 1) · texts. Zeros for an empty text.
    pub pooled: Tensor,
    /// The weights α, `[tokens, tasks · heads]`, heads of one task side by side; a constant, for showing.
    pub weights: Tensor,
}

/// Reads each text of x `[tokens, width]` for each task: the sum of the text's rows, weighted by the softmax of their
/// products with the task's query. A query is `[heads, width]`, with one number of heads for all tasks; `offsets` are
/// the texts.
///
/// # Errors
/// There is no query, a query has another shape than `[heads, width]`, or the offsets do not cover the tokens.
///
/// ```
/// # use polytask_tensor::{Offsets, Tensor, ops::task_attention};
/// let x = Tensor::new(vec![0.0, 0.0, 10.0, 2.0], &[2, 2])?;
/// let (even, first) = (Tensor::zeros(&[1, 2]), Tensor::new(vec![-9.0, 0.0], &[1, 2])?);
/// let read = task_attention(&x, &[&even, &first], &Offsets::from_lengths([2]))?;
/// assert_eq!(read.pooled.row(0), [5.0, 1.0]);
/// assert!(read.weights.row(0)[1] > 0.999);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn task_attention(x: &Tensor, queries: &[&Tensor], offsets: &Offsets) -> Result<TaskAttention> {
    let heads = check(x, queries, offsets)?;
    let (tokens, width) = x.rows_columns();
    let columns = queries.len() * heads;
    let query_rows = queries.iter().map(|query| query.data()).collect::<Vec<_>>().concat();

    let mut weights = vec![0.0; tokens * columns];
    for_each_segment(
        [&mut weights],
        offsets,
        |n| [n * columns],
        |_, text, [weights]| {
            products(rows_of(x, &text), &query_rows, width, weights);
            softmax_of_columns(weights, columns);
        },
    );
    let weights = Tensor::new(weights, &[tokens, columns])?;

    let pooled =
        Buffer::new(pool(x, &weights, offsets, heads), &[queries.len() * offsets.segments(), heads * width])?;
    let operation = Attend {
        x: x.clone(),
        queries: queries.iter().map(|&query| query.clone()).collect(),
        query_rows,
        weights: weights.clone(),
        offsets: offsets.clone(),
    };
    Ok(TaskAttention { pooled: pooled.recorded(operation), weights })
}

/// The number of heads.
fn check(x: &Tensor, queries: &[&Tensor], offsets: &Offsets) -> Result<usize> {
    let refuse = |message| Err(Error::shape("task_attention", message));
    let (tokens, width) = x.rows_columns();
    let Some(heads) = queries.first().map(|query| query.rows_columns().0) else {
        return refuse("needs the query of at least one task".to_string());
    };
    for (task, query) in queries.iter().enumerate() {
        if query.shape() != [heads, width] {
            let message =
                format!("the query of task {task} must be [{heads}, {width}]; found {:?}", query.shape());
            return refuse(message);
        }
    }
    offsets.check_rows(tokens, "task_attention")?;
    Ok(heads)
}

/// P, row after row.
fn pool(x: &Tensor, weights: &Tensor, offsets: &Offsets, heads: usize) -> Vec<f32> {
    let (width, columns, texts) = (x.rows_columns().1, weights.rows_columns().1, offsets.segments());
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

struct Attend {
    x: Tensor,
    queries: Vec<Tensor>,
    /// B, the queries of all tasks one below another.
    query_rows: Vec<f32>,
    weights: Tensor,
    offsets: Offsets,
}

impl Operation for Attend {
    fn name(&self) -> &'static str {
        "task_attention"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        std::iter::once(&self.x).chain(&self.queries).collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let (_, width) = self.x.rows_columns();
        let (_, columns) = self.weights.rows_columns();
        let mut dx = memory::overwritable(self.x.len());
        let mut d_queries = vec![0.0; self.offsets.segments() * columns * width];
        let lengths = |n| [n * width, columns * width];
        for_each_segment([&mut dx, &mut d_queries], &self.offsets, lengths, |index, text, results| {
            let (x, weights) = (rows_of(&self.x, &text), rows_of(&self.weights, &text));
            let d_pooled = self.of_text(gradient, index);
            let mut d_logits = vec![0.0; weights.len()];
            products(x, &d_pooled, width, &mut d_logits);
            softmax_of_columns_backward(weights, &mut d_logits, columns);
            let [dx, d_queries] = results;
            let (d_logits, d_pooled, queries) = (&d_logits, &d_pooled, &self.query_rows);
            let of_text = TextOfBackward { x, weights, d_logits, queries, d_pooled };
            through_the_text(of_text, width, dx, d_queries);
        });
        let d_queries = Tensor::new(sum_of_blocks(&d_queries, columns * width), &[columns, width])?;
        let mut gradients = vec![Some(Tensor::new(dx, self.x.shape())?.into())];
        gradients.extend(
            self.queries
                .iter()
                .enumerate()
                .map(|(task, query)| Some(d_queries.constant_view(task * query.len(), query.shape()).into())),
        );
        Ok(gradients)
    }
}

impl Attend {
    /// One text's rows of P or dP, `[tasks · heads, width]`.
    fn of_text(&self, pooled: &Tensor, text: usize) -> Vec<f32> {
        let texts = self.offsets.segments();
        let rows = (0..self.queries.len()).map(|task| pooled.row(task * texts + text));
        rows.collect::<Vec<_>>().concat()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Side, matrix_product, segment_softmax};
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};

    /// The pooled rows of tasks whose queries are the last tensors.
    fn pooled(tensors: &[Tensor], offsets: &Offsets) -> Result<Tensor> {
        let queries: Vec<&Tensor> = tensors[1..].iter().collect();
        Ok(task_attention(&tensors[0], &queries, offsets)?.pooled)
    }

    #[test]
    fn gradients_agree_with_differences() {
        for lengths in [&[2][..], &[1, 4], &[0, 3, 1, 0, 7]] {
            let offsets = Offsets::from_lengths(lengths.iter().copied());
            for (tasks, heads, width) in [(1, 1, 1), (1, 2, 3), (3, 1, 5), (2, 3, 4)] {
                let mut inputs = vec![sample(&[offsets.rows(), width], 1)];
                inputs.extend((0..tasks).map(|task| sample(&[heads, width], 2 + task)));
                check_gradients(&inputs, |t| pooled(t, &offsets));
            }
        }
    }

    const PYTORCH_POOLED: [f32; 36] = [
        -0.159884, -0.174111, -0.082961, -0.286791, -0.094794, -0.209868, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
        0.038859, -0.106377, 0.115782, -0.052671, 0.014608, 0.024252, -0.019624, -0.261773, 0.057299,
        -0.364991, -0.045919, -0.288068, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.129889, -0.183679, 0.206812,
        -0.109143, 0.005491, -0.03222,
    ];
    const PYTORCH_WEIGHTS: [f32; 20] = [
        0.447312, 0.653535, 0.219389, 0.780611, 0.552688, 0.346465, 0.780611, 0.219389, 0.316302, 0.528817,
        0.14797, 0.576173, 0.390815, 0.280347, 0.526494, 0.161932, 0.292883, 0.190836, 0.325536, 0.261896,
    ];

    /// PyTorch 2.15 in f64, rounded to six places, with x and q (both tasks' queries) as below:
    ///
    /// ```text
    /// texts = [x[0:2], x[2:2], x[2:5]]
    /// w = [torch.softmax(text @ q.T, 0) for text in texts]
    /// pooled = torch.stack([a.T @ text for a, text in zip(w, texts)]).reshape(3, 2, 6).transpose(0, 1)
    /// weights = torch.cat(w)
    /// ```
    #[test]
    fn agrees_with_pytorch() {
        let x: Vec<f32> = (0..15).map(|i| ((i * 7) % 13) as f32 / 13.0 - 0.5).collect();
        let x = Tensor::new(x, &[5, 3]).unwrap();
        let query = |first: usize| {
            let values = (first..first + 6).map(|i| ((i * 5) % 11) as f32 / 4.0 - 1.0).collect();
            Tensor::new(values, &[2, 3]).unwrap()
        };
        let read = task_attention(&x, &[&query(0), &query(6)], &Offsets::from_lengths([2, 0, 3])).unwrap();
        // Half a unit of the sixth place, and a few roundings of f32.
        assert_close(read.pooled.data(), &PYTORCH_POOLED, 2e-6);
        assert_close(read.weights.data(), &PYTORCH_WEIGHTS, 2e-6);
    }

    #[test]
    fn weights_are_the_softmax_of_the_products_and_constant() {
        let offsets = Offsets::from_lengths([4, 1, 6]);
        let (x, query) = (sample(&[11, 5], 1), sample(&[3, 5], 2));
        let read = task_attention(&x.leaf(), &[&query.leaf()], &offsets).unwrap();
        let logits = matrix_product(&x, Side::Plain, &query, Side::Transposed).unwrap();
        assert_close(read.weights.data(), segment_softmax(&logits, &offsets).unwrap().data(), 1e-6);
        assert!(!read.weights.is_tracked());
        assert!(read.pooled.is_tracked());
    }

    #[test]
    fn tasks_together_equal_tasks_alone_and_an_empty_text_gives_zeros() {
        let offsets = Offsets::from_lengths([3, 0, 5]);
        let inputs = [sample(&[8, 6], 1), sample(&[2, 6], 2), sample(&[2, 6], 3)];
        let together = pooled(&inputs, &offsets).unwrap();
        let first = pooled(&inputs[..2], &offsets).unwrap();
        let second = pooled(&[inputs[0].clone(), inputs[2].clone()], &offsets).unwrap();
        assert_close(together.data(), &[first.data(), second.data()].concat(), 1e-6);
        assert_eq!(together.row(1), [0.0; 12]);
        assert_eq!(together.row(4), [0.0; 12]);
    }

    #[test]
    fn no_text_is_no_fault() {
        let read =
            task_attention(&Tensor::zeros(&[0, 3]), &[&sample(&[2, 3], 1)], &Offsets::from_lengths([]))
                .unwrap();
        assert_eq!((read.pooled.shape(), read.weights.shape()), (&[0, 6][..], &[0, 2][..]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (x, query, offsets) = (sample(&[4, 3], 1), sample(&[2, 3], 2), Offsets::from_lengths([4]));
        let message =
            |queries: &[&Tensor], offsets| task_attention(&x, queries, offsets).unwrap_err().to_string();
        assert_eq!(message(&[], &offsets), "task_attention: needs the query of at least one task");
        let expected = "task_attention: the query of task 1 must be [2, 3]; found [1, 3]";
        assert_eq!(message(&[&query, &sample(&[1, 3], 3)], &offsets), expected);
        let expected = "task_attention: the offsets cover 3 rows, the input has 4";
        assert_eq!(message(&[&query], &Offsets::from_lengths([3])), expected);
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let offsets = Offsets::from_lengths((0..80).map(|i| i % 37));
        let inputs = [sample(&[offsets.rows(), 65], 1), sample(&[2, 65], 2), sample(&[2, 65], 3)];
        assert_same_on_threads(|| {
            let leaves = inputs.each_ref().map(Tensor::leaf);
            let pooled = pooled(&leaves, &offsets).unwrap();
            let mut results = vec![pooled.data().to_vec()];
            let gradients = pooled.backward_from(sample(&[160, 130], 4)).unwrap();
            results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
            results
        });
    }
}
