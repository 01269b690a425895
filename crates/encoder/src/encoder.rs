use polytask_tensor::{ParameterBuilder, Parameters, Pass, Result, Tensor};

use crate::EncoderInput;

/// The configuration of an encoder: what stands under `[encoder]`, chosen by `type`.
#[typetag::serde(tag = "type")]
pub trait EncoderConfig: std::fmt::Debug + Send + Sync {
    /// Makes the encoder and its parameters for a tokenizer of `vocabulary` pieces and texts of at most `max_tokens`.
    ///
    /// # Errors
    /// The configuration contradicts itself or the tokenizer, or the builder's file lacks a parameter.
    fn build(
        &self,
        vocabulary: usize,
        max_tokens: usize,
        builder: &mut ParameterBuilder<'_>,
    ) -> Result<Box<dyn Encoder>>;
}

/// A shared text encoder: packed pieces in, one state a piece out.
pub trait Encoder: std::fmt::Debug + Send + Sync {
    /// The width of a state.
    fn width(&self) -> usize;

    /// The states `[pieces, width]` of a packed batch.
    ///
    /// # Errors
    /// The input does not fit the encoder: an id beyond the vocabulary, a text too long.
    fn forward(&self, parameters: &Parameters, input: &EncoderInput, pass: &mut Pass) -> Result<Tensor>;
}
