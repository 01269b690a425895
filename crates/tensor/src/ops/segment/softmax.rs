//! The softmax over the rows of each segment, each column alone.
//!
//! ```text
//! X [rows, columns]   →   Y [rows, columns]
//! Y_ic = exp(X_ic − m_sc) / Σ_{j ∈ s} exp(X_jc − m_sc)     m_sc = max_{j ∈ s} X_jc
//! dX_ic = Y_ic (dY_ic − Σ_{j ∈ s} Y_jc dY_jc)
//! ```
//!
//! Kept for the backward: nothing but the result.

use crate::cuda::{Argument, Gpu, Grid};
use crate::exponential::exp;
use crate::lanes::vectorized;
use crate::parallel::for_each_segment;
use crate::{Buffer, Gradient, Offsets, Operation, Result, Tensor, memory};

/// The softmax over the rows of each segment of x `[rows, columns]`, each column alone; of x's shape.
///
/// # Errors
/// The offsets do not cover the rows of x.
pub fn segment_softmax(x: &Tensor, offsets: &Offsets) -> Result<Tensor> {
    let (rows, columns) = x.rows_columns();
    offsets.check_rows(rows, "segment_softmax")?;
    let operation = SegmentSoftmax { x: x.clone(), offsets: offsets.clone() };
    if let Some(gpu) = Gpu::of([x])? {
        let y = gpu.allocate(x.len())?;
        let arguments = [gpu.read(x)?, offsets.on(gpu)?, columns.into(), Argument::from(&y)];
        gpu.launch("segment", "segment_softmax_forward", grid(offsets, columns), &arguments)?;
        return Ok(Buffer::on_gpu(y, x.shape()).recorded(operation));
    }
    let mut y = memory::overwritable(x.len());
    y.copy_from_slice(x.data());
    for_each_segment([&mut y], offsets, |rows| [rows * columns], |_, _, [y]| softmax_of_columns(y, columns));
    Ok(Buffer::new(y, x.shape())?.recorded(operation))
}

/// A block for each segment, in it a warp for each column while there are few.
fn grid(offsets: &Offsets, columns: usize) -> Grid {
    Grid::blocks(offsets.segments(), 32 * columns.clamp(1, 8) as u32)
}

vectorized! {
    /// The softmax of each column over the given rows.
    pub(in crate::ops) fn softmax_of_columns(rows: &mut [f32], columns: usize) {
        if columns == 0 {
            return;
        }
        let mut maxima = vec![f32::NEG_INFINITY; columns];
        for row in rows.chunks_exact(columns) {
            maxima.iter_mut().zip(row).for_each(|(maximum, &x)| *maximum = maximum.max(x));
        }
        for row in rows.chunks_exact_mut(columns) {
            row.iter_mut().zip(&maxima).for_each(|(x, maximum)| *x -= maximum);
        }
        rows.iter_mut().for_each(|x| *x = exp(*x));
        let mut sums = vec![0.0; columns];
        for row in rows.chunks_exact(columns) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        for row in rows.chunks_exact_mut(columns) {
            row.iter_mut().zip(&sums).for_each(|(x, sum)| *x /= sum);
        }
    }
}

vectorized! {
    /// From a softmax y of the given rows and its gradient, the gradient of what it was taken of; in place.
    pub(in crate::ops) fn softmax_of_columns_backward(y: &[f32], gradient: &mut [f32], columns: usize) {
        if columns == 0 {
            return;
        }
        let mut means = vec![0.0; columns];
        for (y, dy) in y.chunks_exact(columns).zip(gradient.chunks_exact(columns)) {
            means.iter_mut().zip(y).zip(dy).for_each(|((mean, y), dy)| *mean += y * dy);
        }
        for (y, dy) in y.chunks_exact(columns).zip(gradient.chunks_exact_mut(columns)) {
            dy.iter_mut().zip(y).zip(&means).for_each(|((dy, y), mean)| *dy = y * (*dy - mean));
        }
    }
}

struct SegmentSoftmax {
    x: Tensor,
    offsets: Offsets,
}

impl Operation for SegmentSoftmax {
    fn name(&self) -> &'static str {
        "segment_softmax"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let (_, columns) = output.rows_columns();
        if let Some(gpu) = Gpu::of([gradient, output])? {
            let dx = gpu.allocate(output.len())?;
            let [y, dy] = [gpu.read(output)?, gpu.read(gradient)?];
            let arguments = [y, dy, self.offsets.on(gpu)?, columns.into(), Argument::from(&dx)];
            gpu.launch("segment", "segment_softmax_backward", grid(&self.offsets, columns), &arguments)?;
            return Ok(vec![Some(Tensor::on_gpu(dx, self.x.shape()).into())]);
        }
        let mut dx = memory::overwritable(gradient.len());
        dx.copy_from_slice(gradient.data());
        for_each_segment(
            [&mut dx],
            &self.offsets,
            |rows| [rows * columns],
            |_, range, [dx]| {
                softmax_of_columns_backward(
                    &output.data()[range.start * columns..range.end * columns],
                    dx,
                    columns,
                );
            },
        );
        Ok(vec![Some(Tensor::of(dx, self.x.shape())?.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::segment_sum;
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};
    use proptest::prelude::*;

    #[test]
    fn gradients_agree_with_differences() {
        for lengths in [&[2][..], &[0, 1, 5, 0, 3, 0], &[40, 0, 7]] {
            let offsets = Offsets::from_lengths(lengths.iter().copied());
            for columns in [1, 4, 11] {
                check_gradients(&[sample(&[offsets.rows(), columns], 1)], |t| {
                    segment_softmax(&t[0], &offsets)
                });
            }
        }
    }

    /// PyTorch 2.15, rounded to six places: `torch.softmax(torch.tensor([[1., 2.], [3., -4.], [0., .5]], dtype=torch.float64), 0)`.
    #[test]
    fn agrees_with_pytorch() {
        let x = Tensor::new(vec![1.0, 2.0, 3.0, -4.0, 0.0, 0.5, 7.0, 8.0], &[4, 2]).unwrap();
        let y = segment_softmax(&x, &Offsets::from_lengths([3, 1])).unwrap();
        let expected = [0.114195, 0.815921, 0.843795, 0.002022, 0.04201, 0.182057, 1.0, 1.0];
        // Half a unit of the sixth place, and a few roundings of f32.
        assert_close(y.data(), &expected, 2e-6);
    }

    proptest! {
        #[test]
        fn each_column_of_a_segment_sums_to_one(length in 1usize..40, columns in 1usize..5, shift in -1e4f32..1e4) {
            let mut x = sample(&[length, columns], 1);
            x.update(|values| values.iter_mut().for_each(|x| *x += shift));
            let offsets = Offsets::from_lengths([length]);
            let sums = segment_sum(&segment_softmax(&x, &offsets).unwrap(), &offsets).unwrap();
            assert_close(sums.data(), &vec![1.0; columns], 1e-5);
        }
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        let error =
            segment_softmax(&Tensor::zeros(&[5, 3]), &Offsets::from_lengths([6])).unwrap_err().to_string();
        assert_eq!(error, "segment_softmax: the offsets cover 6 rows, the input has 5");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let offsets = Offsets::from_lengths((0..300).map(|i| i % 17));
        let x = sample(&[offsets.rows(), 9], 1);
        assert_same_on_threads(|| {
            let leaf = x.leaf();
            let y = segment_softmax(&leaf, &offsets).unwrap();
            let values = y.data().to_vec();
            let gradients = y.backward_from(sample(&[offsets.rows(), 9], 2)).unwrap();
            vec![values, gradients.get(&leaf).unwrap().values().to_vec()]
        });
    }
}
