use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, Result, Tensor};

/// The bias of a layer: a parameter, or zeros that are never trained.
#[derive(Clone, Debug)]
pub(crate) enum Bias {
    Parameter(ParameterId),
    Zeros(Tensor),
}

impl Bias {
    /// The parameter `bias`, zero.
    pub(crate) fn new(builder: &mut ParameterBuilder<'_>, length: usize) -> Result<Self> {
        builder.parameter("bias", &[length], Initializer::Constant(0.0)).map(Self::Parameter)
    }

    pub(crate) fn none(length: usize) -> Self {
        Self::Zeros(Tensor::zeros(&[length]))
    }

    pub(crate) fn of<'a>(&'a self, parameters: &'a Parameters) -> &'a Tensor {
        match self {
            Self::Parameter(id) => parameters.get(*id),
            Self::Zeros(zeros) => zeros,
        }
    }
}
