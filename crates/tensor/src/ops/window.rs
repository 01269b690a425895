//! Each row beside its neighbours: what a convolution over packed texts multiplies.
//!
//! ```text
//! X [rows, width], r   →   Y [rows, (2r + 1) width]
//! Y_i = [X_{i−r} … X_i … X_{i+r}], zeros where a neighbour lies beyond i's segment
//! dX_j = Σ_{i = j−r}^{j+r} dY_i's part for place j − i + r, over i in j's segment
//! ```
//!
//! With a `linear` behind it this is a convolution of kernel size 2r + 1: `seq2col` of spaCy and thinc.

use crate::cuda::{Argument, Gpu, Grid, Memory};
use crate::lanes::{add_scaled, vectorized};
use crate::parallel::for_each_segment;
use crate::{Buffer, Gradient, Offsets, Operation, Result, Tensor, memory};

/// Each row of x `[rows, width]` beside the `radius` rows before and after it in its own segment, zeros beyond the
/// segment's ends: `[rows, (2 · radius + 1) · width]`.
///
/// # Errors
/// The offsets do not cover the rows of x.
pub fn window(x: &Tensor, offsets: &Offsets, radius: usize) -> Result<Tensor> {
    let (rows, width) = x.rows_columns();
    offsets.check_rows(rows, "window")?;
    let places = 2 * radius + 1;
    let operation = Window { x: x.clone(), offsets: offsets.clone(), radius };
    if let Some(gpu) = Gpu::of([x])? {
        let y = operation.launch(gpu, "window_forward", x, rows * places * width)?;
        return Ok(Buffer::on_gpu(y, &[rows, places * width]).recorded(operation));
    }
    let mut y = memory::overwritable(rows * places * width);
    for_each_segment(
        [&mut y],
        offsets,
        |rows| [rows * places * width],
        |_, range, [y]| {
            let x = &x.data()[range.start * width..range.end * width];
            for (i, y) in y.chunks_exact_mut((places * width).max(1)).enumerate() {
                // The neighbours lie one after another in X as in Y: one copy.
                let (first, end) = (i.saturating_sub(radius), range.len().min(i + radius + 1));
                let (before, rest) = y.split_at_mut((first + radius - i) * width);
                let (neighbours, after) = rest.split_at_mut((end - first) * width);
                before.fill(0.0);
                neighbours.copy_from_slice(&x[first * width..end * width]);
                after.fill(0.0);
            }
        },
    );
    Ok(Buffer::new(y, &[rows, places * width])?.recorded(operation))
}

struct Window {
    x: Tensor,
    offsets: Offsets,
    radius: usize,
}

impl Window {
    /// Runs a kernel of `kernels/window.cu`, which makes so many values of its input.
    fn launch(
        &self,
        gpu: &'static Gpu,
        kernel: &'static str,
        input: &Tensor,
        values: usize,
    ) -> Result<Memory> {
        let (_, width) = self.x.rows_columns();
        let result = gpu.allocate(values)?;
        let inputs = [gpu.read(input)?, self.offsets.on(gpu)?];
        let arguments = [inputs[0], inputs[1], width.into(), self.radius.into(), Argument::from(&result)];
        gpu.launch("window", kernel, Grid::over_rows_of(&self.offsets), &arguments)?;
        Ok(result)
    }
}

impl Operation for Window {
    fn name(&self) -> &'static str {
        "window"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let (_, width) = self.x.rows_columns();
        if let Some(gpu) = Gpu::of([gradient, &self.x])? {
            let dx = self.launch(gpu, "window_backward", gradient, self.x.len())?;
            return Ok(vec![Some(Tensor::on_gpu(dx, self.x.shape()).into())]);
        }
        let columns = (2 * self.radius + 1) * width;
        let mut dx = memory::overwritable(self.x.len());
        for_each_segment(
            [&mut dx],
            &self.offsets,
            |rows| [rows * width],
            |_, range, [dx]| {
                let dy = &gradient.data()[range.start * columns..range.end * columns];
                add_places(dy, width, self.radius, dx);
            },
        );
        Ok(vec![Some(Tensor::of(dx, self.x.shape())?.into())])
    }
}

vectorized! {
    /// dX of a segment.
    fn add_places(dy: &[f32], width: usize, radius: usize, dx: &mut [f32]) {
        let (places, rows) = (2 * radius + 1, dx.len() / width.max(1));
        for (j, sum) in dx.chunks_exact_mut(width.max(1)).enumerate() {
            sum.fill(0.0);
            for i in j.saturating_sub(radius)..rows.min(j + radius + 1) {
                let start = (i * places + j + radius - i) * width;
                add_scaled(sum, 1.0, &dy[start..start + width]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_on_threads, check_gradients, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for lengths in [&[1][..], &[4], &[0, 1, 5, 0, 2], &[1, 19]] {
            let offsets = Offsets::from_lengths(lengths.iter().copied());
            for (width, radius) in [(1, 0), (1, 1), (3, 2), (2, 7), (33, 1)] {
                check_gradients(&[sample(&[offsets.rows(), width], 1)], |t| window(&t[0], &offsets, radius));
            }
        }
    }

    #[test]
    fn neighbours_beyond_the_segment_are_zero() {
        let x = Tensor::new(vec![1.0, 2.0, 3.0, 4.0], &[4, 1]).unwrap();
        let y = window(&x, &Offsets::from_lengths([3, 0, 1]), 1).unwrap();
        let expected = [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 0.0], [0.0, 4.0, 0.0]];
        assert_eq!((y.shape(), y.data()), (&[4, 3][..], expected.as_flattened()));
    }

    #[test]
    fn a_radius_of_zero_changes_nothing() {
        let x = sample(&[5, 3], 1);
        assert_eq!(window(&x, &Offsets::from_lengths([2, 3]), 0).unwrap().data(), x.data());
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        let error =
            window(&Tensor::zeros(&[5, 3]), &Offsets::from_lengths([2, 2]), 1).unwrap_err().to_string();
        assert_eq!(error, "window: the offsets cover 4 rows, the input has 5");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let offsets = Offsets::from_lengths((0..60).map(|i| i % 23));
        let x = sample(&[offsets.rows(), 40], 1);
        assert_same_on_threads(|| {
            let leaf = x.leaf();
            let y = window(&leaf, &offsets, 2).unwrap();
            let values = y.data().to_vec();
            let gradients = y.backward_from(sample(&[offsets.rows(), 200], 2)).unwrap();
            vec![values, gradients.get(&leaf).unwrap().values().to_vec()]
        });
    }
}
