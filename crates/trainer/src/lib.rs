#![doc = include_str!("../README.md")]

mod add_tasks;
mod average;
mod checkpoint;
mod clipping;
mod config;
mod difference;
mod error;
mod fine_tuning;
mod fingerprint;
mod observer;
mod optimizer;
mod paths;
mod planned;
mod prepare;
mod ranks;
mod schedule;
mod settings;
mod starting_model;
mod state;
mod step;
mod train;

pub use add_tasks::prepare_added_tasks;
pub use clipping::{clipping_factor, gradient_norm};
pub use config::{Config, DEFAULT_ENCODER, DEFAULT_OPTIMIZER, DEFAULT_SAMPLER, SECTIONS};
pub use error::{Error, Result};
pub use fine_tuning::FineTuning;
pub use observer::{Observer, Silent, StepProgress};
pub use optimizer::{AdamW, Optimizer, OptimizerState, Sgd, Update};
pub use paths::with_absolute_paths;
pub use polytask_hub::Progress as Download;
pub use prepare::{Prepared, PreparedSet, fit_task, prepare, prepare_data, read_data};
pub use ranks::{Alone, Communicator, connect};
pub use schedule::{Schedule, learning_rate_factor};
pub use settings::TrainerSettings;
pub use state::{EpochRecord, Progress, Totals};
pub use train::{Ending, Trainer};
