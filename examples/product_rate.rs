//! The work of a step, and how fast the matrix product of the `gemm` crate is on one core: the speed that nothing built on it
//! can pass.

use std::time::Instant;

use polytask_model::Example;

use crate::Arguments;

/// Each product is repeated so often; the fastest counts, since whatever else runs on the machine only slows it down.
const REPEATS: usize = 20;

/// FLOPs, 2 a multiply-add, of the encoder in one step: a backward takes twice what a forward does.
pub(crate) fn step_flops(batch: &[&Example], arguments: &Arguments) -> f64 {
    let (layers, width, inner) = (arguments.layers, arguments.width, arguments.feed_forward());
    let text = |n: usize| layers * (2 * n * (4 * width * width + 2 * width * inner) + 4 * n * n * width);
    3.0 * batch.iter().map(|example| text(example.encoded.pieces()) as f64).sum::<f64>()
}

/// FLOP/s, 2 a multiply-add, over the four products of an encoder layer on so many tokens:
/// `[tokens, width]` to 3 width, to width, to the inner width and back.
pub(crate) fn flops_per_second(tokens: usize, width: usize, inner: usize) -> f64 {
    let shapes = [(width, 3 * width), (width, width), (width, inner), (inner, width)];
    let flops: usize = shapes.iter().map(|(inputs, outputs)| 2 * tokens * inputs * outputs).sum();
    let seconds: f64 = shapes.iter().map(|&(inputs, outputs)| product_seconds(tokens, inputs, outputs)).sum();
    flops as f64 / seconds
}

/// Seconds of `[rows, inner] · [inner, columns]`.
fn product_seconds(rows: usize, inner: usize, columns: usize) -> f64 {
    let (left, right) = (vec![0.5_f32; rows * inner], vec![0.25_f32; inner * columns]);
    let mut result = vec![0.0_f32; rows * columns];
    let mut once = || {
        let start = Instant::now();
        // SAFETY: the three buffers have the lengths of their shapes, row after row.
        unsafe {
            gemm::gemm(
                rows,
                columns,
                inner,
                result.as_mut_ptr(),
                1,
                columns as isize,
                false,
                left.as_ptr(),
                1,
                inner as isize,
                right.as_ptr(),
                1,
                columns as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        start.elapsed().as_secs_f64()
    };
    (0..REPEATS).map(|_| once()).fold(f64::INFINITY, f64::min)
}
