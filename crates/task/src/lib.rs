#![doc = include_str!("../README.md")]

mod classes;
pub mod conformance;
pub mod metrics;
mod pieces;
mod settings;
mod task;
mod text;

pub use classes::{Classes, arg_max, describe, label_names, most_probable, rounded, single_name};
pub use pieces::{HiddenPiece, Pieces};
pub use settings::{Labels, TaskSettings};
pub use task::{Level, Prediction, Target, Task, TaskOutput};
pub use text::Text;
