use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, RandomKey, Result, Tensor, ops};

/// What keeps the square root from zero; PyTorch's default.
const EPSILON: f32 = 1e-5;

/// Rows of mean 0 and variance 1, then a gain and a bias: the layer around [`ops::layer_norm`] and
/// [`ops::residual_layer_norm`].
///
/// Parameters: `gain` `[width]`, one; `bias` `[width]`, zero.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    gain: ParameterId,
    bias: ParameterId,
}

impl LayerNorm {
    /// Makes the parameters under the builder's prefix.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn new(builder: &mut ParameterBuilder<'_>, width: usize) -> Result<Self> {
        let gain = builder.parameter("gain", &[width], Initializer::Constant(1.0))?;
        let bias = builder.parameter("bias", &[width], Initializer::Constant(0.0))?;
        Ok(Self { gain, bias })
    }

    /// `[rows, width]` → `[rows, width]`.
    ///
    /// # Errors
    /// `x` has another width.
    pub fn forward(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, parameters.get(self.gain), parameters.get(self.bias), EPSILON)
    }

    /// The norm of x + dropout(branch), `[rows, width]` each; `dropout` is the probability and the key.
    ///
    /// # Errors
    /// The shapes differ, or the probability is not in [0, 1).
    pub fn forward_residual(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        branch: &Tensor,
        dropout: Option<(f32, RandomKey)>,
    ) -> Result<Tensor> {
        let (gain, bias) = (parameters.get(self.gain), parameters.get(self.bias));
        ops::residual_layer_norm(x, branch, dropout, gain, bias, EPSILON)
    }
}
