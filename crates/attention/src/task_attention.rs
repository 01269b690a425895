use polytask_tensor::initialize::Initializer;
use polytask_tensor::ops::{self, TaskAttention as Pooled};
use polytask_tensor::{Offsets, ParameterBuilder, ParameterId, Parameters, Result, Tensor};

/// The spread of a fresh query: small, so that attention begins near the mean of the text.
const STANDARD_DEVIATION: f32 = 0.02;

/// One learnt query β_t a task, with which the task gathers what it needs of a text:
///
/// ```text
/// α_{t,i} = exp(β_tᵀ x_i) / Σ_j exp(β_tᵀ x_j)      x_t = Σ_i α_{t,i} x_i
/// ```
///
/// With several heads a task has that many queries, and x_t is their results side by side. Parameters:
/// `{task}.attention.query`, `[heads, width]`.
#[derive(Clone, Debug)]
pub struct TaskAttention {
    queries: Vec<ParameterId>,
}

impl TaskAttention {
    /// Makes a query matrix for each named task.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn new<'a>(
        builder: &mut ParameterBuilder<'_>,
        tasks: impl IntoIterator<Item = &'a str>,
        width: usize,
        heads: usize,
    ) -> Result<Self> {
        let initializer = Initializer::Normal { standard_deviation: STANDARD_DEVIATION };
        let query = |task: &str| {
            builder.part(task).part("attention").parameter("query", &[heads, width], initializer)
        };
        Ok(Self { queries: tasks.into_iter().map(query).collect::<Result<_>>()? })
    }

    /// All tasks' inputs from the states `[tokens, width]` in one operation: `pooled`
    /// `[tasks · texts, heads · width]`, task after task, and the weights α `[tokens, tasks · heads]`.
    ///
    /// # Errors
    /// The width differs.
    pub fn forward(&self, parameters: &Parameters, states: &Tensor, texts: &Offsets) -> Result<Pooled> {
        let queries: Vec<&Tensor> = self.queries.iter().map(|&id| parameters.get(id)).collect();
        ops::task_attention(states, &queries, texts)
    }
}
