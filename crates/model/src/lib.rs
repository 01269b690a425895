#![doc = include_str!("../README.md")]

mod adapters;
mod additions;
mod config;
mod error;
mod evaluate;
mod example;
mod folder;
mod forward;
mod hide;
mod model;
mod piece_head;
mod predict;

pub use additions::check_unchanged;
pub use config::{ModelConfig, ModelTask, Pooling, TaskAttentionConfig};
pub use error::{Error, Result};
pub use evaluate::{Evaluation, evaluate, mean_of_main_metrics};
pub use example::{Example, LabelledBatch, pack, prepare};
pub use folder::{FORMAT_VERSION, ModelFolder, write_atomically, write_file};
pub use forward::{Forward, HeadOutput};
pub use model::Model;
pub use polytask_encoder::{Adapter, AdapterConfig};
pub use polytask_tensor::{Device, Precision};
pub use predict::{Answer, TaskAttentionWeights};
