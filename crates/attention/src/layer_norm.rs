use crate::bias::Bias;
use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, RandomKey, Result, Tensor, ops};

/// Rows of mean 0 and variance 1, then a gain and a bias: the layer around [`ops::layer_norm`] and
/// [`ops::residual_layer_norm`].
///
/// Parameters: `gain` `[width]`, one; `bias` `[width]`, zero, where there is one.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    gain: ParameterId,
    bias: Bias,
    epsilon: f32,
}

impl LayerNorm {
    /// What usually keeps the square root from zero; PyTorch's default.
    pub const EPSILON: f32 = 1e-5;

    /// Makes the parameters under the builder's prefix; `epsilon` is added to the variance.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn new(builder: &mut ParameterBuilder<'_>, width: usize, epsilon: f32) -> Result<Self> {
        let gain = builder.parameter("gain", &[width], Initializer::Constant(1.0))?;
        Ok(Self { gain, bias: Bias::new(builder, width)?, epsilon })
    }

    /// The same without a bias.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn without_bias(builder: &mut ParameterBuilder<'_>, width: usize, epsilon: f32) -> Result<Self> {
        let gain = builder.parameter("gain", &[width], Initializer::Constant(1.0))?;
        Ok(Self { gain, bias: Bias::none(width), epsilon })
    }

    /// `[rows, width]` → `[rows, width]`.
    ///
    /// # Errors
    /// `x` has another width.
    pub fn forward(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, parameters.get(self.gain), self.bias.of(parameters), self.epsilon)
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
        let (gain, bias) = (parameters.get(self.gain), self.bias.of(parameters));
        ops::residual_layer_norm(x, branch, dropout, gain, bias, self.epsilon)
    }
}
