//! Each row to mean 0 and variance 1, then stretched and shifted by learnt amounts; over the last dimension.
//!
//! ```text
//! X [rows, width]   g, b [width]   →   Y [rows, width]
//! X̂ = (X − μ) / σ         μ, σ² = mean and variance of the row, σ = √(variance + ε)
//! Y = g ⊙ X̂ + b
//!
//! dX̂ = g ⊙ dY
//! dX = (dX̂ − mean(dX̂) − X̂ ⊙ mean(dX̂ ⊙ X̂)) / σ
//! dg = Σ_rows dY ⊙ X̂      db = Σ_rows dY
//! ```
//!
//! Kept for the backward: X, g, and μ and 1/σ of each row.
//!
//! Ba, Kiros and Hinton, *Layer Normalization*, 2016.

use super::dropout::{self, Mask};
use crate::cuda::{Argument, Gpu, Grid, Memory};
use crate::lanes::vectorized;
use crate::parallel::{for_each_part, row_blocks, sum_of_blocks};
use crate::{Buffer, Error, Gradient, Operation, Result, Tensor, lanes, memory};

/// The rows of x, normalised, times `gain` `[width]` plus `bias` `[width]`; of x's shape. `epsilon` is added to the
/// variance.
///
/// # Errors
/// `gain` or `bias` has another width than x, or `epsilon` is not positive.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, epsilon: f32) -> Result<Tensor> {
    let norm = Norm::new("layer_norm", x, gain, bias, epsilon)?;
    let (rows, width) = x.rows_columns();
    if let Some(gpu) = Gpu::of([x, gain, bias])? {
        let (y, statistics) = (gpu.allocate(x.len())?, gpu.allocate(2 * rows)?);
        let [gain, bias] = [gpu.read(gain)?, gpu.read(bias)?];
        let results = [&y, &statistics].map(Argument::from);
        let arguments = [gpu.read(x)?, gain, bias, width.into(), epsilon.into(), results[0], results[1]];
        gpu.launch("layer_norm", "layer_norm_forward", row_a_block(rows, width), &arguments)?;
        let statistics = Tensor::on_gpu(statistics, &[rows, 2]);
        return Ok(Buffer::on_gpu(y, x.shape()).recorded(LayerNorm { x: x.clone(), norm, statistics }));
    }
    let mut y = memory::overwritable(x.len());
    let mut statistics = vec![0.0; 2 * rows];
    let lengths = |rows| [rows * width, 2 * rows];
    for_each_part([&mut y, &mut statistics], row_blocks(rows, width), lengths, |_, rows, [y, statistics]| {
        normalise(&norm, &x.data()[rows.start * width..rows.end * width], y, statistics);
    });
    let statistics = Tensor::new(statistics, &[rows, 2])?;
    Ok(Buffer::new(y, x.shape())?.recorded(LayerNorm { x: x.clone(), norm, statistics }))
}

/// The grid of a kernel that takes a row by one block: up to 4,096 columns its threads keep the row in registers, 8 values
/// each.
pub(super) fn row_a_block(rows: usize, width: usize) -> Grid {
    let warps = width.div_ceil(256).clamp(1, 16);
    Grid::blocks(rows, 32 * warps as u32)
}

vectorized! {
    /// Y, and μ and 1/σ of each row.
    fn normalise(norm: &Norm, x: &[f32], y: &mut [f32], statistics: &mut [f32]) {
        let (gain, bias) = (norm.gain.data(), norm.bias.data());
        let width = gain.len().max(1);
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), kept) in rows.zip(statistics.as_chunks_mut().0) {
            *kept = normalise_row(x, gain, bias, norm.epsilon, y);
        }
    }
}

/// One row to y; returns its μ and 1/σ.
#[inline(always)]
pub(super) fn normalise_row(x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32]) -> [f32; 2] {
    let width = x.len() as f32;
    let mean = lanes::sum(x, |x| x) / width;
    let variance = lanes::sum(x, |x| (x - mean) * (x - mean)) / width;
    let inverse_deviation = 1.0 / (variance + epsilon).sqrt();
    for ((y, x), (gain, bias)) in y.iter_mut().zip(x).zip(gain.iter().zip(bias)) {
        *y = (x - mean) * inverse_deviation * gain + bias;
    }
    [mean, inverse_deviation]
}

/// What each row is stretched and shifted by.
pub(super) struct Norm {
    pub(super) gain: Tensor,
    pub(super) bias: Tensor,
    pub(super) epsilon: f32,
}

impl Norm {
    pub(super) fn new(
        operation: &'static str,
        x: &Tensor,
        gain: &Tensor,
        bias: &Tensor,
        epsilon: f32,
    ) -> Result<Self> {
        let (_, width) = x.rows_columns();
        for (name, parameter) in [("gain", gain), ("bias", bias)] {
            if parameter.shape() != [width] {
                let found = parameter.shape();
                let message = format!("x is {:?}, so {name} must be [{width}]; found {found:?}", x.shape());
                return Err(Error::shape(operation, message));
            }
        }
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(Error::shape(operation, format!("epsilon must be above 0; found {epsilon}")));
        }
        Ok(Self { gain: gain.clone(), bias: bias.clone(), epsilon })
    }

    /// The gradients from the rows that were normalised, their `statistics` (μ and 1/σ of each, `[rows, 2]`) and dY;
    /// with a mask also m ⊙ dX / (1 − p).
    pub(super) fn backward(
        &self,
        x: &Tensor,
        statistics: &Tensor,
        gradient: &Tensor,
        mask: Option<Mask>,
    ) -> Result<NormGradients> {
        if let Some(gpu) = Gpu::of([gradient, statistics])? {
            return self.backward_on(gpu, x, statistics, gradient, mask);
        }
        let (rows, width) = x.rows_columns();
        let blocks = row_blocks(rows, width);
        let mut dx = memory::overwritable(x.len());
        let mut masked = memory::overwritable(if mask.is_some() { x.len() } else { 0 });
        let mut sums = vec![0.0; 2 * width * blocks.len()];
        let lengths = |rows| [rows * width, if mask.is_some() { rows * width } else { 0 }, 2 * width];
        for_each_part([&mut dx, &mut masked, &mut sums], blocks, lengths, |_, rows, [dx, masked, sums]| {
            let values = rows.start * width..rows.end * width;
            let (x, dy) = (&x.data()[values.clone()], &gradient.data()[values.clone()]);
            let statistics = &statistics.data()[2 * rows.start..2 * rows.end];
            backward(self, x, statistics, dy, dx, sums);
            if let Some(mask) = mask {
                dropout::masked(mask, values.start, dx, masked);
            }
        });
        let mut dgain = sum_of_blocks(&sums, 2 * width);
        let dbias = dgain.split_off(width);
        Ok(NormGradients {
            dx: Tensor::of(dx, x.shape())?,
            masked: mask.map(|_| Tensor::of(masked, x.shape())).transpose()?,
            dgain: Tensor::new(dgain, &[width])?,
            dbias: Tensor::new(dbias, &[width])?,
        })
    }

    fn backward_on(
        &self,
        gpu: &'static Gpu,
        x: &Tensor,
        statistics: &Tensor,
        gradient: &Tensor,
        mask: Option<Mask>,
    ) -> Result<NormGradients> {
        let (rows, width) = x.rows_columns();
        let dx = gpu.allocate(x.len())?;
        let masked = mask.map(|_| gpu.allocate(x.len())).transpose()?;
        let inputs =
            [gpu.read(x)?, gpu.read(gradient)?, gpu.read(&self.gain)?, gpu.read(statistics)?, width.into()];
        let results = [Argument::from(&dx), masked.as_ref().map_or(Argument::NULL, Argument::from)];
        let arguments = [&inputs[..], &results, &Mask::arguments(mask)].concat();
        let grid = Mask::drawn_in(row_a_block(rows, width));
        gpu.launch("layer_norm", "layer_norm_backward", grid, &arguments)?;
        let sums = Tensor::on_gpu(sums_over_rows(gpu, x, statistics, gradient)?, &[2, width]);
        Ok(NormGradients {
            dx: Tensor::on_gpu(dx, x.shape()),
            masked: masked.map(|masked| Tensor::on_gpu(masked, x.shape())),
            dgain: sums.constant_view(0, &[width]),
            dbias: sums.constant_view(width, &[width]),
        })
    }
}

/// dg, then db.
fn sums_over_rows(gpu: &'static Gpu, x: &Tensor, statistics: &Tensor, gradient: &Tensor) -> Result<Memory> {
    /// Rows that a block sums, and columns.
    const ROWS: usize = 128;
    const COLUMNS: usize = 32;
    const THREADS: u32 = 256;
    let (rows, width) = x.rows_columns();
    let blocks = rows.div_ceil(ROWS);
    let sums = gpu.allocate(blocks * 2 * width)?;
    let inputs = [gpu.read(x)?, gpu.read(gradient)?, gpu.read(statistics)?];
    let sizes = [rows, width, ROWS].map(Argument::from);
    let arguments = [&inputs[..], &sizes, &[Argument::from(&sums)]].concat();
    let grid = Grid::blocks(width.div_ceil(COLUMNS), THREADS).times(blocks, 1);
    gpu.launch("layer_norm", "layer_norm_sums", grid, &arguments)?;
    gpu.sum_over_rows(&Tensor::on_gpu(sums, &[blocks, 2 * width]))
}

pub(super) struct NormGradients {
    pub(super) dx: Tensor,
    pub(super) masked: Option<Tensor>,
    pub(super) dgain: Tensor,
    pub(super) dbias: Tensor,
}

vectorized! {
    /// dX of some rows; their terms of dg and db are added to `sums`, one after the other.
    fn backward(norm: &Norm, x: &[f32], statistics: &[f32], dy: &[f32], dx: &mut [f32], sums: &mut [f32]) {
        let gain = norm.gain.data();
        let width = gain.len().max(1);
        let (dgain, dbias) = sums.split_at_mut(gain.len());
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for (((x, dy), dx), &[mean, inverse_deviation]) in rows.zip(statistics.as_chunks().0) {
            let normal = |x: f32| (x - mean) * inverse_deviation;
            let sums = dgain.iter_mut().zip(&mut *dbias).zip(gain);
            for (((dgain, dbias), gain), ((&x, dy), dx)) in sums.zip(x.iter().zip(dy).zip(&mut *dx)) {
                *dgain += dy * normal(x);
                *dbias += dy;
                *dx = dy * gain;
            }
            let mean_of_d = lanes::sum(dx, |d| d) / width as f32;
            let mean_of_product = lanes::sum_pairs(dx, x, |d, x| d * normal(x)) / width as f32;
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx = (*dx - mean_of_d - normal(x) * mean_of_product) * inverse_deviation;
            }
        }
    }
}

struct LayerNorm {
    x: Tensor,
    norm: Norm,
    /// μ and 1/σ of each row, `[rows, 2]`.
    statistics: Tensor,
}

impl Operation for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.norm.gain, &self.norm.bias]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let gradients = self.norm.backward(&self.x, &self.statistics, gradient, None)?;
        let NormGradients { dx, dgain, dbias, .. } = gradients;
        Ok([dx, dgain, dbias].map(|gradient| Some(gradient.into())).into())
    }
}

#[cfg(test)]
mod tests;
