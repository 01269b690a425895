use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// In which numbers the products with a layer's weight are computed. Weights, sums, norms, softmax and losses stay f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 bits of mantissa.
    #[default]
    F32,
    /// Both sides rounded to 10 bits of mantissa on an NVIDIA GPU, sums in f32: several times faster there. On the processor
    /// the same as f32.
    Tf32,
    /// Both sides rounded to 8 bits of mantissa, sums in f32: twice as fast where the processor has AMX or, on AMD,
    /// AVX512-BF16; elsewhere about as fast as f32, with the same rounding.
    Bf16,
}
