//! Sums, means and softmaxes over each segment of packed rows.

mod pool;
mod softmax;

pub use pool::{segment_mean, segment_sum};
pub use softmax::segment_softmax;
pub(super) use softmax::{softmax_of_columns, softmax_of_columns_backward};
