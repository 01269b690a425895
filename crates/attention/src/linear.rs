use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, Result, Tensor, ops};

/// Y = X W + b: the layer around [`ops::linear`].
///
/// Parameters: `weight` `[inputs, outputs]` (of a stacked layer `[inputs, parts · outputs]`), uniform in
/// ±√(6 / (inputs + outputs)); `bias` `[outputs]`, zero.
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
        Self::stacked(builder, inputs, outputs, 1)
    }

    /// Several layers of one input side by side, as one product: `parts` times `outputs` columns, drawn as each
    /// part would be alone.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn stacked(
        builder: &mut ParameterBuilder<'_>,
        inputs: usize,
        outputs: usize,
        parts: usize,
    ) -> Result<Self> {
        let xavier = Initializer::xavier_uniform(inputs, outputs);
        let weight = builder.parameter("weight", &[inputs, parts * outputs], xavier)?;
        let bias = builder.parameter("bias", &[parts * outputs], Initializer::Constant(0.0))?;
        Ok(Self { weight, bias })
    }

    /// `[rows, inputs]` → `[rows, outputs]`.
    ///
    /// # Errors
    /// `x` has another number of columns.
    pub fn forward(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, parameters.get(self.weight), Some(parameters.get(self.bias)))
    }

    /// gelu(X W + b), `[rows, inputs]` → `[rows, outputs]`.
    ///
    /// # Errors
    /// `x` has another number of columns.
    pub fn forward_gelu(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        ops::linear_gelu(x, parameters.get(self.weight), parameters.get(self.bias))
    }
}
