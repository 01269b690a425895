#![doc = include_str!("../README.md")]

mod adapter;
mod bias;
mod bottleneck;
mod layer_norm;
mod linear;
mod lora;
mod self_attention;
mod task_attention;

pub use adapter::{Adapter, AdapterConfig};
pub use bottleneck::Bottlenecks;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use self_attention::SelfAttention;
pub use task_attention::TaskAttention;
