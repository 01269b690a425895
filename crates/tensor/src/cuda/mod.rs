//! Tensors on an NVIDIA GPU: memory, our own kernels, and products.
//!
//! An operation asks [`Gpu::of`] at its door whether one of its inputs lies on a GPU. There it reads its inputs with
//! [`Gpu::read`], which brings over what does not lie there yet, allocates its result and launches the kernels of
//! `kernels/*.cu`. Everything goes into one stream, so that memory can be handed on as soon as its owner is dropped, and
//! nothing waits until somebody asks for values.
//!
//! What has no kernel reads [`Tensor::data`](crate::Tensor::data) as on the CPU: correct, and as slow as the way there and
//! back.

mod driver;
mod gpu;
mod launch;
mod mean;
mod memory;
mod multiply;
mod product;

pub use driver::GraphCounts;
pub(crate) use driver::Joined;
pub(crate) use gpu::Gpu;
pub(crate) use launch::{Argument, Grid};
pub(crate) use memory::Memory;
pub(crate) use product::{Epilogue, Numbers, Operand, Product, Side};
