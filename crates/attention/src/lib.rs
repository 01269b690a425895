#![doc = include_str!("../README.md")]

mod layer_norm;
mod linear;
mod self_attention;
mod task_attention;

pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use self_attention::SelfAttention;
pub use task_attention::TaskAttention;
