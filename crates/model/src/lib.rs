#![doc = include_str!("../README.md")]

mod config;
mod error;
mod evaluate;
mod example;
mod folder;
mod model;
mod predict;

pub use config::{ModelConfig, ModelTask, TaskAttentionConfig};
pub use error::{Error, Result};
pub use evaluate::{Evaluation, evaluate, mean_of_main_metrics};
pub use example::{Example, prepare, targets_of};
pub use folder::{FORMAT_VERSION, ModelFolder, write_atomically, write_file};
pub use model::{Forward, HeadOutput, Model};
pub use polytask_tensor::Precision;
pub use predict::{Answer, TaskAttentionWeights};
