use std::collections::BTreeMap;
use std::path::Path;

use polytask_attention::Adapter;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, Pass, Result, Tensor};

use crate::{Architecture, EncoderInput};

/// The configuration of an encoder: what stands under `[encoder]`, chosen by `type`.
#[typetag::serde(tag = "type")]
pub trait EncoderConfig: std::fmt::Debug + Send + Sync {
    /// Makes the encoder and its parameters for a tokenizer of `vocabulary` pieces and texts of at most `max_tokens`, with
    /// these adapters in its layers; an input chooses among them by their places.
    ///
    /// # Errors
    /// The configuration contradicts itself or the tokenizer, or the builder's file lacks a parameter.
    fn build(
        &self,
        vocabulary: usize,
        max_tokens: usize,
        adapters: &[Adapter],
        builder: &mut ParameterBuilder<'_>,
    ) -> Result<Box<dyn Encoder>>;

    /// Where a pretrained encoder comes from: a folder, or `hf:owner/name@revision`. Its tokenizer comes from there too, and
    /// encodes whole texts. `None` where all is learnt from the data.
    fn source(&self) -> Option<&str> {
        None
    }

    /// Reads a pretrained encoder's folder: keeps its sizes in this configuration, and returns its parameters by their names
    /// beneath the encoder.
    ///
    /// # Errors
    /// A file is missing or damaged, or contradicts another one.
    fn load(&mut self, _folder: &Path) -> crate::Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    /// The most pieces of a text that it can read, the special ones included; `None` where any number will do.
    fn max_tokens(&self) -> Option<usize> {
        None
    }

    /// The sizes of an encoder that has the form of a Hugging Face model, once its folder has been read: what those need
    /// who write it in another format. `None` of any other encoder.
    fn architecture(&self) -> Option<&Architecture> {
        None
    }
}

/// A shared text encoder: packed pieces in, one state a piece out.
pub trait Encoder: std::fmt::Debug + Send + Sync {
    /// The width of a state.
    fn width(&self) -> usize;

    /// The number of layers.
    fn layers(&self) -> usize;

    /// The table `[pieces, width of an embedding]` in which it looks pieces up, for a head over the vocabulary that is tied to
    /// it. `None` where there is none.
    fn piece_embeddings(&self) -> Option<ParameterId> {
        None
    }

    /// The states `[pieces, width]` of a packed batch. On the way `on_layer` gets the embeddings and what each layer gives.
    ///
    /// # Errors
    /// The input does not fit the encoder: an id beyond the vocabulary, a text too long.
    fn forward(
        &self,
        parameters: &Parameters,
        input: &EncoderInput,
        pass: &mut Pass,
        on_layer: OnLayer<'_>,
    ) -> Result<Tensor>;
}

/// Who wants the states of each layer.
pub type OnLayer<'a> = &'a mut dyn FnMut(&Tensor);
