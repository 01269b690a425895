use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, Pass, Result, Tensor, ops};

use crate::Adapter;
use crate::adapter::LORA;

/// What is learnt beside the frozen weight W `[inputs, outputs]` of a linear layer, as a product of low rank:
///
/// ```text
/// Y = X W + b + (alpha / rank) · dropout(X) A B
/// ```
///
/// Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, 2021. Parameters: `a` `[inputs, rank]`, uniform in
/// ±1 / √inputs, and `b` `[rank, outputs]`, zero, so that it changes nothing at first. A stacked layer has one `a` for all
/// its parts.
#[derive(Clone, Debug)]
pub(crate) struct Lora {
    a: ParameterId,
    b: ParameterId,
    scale: f32,
    dropout: f32,
}

impl Lora {
    /// That of an adapter beneath the builder's prefix; `None` where its rank is 0.
    pub(crate) fn new(
        builder: &mut ParameterBuilder<'_>,
        [inputs, outputs]: [usize; 2],
        adapter: &Adapter,
    ) -> Result<Option<Self>> {
        let rank = adapter.config.lora_rank;
        if rank == 0 {
            return Ok(None);
        }
        let mut builder = builder.part(adapter.part(LORA));
        let bound = 1.0 / (inputs.max(1) as f32).sqrt();
        let a = builder.parameter("a", &[inputs, rank], Initializer::Uniform { bound })?;
        let b = builder.parameter("b", &[rank, outputs], Initializer::Constant(0.0))?;
        let (scale, dropout) = (adapter.config.lora_alpha / rank as f32, adapter.config.lora_dropout);
        Ok(Some(Self { a, b, scale, dropout }))
    }

    /// What it adds, `[rows, inputs]` → `[rows, outputs]`.
    pub(crate) fn forward(&self, parameters: &Parameters, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let inner = ops::linear(&pass.dropout(x, self.dropout)?, parameters.get(self.a), None)?;
        ops::linear(&ops::scale(&inner, self.scale)?, parameters.get(self.b), None)
    }
}
