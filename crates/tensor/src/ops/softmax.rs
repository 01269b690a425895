//! Each row as probabilities, or as their logarithms; over the last dimension.
//!
//! ```text
//! X [rows, columns]   →   Y [rows, columns]
//! softmax       Y = exp(X − max) / Σ exp(X − max)          dX = Y ⊙ (dY − Σ_columns dY ⊙ Y)
//! log_softmax   Y = X − max − log Σ exp(X − max)           dX = dY − exp(Y) Σ_columns dY
//! ```
//!
//! The maximum of each row is taken off first, so that no exponential overflows. Kept for the backward: nothing, it
//! reads Y.

use crate::cuda::{Argument, Gpu, Grid};
use crate::exponential::exp;
use crate::lanes::{self, vectorized};
use crate::parallel::for_each_row_block;
use crate::{Buffer, Gradient, Operation, Result, Tensor, memory};

/// The softmax of each row of x, of x's shape. A logit of −∞ has probability 0; a row of nothing else is NaN.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let y = map_rows(x, "softmax_forward", softmax_of_rows)?;
    Ok(y.recorded(Softmax { x: x.clone() }))
}

/// The logarithm of the softmax of each row of x, of x's shape; precise also where the probability is nearly 0.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let y = map_rows(x, "log_softmax_forward", log_softmax_of_rows)?;
    Ok(y.recorded(LogSoftmax { x: x.clone() }))
}

/// Y of X's shape: by `kernel` of `kernels/softmax.cu`, or by `work` in place on blocks of rows.
fn map_rows(x: &Tensor, kernel: &'static str, work: impl Fn(&mut [f32], usize) + Sync) -> Result<Buffer> {
    let (rows, columns) = x.rows_columns();
    if let Some(gpu) = Gpu::of([x])? {
        let y = gpu.allocate(x.len())?;
        let arguments = [gpu.read(x)?, Argument::from(&y), columns.into()];
        gpu.launch("softmax", kernel, a_block_a_row(rows, columns), &arguments)?;
        return Ok(Buffer::on_gpu(y, x.shape()));
    }
    let mut y = memory::overwritable(x.len());
    for_each_row_block(&mut y, columns, |first_row, rows| {
        let first = first_row * columns;
        rows.copy_from_slice(&x.data()[first..first + rows.len()]);
        work(rows, columns);
    });
    Buffer::new(y, x.shape())
}

/// For a kernel whose blocks take a row each: a thread has four columns where there are not too many or too few.
pub(super) fn a_block_a_row(rows: usize, columns: usize) -> Grid {
    let threads = columns.div_ceil(4).next_power_of_two().clamp(32, 1024);
    Grid::blocks(rows, threads as u32)
}

vectorized! {
    /// Rows of logits to probabilities, in place.
    fn softmax_of_rows(rows: &mut [f32], columns: usize) {
        exponentials_of_rows(rows, columns, |_, _| {});
        for row in rows.chunks_exact_mut(columns) {
            let sum = lanes::sum(row, |value| value);
            row.iter_mut().for_each(|value| *value /= sum);
        }
    }
}

/// exp(x − m) in place, with m the maximum of the row, which is `noted(row, m)`.
///
/// The exponentials are taken over all rows in one loop: the end of a row that does not fill a vector costs nothing.
#[inline(always)]
pub(super) fn exponentials_of_rows(rows: &mut [f32], columns: usize, mut noted: impl FnMut(usize, f32)) {
    for (i, row) in rows.chunks_exact_mut(columns).enumerate() {
        let max = lanes::max(row);
        noted(i, max);
        row.iter_mut().for_each(|value| *value -= max);
    }
    rows.iter_mut().for_each(|value| *value = exp(*value));
}

vectorized! {
    /// Rows of logits to the logarithms of probabilities, in place.
    fn log_softmax_of_rows(rows: &mut [f32], columns: usize) {
        for row in rows.chunks_exact_mut(columns) {
            let max = lanes::max(row);
            let log_sum = lanes::sum(row, |value| exp(value - max)).ln();
            row.iter_mut().for_each(|value| *value = *value - max - log_sum);
        }
    }
}

/// dX from the rows of Y and dY: by `kernel`, or by `work(y, dy, dx, columns)` on blocks of them.
fn backward_rows(
    y: &Tensor,
    dy: &Tensor,
    kernel: &'static str,
    work: impl Fn(&[f32], &[f32], &mut [f32], usize) + Sync,
) -> Result<Gradient> {
    let (rows, columns) = y.rows_columns();
    if let Some(gpu) = Gpu::of([dy, y])? {
        let dx = gpu.allocate(y.len())?;
        let arguments = [gpu.read(y)?, gpu.read(dy)?, Argument::from(&dx), columns.into()];
        gpu.launch("softmax", kernel, a_block_a_row(rows, columns), &arguments)?;
        return Ok(Tensor::on_gpu(dx, y.shape()).into());
    }
    let mut dx = memory::overwritable(y.len());
    for_each_row_block(&mut dx, columns, |first_row, dx| {
        let values = first_row * columns..first_row * columns + dx.len();
        work(&y.data()[values.clone()], &dy.data()[values], dx, columns);
    });
    Ok(Tensor::of(dx, y.shape())?.into())
}

vectorized! {
    /// dx = y ⊙ (dy − Σ dy ⊙ y), row by row.
    fn softmax_backward(y: &[f32], dy: &[f32], dx: &mut [f32], columns: usize) {
        let rows = y.chunks_exact(columns).zip(dy.chunks_exact(columns));
        for (dx, (y, dy)) in dx.chunks_exact_mut(columns).zip(rows) {
            let dot = lanes::sum_pairs(y, dy, |y, dy| y * dy);
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx = y * (dy - dot));
        }
    }
}

vectorized! {
    /// dx = dy − exp(y) Σ dy, row by row.
    fn log_softmax_backward(y: &[f32], dy: &[f32], dx: &mut [f32], columns: usize) {
        let rows = y.chunks_exact(columns).zip(dy.chunks_exact(columns));
        for (dx, (y, dy)) in dx.chunks_exact_mut(columns).zip(rows) {
            let sum = lanes::sum(dy, |dy| dy);
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, &y), dy)| *dx = dy - exp(y) * sum);
        }
    }
}

struct Softmax {
    x: Tensor,
}

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(backward_rows(output, gradient, "softmax_backward", softmax_backward)?)])
    }
}

struct LogSoftmax {
    x: Tensor,
}

impl Operation for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(backward_rows(output, gradient, "log_softmax_backward", log_softmax_backward)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, on_each_device, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for shape in [[1, 7], [5, 2], [9, 17], [2, 300]] {
            check_gradients(&[sample(&shape, 1)], |t| softmax(&t[0]));
            check_gradients(&[sample(&shape, 1)], |t| log_softmax(&t[0]));
        }
        check_gradients(&[sample(&[4], 1)], |t| softmax(&t[0]));
    }

    #[test]
    fn a_single_column_is_certain_and_has_no_slope() {
        let x = sample(&[6, 1], 1).leaf();
        let y = softmax(&x).unwrap();
        assert_eq!(y.data(), [1.0; 6]);
        assert_eq!(y.backward_from(sample(&[6, 1], 2)).unwrap().get(&x).unwrap().values(), [0.0; 6]);
        assert_eq!(log_softmax(&x).unwrap().data(), [0.0; 6]);
    }

    /// PyTorch 2.15, `torch.softmax` and `log_softmax` in f64.
    #[test]
    fn agrees_with_torch_at_extreme_logits() {
        let infinite = f32::NEG_INFINITY;
        let x = [1.0, 2.0, 3.0, -1.0, 0.5, infinite, 0.0, 100.0, -200.0, -201.0, -202.0, -203.0];
        let x = Tensor::new(x.to_vec(), &[3, 4]).unwrap();
        let expected = [
            [0.08894682, 0.24178252, 0.657233, 0.012037643],
            [0.0, 0.0, 0.0, 1.0],
            [0.6439143, 0.23688282, 0.08714432, 0.032058604],
        ];
        on_each_device(|device| {
            let x = x.to(device).unwrap();
            assert_close(softmax(&x).unwrap().data(), expected.as_flattened(), 2e-7);
            let y = log_softmax(&x).unwrap();
            assert_close(y.row(0), &[-2.4197166, -1.4197166, -0.41971666, -4.419717], 2e-7);
            assert_eq!(y.row(1), [-99.5, infinite, -100.0, 0.0]);
            assert_close(y.row(2), &[-0.4401897, -1.4401897, -2.4401896, -3.4401896], 2e-7);
        });
    }

    #[test]
    fn rows_sum_to_one_and_a_common_shift_changes_nothing() {
        let x = sample(&[20, 33], 1);
        let y = softmax(&x).unwrap();
        for row in 0..20 {
            assert_close(&[y.row(row).iter().sum()], &[1.0], 1e-6);
        }
        // A power of two far above the values costs 2⁻²⁴ · 64 of each value.
        let shifted = Tensor::new(x.data().iter().map(|value| value + 64.0).collect(), &[20, 33]).unwrap();
        assert_close(softmax(&shifted).unwrap().data(), y.data(), 1e-5);
    }

    #[test]
    fn no_values_are_no_fault() {
        on_each_device(|device| {
            let zeros = |shape| Tensor::zeros(shape).to(device).unwrap();
            assert_eq!(softmax(&zeros(&[0, 3])).unwrap().shape(), [0, 3]);
            assert_eq!(log_softmax(&zeros(&[3, 0])).unwrap().shape(), [3, 0]);
        });
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let (x, dy) = (sample(&[385, 129], 1), sample(&[385, 129], 2));
        for function in [softmax, log_softmax] {
            assert_same_on_threads(|| {
                let x = x.leaf();
                let y = function(&x).unwrap();
                let values = y.data().to_vec();
                vec![values, y.backward_from(dy.clone()).unwrap().get(&x).unwrap().values().to_vec()]
            });
        }
    }
}
