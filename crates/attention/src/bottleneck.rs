use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, Result, Tensor, ops};

use crate::Adapter;
use crate::adapter::BOTTLENECK;

/// Small networks behind a block of a frozen encoder, one an adapter, each around a residual:
///
/// ```text
/// y = s + gelu(s W_down) W_up
/// ```
///
/// Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, 2019. Parameters: `down` `[width, inner]`, uniform in
/// ±√(6 / (width + inner)), and `up` `[inner, width]`, zero, so that it changes nothing at first.
#[derive(Clone, Debug, Default)]
pub struct Bottlenecks(Vec<Option<Bottleneck>>);

#[derive(Clone, Debug)]
struct Bottleneck {
    down: ParameterId,
    up: ParameterId,
}

impl Bottlenecks {
    /// Makes the parameters of each adapter that has an inner width, under the builder's prefix.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn new(builder: &mut ParameterBuilder<'_>, width: usize, adapters: &[Adapter]) -> Result<Self> {
        let new = |adapter: &Adapter| {
            let inner = adapter.config.bottleneck;
            if inner == 0 {
                return Ok(None);
            }
            let mut builder = builder.part(adapter.part(BOTTLENECK));
            let down =
                builder.parameter("down", &[width, inner], Initializer::xavier_uniform(width, inner))?;
            let up = builder.parameter("up", &[inner, width], Initializer::Constant(0.0))?;
            Ok(Some(Bottleneck { down, up }))
        };
        Ok(Self(adapters.iter().map(new).collect::<Result<_>>()?))
    }

    /// The block's output `s` `[tokens, width]` through the network of one adapter; `s` itself where there is none.
    ///
    /// # Errors
    /// The width differs.
    pub fn forward(&self, parameters: &Parameters, s: Tensor, adapter: Option<usize>) -> Result<Tensor> {
        let Some(Bottleneck { down, up }) = adapter.and_then(|index| self.0.get(index)?.as_ref()) else {
            return Ok(s);
        };
        let inner = ops::gelu(&ops::linear(&s, parameters.get(*down), None)?)?;
        ops::add(&s, &ops::linear(&inner, parameters.get(*up), None)?)
    }
}
