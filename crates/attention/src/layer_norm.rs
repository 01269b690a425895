use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, Result, Tensor, ops};

/// What keeps the square root from zero; PyTorch's default.
const EPSILON: f32 = 1e-5;

/// Rows of mean 0 and variance 1, then a gain and a bias: the layer around [`ops::layer_norm`].
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
}
