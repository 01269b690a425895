#![doc = include_str!("../README.md")]

mod batch;
mod config;
mod error;
mod plan;
mod read;
mod row;
mod sampler;
mod set;
mod shape;
mod tokenizer;
mod words;

pub use batch::PackedBatch;
pub use config::{DataConfig, Format, Paths};
pub use error::{Error, Result};
pub use plan::{BatchLimits, Step, batches, plan_epoch};
pub use row::{Label, Place, Row, Span};
pub use sampler::{Proportional, RoundRobin, Sampler, SquareRoot, Temperature, Uniform};
pub use set::DataSet;
pub use shape::{SHAPE_FEATURES, word_shapes};
pub use tokenizer::{Encoded, Piece, Tokenizer, TokenizerConfig, TokenizerModel};
pub use words::{byte_offsets, character_offsets, split_words};
