//! Sums of rows, written so that the compiler uses vector instructions.

/// sum += factor · x.
#[inline(always)]
pub(crate) fn add_scaled(sum: &mut [f32], factor: f32, x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x);
}
