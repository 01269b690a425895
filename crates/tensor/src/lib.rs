#![doc = include_str!("../README.md")]

pub mod autograd;
mod capture;
#[cfg_attr(
    not(any(feature = "cuda", feature = "emulation")),
    allow(dead_code, unused_imports, reason = "there is no driver then")
)]
mod cuda;
mod device;
mod error;
mod exponential;
mod gpu_ranks;
mod gradient;
pub mod initialize;
mod lanes;
mod matrix;
pub mod memory;
mod normal_distribution;
pub mod ops;
mod packed;
mod parallel;
mod parameters;
mod precision;
pub mod prefetch;
mod random;
mod storage;
mod tensor;
mod tensor_file;
pub mod testing;
mod update;

pub use autograd::{Gradients, Operation};
pub use capture::Capture;
pub use device::Device;
pub use error::{Error, Result};
pub use gpu_ranks::GpuRanks;
pub use gradient::{Gradient, RowGradient};
pub use packed::{Ids, Offsets};
pub use parallel::{for_each, for_each_row_block, map};
pub use parameters::{Parameter, ParameterBuilder, ParameterId, Parameters};
pub use precision::Precision;
pub use random::{Pass, Philox, RandomKey};
pub use tensor::{Buffer, Tensor};
pub use tensor_file::{TensorFile, TensorValues, write_tensors};
pub use update::{GradientNorm, UpdateRule, average_on_gpu, update_on_gpu};
