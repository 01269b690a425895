use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, Result, Tensor, ops};

/// Y = X Wᵀ + b: the layer around [`ops::linear`].
///
/// Parameters: `weight` `[outputs, inputs]`, uniform in ±√(6 / (inputs + outputs)); `bias` `[outputs]`, zero.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: ParameterId,
    bias: ParameterId,
}

impl Linear {
    /// Makes the parameters under the builder's prefix.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn new(builder: &mut ParameterBuilder<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        let weight = builder.parameter("weight", &[outputs, inputs], Initializer::XavierUniform)?;
        let bias = builder.parameter("bias", &[outputs], Initializer::Constant(0.0))?;
        Ok(Self { weight, bias })
    }

    /// `[rows, inputs]` → `[rows, outputs]`.
    ///
    /// # Errors
    /// `x` has another number of columns.
    pub fn forward(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, parameters.get(self.weight), Some(parameters.get(self.bias)))
    }
}
