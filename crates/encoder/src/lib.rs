#![doc = include_str!("../README.md")]

mod embeddings;
mod encoder;
mod input;
mod layer;
mod transformer;

pub use encoder::{Encoder, EncoderConfig};
pub use input::EncoderInput;
pub use transformer::{Norm, Positions, Transformer};
