use polytask_tensor::initialize::Initializer;
use polytask_tensor::ops::{self, TaskAttention as Pooled};
use polytask_tensor::{Error, Offsets, ParameterBuilder, ParameterId, Parameters, Result, Tensor};

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

    /// The inputs of some tasks (their places among the names) from the states `[tokens, width]` in one operation:
    /// `pooled` `[tasks · texts, heads · width]`, task after task, and the weights α `[tokens, tasks · heads]`. The
    /// queries of all other tasks take no part.
    ///
    /// # Errors
    /// The width differs, or there is no such task, or none at all.
    pub fn forward(
        &self,
        parameters: &Parameters,
        states: &Tensor,
        texts: &Offsets,
        tasks: &[usize],
    ) -> Result<Pooled> {
        let query = |&task: &usize| {
            let known = self.queries.len();
            let missing = || Error::shape("task attention", format!("task {task} of {known} tasks"));
            self.queries.get(task).map(|&id| parameters.get(id)).ok_or_else(missing)
        };
        ops::task_attention(states, &tasks.iter().map(query).collect::<Result<Vec<_>>>()?, texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::testing::sample;

    #[test]
    fn some_tasks_read_what_they_read_among_all_and_the_others_get_no_gradient() {
        let mut parameters = Parameters::default();
        let mut builder = ParameterBuilder::random(&mut parameters, 1);
        let attention = TaskAttention::new(&mut builder, ["a", "b", "c"], 36, 2).unwrap();
        let (states, texts) = (sample(&[45, 36], 1), Offsets::from_lengths([30, 15]));
        let all = attention.forward(&parameters, &states, &texts, &[0, 1, 2]).unwrap();
        let some = attention.forward(&parameters, &states, &texts, &[0, 2]).unwrap();
        assert_eq!((some.pooled.shape(), some.weights.shape()), (&[4, 72][..], &[45, 4][..]));
        // Bit for bit: a task that is added to a model changes no other.
        for (task, among_all) in [0, 2].into_iter().enumerate() {
            let rows = |task: usize| 2 * task * 72..2 * (task + 1) * 72;
            assert_eq!(some.pooled.data()[rows(task)], all.pooled.data()[rows(among_all)]);
        }
        let gradients = some.pooled.backward_from(sample(&[4, 72], 2)).unwrap();
        let reached = |task: usize| gradients.get(parameters.get(attention.queries[task])).is_some();
        assert_eq!([0, 1, 2].map(reached), [true, false, true]);
        let error = attention.forward(&parameters, &states, &texts, &[3]).unwrap_err().to_string();
        assert_eq!(error, "task attention: task 3 of 3 tasks");
    }
}
