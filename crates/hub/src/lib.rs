#![doc = include_str!("../README.md")]

mod cache;
mod download;
mod error;
mod files;
mod hub;
mod local;
mod name;
mod progress;
mod remote;

pub use error::{Error, Result};
pub use hub::{Hub, locate};
pub use name::is_remote;
pub use progress::Progress;
