#![doc = include_str!("../README.md")]

mod error;
mod launch;
mod registry;

pub use error::{Error, Result};
pub use launch::{Order, launch};
pub use registry::kernels;
