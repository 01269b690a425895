//! The sum or the mean of each segment's rows.
//!
//! ```text
//! X [rows, width]   →   Y [segments, width]
//! sum    Y_s = Σ_{i ∈ s} X_i            dX_i = dY_s
//! mean   Y_s = Σ_{i ∈ s} X_i / |s|      dX_i = dY_s / |s|
//! ```
//!
//! An empty segment gives zeros. Kept for the backward: the offsets.

use crate::cuda::{Argument, Gpu, Grid};
use crate::lanes::{add_scaled, vectorized};
use crate::parallel::{for_each_row_block, for_each_segment};
use crate::{Buffer, Gradient, Offsets, Operation, Result, Tensor, memory};

/// The sum of each segment's rows, `[segments, width]` of x `[rows, width]`; zeros for an empty segment.
///
/// # Errors
/// The offsets do not cover the rows of x.
pub fn segment_sum(x: &Tensor, offsets: &Offsets) -> Result<Tensor> {
    pool(x, offsets, Pooling::Sum)
}

/// The mean of each segment's rows, `[segments, width]` of x `[rows, width]`; zeros for an empty segment.
///
/// # Errors
/// The offsets do not cover the rows of x.
///
/// ```
/// # use polytask_tensor::{Offsets, Tensor, ops::segment_mean};
/// let x = Tensor::new(vec![1.0, 2.0, 6.0], &[3, 1])?;
/// assert_eq!(segment_mean(&x, &Offsets::from_lengths([1, 2]))?.data(), [1.0, 4.0]);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn segment_mean(x: &Tensor, offsets: &Offsets) -> Result<Tensor> {
    pool(x, offsets, Pooling::Mean)
}

#[derive(Clone, Copy)]
enum Pooling {
    Sum,
    Mean,
}

impl Pooling {
    fn name(self) -> &'static str {
        match self {
            Pooling::Sum => "segment_sum",
            Pooling::Mean => "segment_mean",
        }
    }

    /// What each of a segment's `rows` rows weighs.
    fn weight(self, rows: usize) -> f32 {
        match self {
            Pooling::Sum => 1.0,
            Pooling::Mean => 1.0 / rows as f32,
        }
    }
}

fn pool(x: &Tensor, offsets: &Offsets, pooling: Pooling) -> Result<Tensor> {
    let (rows, width) = x.rows_columns();
    offsets.check_rows(rows, pooling.name())?;
    let operation = Pool { x: x.clone(), offsets: offsets.clone(), pooling };
    if let Some(gpu) = Gpu::of([x])? {
        let y = gpu.allocate(offsets.segments() * width)?;
        operation.launch(gpu, "segment_pool", gpu.read(x)?, Argument::from(&y))?;
        return Ok(Buffer::on_gpu(y, &[offsets.segments(), width]).recorded(operation));
    }
    let mut y = memory::overwritable(offsets.segments() * width);
    for_each_row_block(&mut y, width, |first, block| {
        for (s, sum) in block.chunks_exact_mut(width).enumerate() {
            let range = offsets.range(first + s);
            let weight = pooling.weight(range.len());
            weighted_sum(&x.data()[range.start * width..range.end * width], weight, sum);
        }
    });
    Ok(Buffer::new(y, &[offsets.segments(), width])?.recorded(operation))
}

vectorized! {
    /// The sum of rows, each weighed alike.
    fn weighted_sum(rows: &[f32], weight: f32, sum: &mut [f32]) {
        sum.fill(0.0);
        for row in rows.chunks_exact(sum.len()) {
            add_scaled(sum, weight, row);
        }
    }
}

vectorized! {
    /// The same row in all places, weighed.
    fn spread(row: &[f32], weight: f32, rows: &mut [f32]) {
        for place in rows.chunks_exact_mut(row.len().max(1)) {
            place.iter_mut().zip(row).for_each(|(place, value)| *place = weight * value);
        }
    }
}

struct Pool {
    x: Tensor,
    offsets: Offsets,
    pooling: Pooling,
}

impl Pool {
    /// Runs a kernel of `kernels/segment.cu` whose blocks take some columns of a segment.
    fn launch(&self, gpu: &'static Gpu, kernel: &'static str, from: Argument, to: Argument) -> Result<()> {
        const COLUMNS: u32 = 128;
        let (_, width) = self.x.rows_columns();
        let is_mean = usize::from(matches!(self.pooling, Pooling::Mean));
        let grid = Grid::blocks(self.offsets.segments(), COLUMNS).times(width.div_ceil(COLUMNS as usize), 1);
        let arguments = [from, self.offsets.on(gpu)?, width.into(), is_mean.into(), to];
        gpu.launch("segment", kernel, grid, &arguments)
    }
}

impl Operation for Pool {
    fn name(&self) -> &'static str {
        self.pooling.name()
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let (_, width) = self.x.rows_columns();
        if let Some(gpu) = Gpu::of([gradient, &self.x])? {
            let dx = gpu.allocate(self.x.len())?;
            self.launch(gpu, "segment_pool_backward", gpu.read(gradient)?, Argument::from(&dx))?;
            return Ok(vec![Some(Tensor::on_gpu(dx, self.x.shape()).into())]);
        }
        let mut dx = memory::overwritable(self.x.len());
        for_each_segment(
            [&mut dx],
            &self.offsets,
            |rows| [rows * width],
            |segment, range, [dx]| spread(gradient.row(segment), self.pooling.weight(range.len()), dx),
        );
        Ok(vec![Some(Tensor::of(dx, self.x.shape())?.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, on_each_device, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for lengths in [&[1][..], &[3], &[0, 1, 4, 0, 2, 0], &[0, 21]] {
            let offsets = Offsets::from_lengths(lengths.iter().copied());
            for width in [1, 5, 131] {
                let x = [sample(&[offsets.rows(), width], 1)];
                check_gradients(&x, |t| segment_sum(&t[0], &offsets));
                check_gradients(&x, |t| segment_mean(&t[0], &offsets));
            }
        }
    }

    #[test]
    fn an_empty_segment_gives_zeros() {
        let x = Tensor::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2]).unwrap();
        let offsets = Offsets::from_lengths([2, 0, 1]);
        on_each_device(|device| {
            let x = x.to(device).unwrap();
            assert_close(segment_sum(&x, &offsets).unwrap().data(), &[4.0, 6.0, 0.0, 0.0, 5.0, 6.0], 0.0);
            assert_close(segment_mean(&x, &offsets).unwrap().data(), &[2.0, 3.0, 0.0, 0.0, 5.0, 6.0], 0.0);
            let none = Tensor::zeros(&[0, 2]).to(device).unwrap();
            assert_eq!(segment_mean(&none, &Offsets::from_lengths([])).unwrap().shape(), [0, 2]);
        });
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        let error =
            segment_mean(&Tensor::zeros(&[5, 3]), &Offsets::from_lengths([4])).unwrap_err().to_string();
        assert_eq!(error, "segment_mean: the offsets cover 4 rows, the input has 5");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let offsets = Offsets::from_lengths((0..500).map(|i| i % 7));
        let x = sample(&[offsets.rows(), 65], 1);
        assert_same_on_threads(|| {
            let leaf = x.leaf();
            let y = segment_mean(&leaf, &offsets).unwrap();
            let values = y.data().to_vec();
            let gradients = y.backward_from(sample(&[500, 65], 2)).unwrap();
            vec![values, gradients.get(&leaf).unwrap().values().to_vec()]
        });
    }
}
