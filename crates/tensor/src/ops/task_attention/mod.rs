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

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use crate::cuda::Gpu;
use crate::{Buffer, Error, Gradient, Offsets, Operation, Result, Tensor};

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
    let shape = Shape { offsets: offsets.clone(), tasks: queries.len(), heads, width };
    let (query_rows, weights, pooled) = if let Some(gpu) = Gpu::of(queries.iter().copied().chain([x]))? {
        let query_rows = cuda::query_rows(gpu, queries)?;
        let [weights, pooled] = cuda::forward(gpu, &shape, x, &query_rows)?;
        let weights = Tensor::on_gpu(weights, &[tokens, columns]);
        (query_rows, weights, Buffer::on_gpu(pooled, &shape.of_pooled()))
    } else {
        let query_rows = queries.iter().map(|query| query.data()).collect::<Vec<_>>().concat();
        let query_rows = Tensor::new(query_rows, &[columns, width])?;
        let weights = Tensor::new(cpu::weights(&shape, x, &query_rows), &[tokens, columns])?;
        let pooled = Buffer::new(cpu::pool(&shape, x, &weights), &shape.of_pooled())?;
        (query_rows, weights, pooled)
    };
    let queries = queries.iter().map(|&query| query.clone()).collect();
    let operation = Attend { x: x.clone(), queries, query_rows, weights: weights.clone(), shape };
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

/// What holds for all texts and tasks of the call.
struct Shape {
    offsets: Offsets,
    tasks: usize,
    heads: usize,
    width: usize,
}

impl Shape {
    /// Columns of the weights: the heads of all tasks.
    fn columns(&self) -> usize {
        self.tasks * self.heads
    }

    /// The shape of P.
    fn of_pooled(&self) -> [usize; 2] {
        [self.tasks * self.offsets.segments(), self.heads * self.width]
    }
}

struct Attend {
    x: Tensor,
    queries: Vec<Tensor>,
    /// B, the queries of all tasks one below another.
    query_rows: Tensor,
    weights: Tensor,
    shape: Shape,
}

impl Operation for Attend {
    fn name(&self) -> &'static str {
        "task_attention"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        std::iter::once(&self.x).chain(&self.queries).collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let [dx, d_queries] = match Gpu::of([gradient, &self.x, &self.weights])? {
            Some(gpu) => cuda::backward(gpu, self, gradient)?,
            None => cpu::backward(self, gradient)?,
        };
        let mut gradients = vec![Some(dx.into())];
        gradients.extend(
            self.queries
                .iter()
                .enumerate()
                .map(|(task, query)| Some(d_queries.constant_view(task * query.len(), query.shape()).into())),
        );
        Ok(gradients)
    }
}
