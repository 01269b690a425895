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
/// ±1 / √inputs, and `b` `[rank, outputs]`, zero, so that it changes nothing at first. In a stacked layer each part has its
/// own: `a0` and `b0`, `a1` and `b1` and so on.
#[derive(Clone, Debug)]
pub(crate) struct Lora {
    /// A and B of each part.
    parts: Vec<[ParameterId; 2]>,
    scale: f32,
    dropout: f32,
}

impl Lora {
    /// That of an adapter beneath the builder's prefix, for so many parts of so many outputs; `None` where its rank is 0.
    pub(crate) fn new(
        builder: &mut ParameterBuilder<'_>,
        [inputs, outputs]: [usize; 2],
        parts: usize,
        adapter: &Adapter,
    ) -> Result<Option<Self>> {
        let rank = adapter.config.lora_rank;
        if rank == 0 {
            return Ok(None);
        }
        let mut builder = builder.part(adapter.part(LORA));
        let bound = 1.0 / (inputs.max(1) as f32).sqrt();
        let mut part = |part: usize| -> Result<[ParameterId; 2]> {
            let number = if parts == 1 { String::new() } else { part.to_string() };
            let a =
                builder.parameter(&format!("a{number}"), &[inputs, rank], Initializer::Uniform { bound })?;
            let b = builder.parameter(&format!("b{number}"), &[rank, outputs], Initializer::Constant(0.0))?;
            Ok([a, b])
        };
        let parts = (0..parts).map(&mut part).collect::<Result<_>>()?;
        let (scale, dropout) = (adapter.config.lora_alpha / rank as f32, adapter.config.lora_dropout);
        Ok(Some(Self { parts, scale, dropout }))
    }

    /// (alpha / rank) · dropout(X) A and B of each part, of X `[rows, inputs]`.
    pub(crate) fn factors(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        pass: &mut Pass,
    ) -> Result<Vec<[Tensor; 2]>> {
        let x = pass.dropout(x, self.dropout)?;
        let factors = |&[a, b]: &[ParameterId; 2]| {
            let inner = ops::linear(&x, parameters.get(a), None)?;
            Ok([ops::scale(&inner, self.scale)?, parameters.get(b).clone()])
        };
        self.parts.iter().map(factors).collect()
    }
}
