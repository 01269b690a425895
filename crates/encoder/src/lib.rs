#![doc = include_str!("../README.md")]

mod embeddings;
mod encoder;
mod error;
mod input;
mod layer;
mod pretrained;
mod stack;
mod transformer;

pub use encoder::{Encoder, EncoderConfig, OnLayer};
pub use error::{Error, Result};
pub use input::{EncoderInput, HIDDEN_WORD};
pub use polytask_attention::{Adapter, AdapterConfig};
pub use pretrained::{Architecture, Family, Pretrained, Rotary, write_hugging_face};
pub use transformer::{Norm, Positions, Transformer};
