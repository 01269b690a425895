//! Pretrained encoders in the layout of Hugging Face.

mod architecture;
mod bert;
mod export;
mod layout;
mod modern_bert;
mod weights;

use std::collections::BTreeMap;
use std::path::Path;

use polytask_attention::Adapter;
use polytask_tensor::initialize::Initializer;
use polytask_tensor::{Error, Offsets, ParameterBuilder, Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Encoder, EncoderConfig};
use bert::Bert;
use modern_bert::ModernBert;

pub use architecture::{Architecture, Family, Rotary};
pub use export::write_hugging_face;

/// How tables of fresh models are drawn; those of pretrained ones are read.
const TABLE: Initializer = Initializer::Normal { standard_deviation: 0.02 };

/// Refuses a batch with a text of more pieces than the model reads.
fn check_longest(texts: &Offsets, most: usize) -> Result<()> {
    match texts.longest() {
        longest if longest <= most => Ok(()),
        longest => {
            let message = format!("a text of {longest} pieces, but the model reads {most} at most");
            Err(Error::shape("positions", message))
        }
    }
}

/// An encoder of the BERT family as Hugging Face has it: BERT (and MiniLM), DistilBERT, RoBERTa, ELECTRA or ModernBERT.
///
/// The folder holds `config.json`, the weights as safetensors, and `tokenizer.json` or `vocab.txt`. Once trained, the model
/// holds all of it itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretrained {
    /// The folder, or `hf:owner/name@revision` for one that is fetched from the Hugging Face Hub once.
    pub path: String,
    /// The share of values dropped from embeddings, blocks and final states in training; the model's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: Option<f32>,
    /// The share of attention weights dropped in training; the model's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub attention_dropout: Option<f32>,
    /// Whether the backward pass computes each layer again instead of keeping what happens inside: a third more time, and of
    /// a layer only its input in memory.
    #[serde(default)]
    pub recompute_activations: bool,
    /// What the folder's `config.json` said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    architecture: Option<Architecture>,
}

polytask_config::register!("encoder", "pretrained", Pretrained);

#[typetag::serde(name = "pretrained")]
impl EncoderConfig for Pretrained {
    fn build(
        &self,
        vocabulary: usize,
        max_tokens: usize,
        adapters: &[Adapter],
        builder: &mut ParameterBuilder<'_>,
    ) -> Result<Box<dyn Encoder>> {
        let refuse = |message: String| Err(Error::shape("pretrained encoder", message));
        let Some(architecture) = &self.architecture else {
            return refuse("its folder has not been read".into());
        };
        if let Err(message) = architecture.check() {
            return refuse(message);
        }
        let (rows, most) = (architecture.vocabulary, architecture.max_tokens);
        if vocabulary > rows {
            let message = "the tokenizer has more pieces than the model has embeddings";
            return refuse(format!("{message}: {vocabulary}, `vocab_size` is {rows}"));
        }
        if max_tokens > most {
            return refuse(format!(
                "a text may have {most} pieces at most, the tokenizer allows {max_tokens}"
            ));
        }
        let architecture = Architecture {
            dropout: self.dropout.unwrap_or(architecture.dropout),
            attention_dropout: self.attention_dropout.unwrap_or(architecture.attention_dropout),
            ..architecture.clone()
        };
        let recompute = self.recompute_activations;
        Ok(match &architecture.rotary {
            Some(rotary) => Box::new(ModernBert::new(&architecture, rotary, recompute, adapters, builder)?),
            None => Box::new(Bert::new(&architecture, recompute, adapters, builder)?),
        })
    }

    fn source(&self) -> Option<&str> {
        Some(&self.path)
    }

    fn load(&mut self, folder: &Path) -> crate::Result<BTreeMap<String, Tensor>> {
        let architecture = self.architecture.insert(Architecture::read(folder)?);
        weights::read(folder, architecture)
    }

    fn max_tokens(&self) -> Option<usize> {
        self.architecture.as_ref().map(|architecture| architecture.max_tokens)
    }

    fn architecture(&self) -> Option<&Architecture> {
        self.architecture.as_ref()
    }
}

#[cfg(test)]
mod export_tests;

#[cfg(test)]
mod tests;
