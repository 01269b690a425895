//! A block's result added to what it read, with dropout between; alone, and with the layer norm that follows in
//! post-norm layers.
//!
//! ```text
//! X, S [rows, width]   g, b [width]   →   Y [rows, width]
//! U = X + m ⊙ S / (1 − p)                  m ∈ {0, 1}, P(m = 0) = p, drawn as in `dropout`
//! residual              Y = U
//! residual_layer_norm   Y = g ⊙ Û + b      Û: the rows of U, normalised as in `layer_norm`
//!
//! dX = dU     dS = m ⊙ dU / (1 − p)
//! ```
//!
//! The same values as `add`, `dropout` and `layer_norm` one after another, in one pass over memory. Kept for the
//! backward: nothing of `residual`; of `residual_layer_norm` U, and μ and 1/σ of each of its rows.

use super::dropout::Mask;
use super::layer_norm::{Norm, NormGradients, normalise_row, row_a_block};
use crate::cuda::{Argument, Gpu, Grid};
use crate::lanes::vectorized;
use crate::parallel::{for_each_part, for_each_row_block, row_blocks};
use crate::{Buffer, Error, Gradient, Operation, RandomKey, Result, Tensor, memory};

/// x + dropout(branch), of their common shape. `dropout` is the probability and the key; `None` drops nothing.
///
/// # Errors
/// The shapes differ, or the probability is not in [0, 1).
pub fn residual(x: &Tensor, branch: &Tensor, dropout: Option<(f32, RandomKey)>) -> Result<Tensor> {
    let mask = check("residual", x, branch, dropout)?;
    let operation = Residual { x: x.clone(), branch: branch.clone(), mask };
    if let Some(gpu) = Gpu::of([x, branch])? {
        let y = gpu.allocate(x.len())?;
        let arguments = [gpu.read(x)?, gpu.read(branch)?, Argument::from(&y), x.len().into()];
        let arguments = [&arguments[..], &Mask::arguments(mask)].concat();
        gpu.launch("residual", "residual", Mask::drawn_in(Grid::over(x.len())), &arguments)?;
        return Ok(Buffer::on_gpu(y, x.shape()).recorded(operation));
    }
    let mut y = memory::overwritable(x.len());
    for_each_row_block(&mut y, 1, |first, y| {
        let values = first..first + y.len();
        add(mask, first, &x.data()[values.clone()], &branch.data()[values], y);
    });
    Ok(Buffer::new(y, x.shape())?.recorded(operation))
}

fn check(
    operation: &'static str,
    x: &Tensor,
    branch: &Tensor,
    dropout: Option<(f32, RandomKey)>,
) -> Result<Option<Mask>> {
    if x.shape() != branch.shape() {
        let message = format!("x is {:?}, so the branch must be too; found {:?}", x.shape(), branch.shape());
        return Err(Error::shape(operation, message));
    }
    Mask::inside(operation, dropout)
}

/// Values that are still in the nearest cache when the sum is taken.
const PIECE: usize = 1024;

vectorized! {
    /// The sum of the values `first …`.
    fn add(mask: Option<Mask>, first: usize, x: &[f32], branch: &[f32], sum: &mut [f32]) {
        let pieces = sum.chunks_mut(PIECE).zip(x.chunks(PIECE).zip(branch.chunks(PIECE)));
        for (i, (sum, (x, branch))) in pieces.enumerate() {
            add_piece(mask, first + i * PIECE, x, branch, sum);
        }
    }
}

#[inline(always)]
fn add_piece(mask: Option<Mask>, first: usize, x: &[f32], branch: &[f32], sum: &mut [f32]) {
    let Some(mask) = mask else {
        sum.iter_mut().zip(x).zip(branch).for_each(|((sum, x), value)| *sum = x + value);
        return;
    };
    sum.copy_from_slice(branch);
    mask.apply(first, sum);
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
}

struct Residual {
    x: Tensor,
    branch: Tensor,
    mask: Option<Mask>,
}

impl Operation for Residual {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.branch]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let of_branch = match self.mask {
            Some(mask) => mask.of(gradient, Gpu::of([gradient, &self.x, &self.branch])?)?,
            None => gradient.clone(),
        };
        Ok(vec![Some(gradient.clone().into()), Some(of_branch.into())])
    }
}

/// layer_norm(x + dropout(branch)), of their common shape; `gain` and `bias` `[width]`, `epsilon` added to the variance,
/// as in [`layer_norm`](super::layer_norm). `dropout` is the probability and the key; `None` drops nothing.
///
/// # Errors
/// The shapes differ, the probability is not in [0, 1), or `epsilon` is not positive.
pub fn residual_layer_norm(
    x: &Tensor,
    branch: &Tensor,
    dropout: Option<(f32, RandomKey)>,
    gain: &Tensor,
    bias: &Tensor,
    epsilon: f32,
) -> Result<Tensor> {
    const NAME: &str = "residual_layer_norm";
    let mask = check(NAME, x, branch, dropout)?;
    let norm = Norm::new(NAME, x, gain, bias, epsilon)?;
    let Normalised { y, sum, statistics } = match Gpu::of([x, branch, gain, bias])? {
        Some(gpu) => normalised_on(gpu, &norm, mask, x, branch)?,
        None => normalised(&norm, mask, x, branch)?,
    };
    let (x, branch) = (x.clone(), branch.clone());
    Ok(y.recorded(ResidualLayerNorm { x, branch, mask, norm, sum, statistics }))
}

struct Normalised {
    y: Buffer,
    /// U.
    sum: Tensor,
    /// μ and 1/σ of each row of U, `[rows, 2]`.
    statistics: Tensor,
}

fn normalised_on(
    gpu: &'static Gpu,
    norm: &Norm,
    mask: Option<Mask>,
    x: &Tensor,
    branch: &Tensor,
) -> Result<Normalised> {
    let (rows, width) = x.rows_columns();
    let (sum, y, statistics) = (gpu.allocate(x.len())?, gpu.allocate(x.len())?, gpu.allocate(2 * rows)?);
    let inputs = [gpu.read(x)?, gpu.read(branch)?, gpu.read(&norm.gain)?, gpu.read(&norm.bias)?];
    let numbers = [width.into(), norm.epsilon.into()];
    let results = [&sum, &y, &statistics].map(Argument::from);
    let arguments = [&inputs[..], &numbers, &results, &Mask::arguments(mask)].concat();
    let grid = Mask::drawn_in(row_a_block(rows, width));
    gpu.launch("residual", "residual_layer_norm", grid, &arguments)?;
    Ok(Normalised {
        y: Buffer::on_gpu(y, x.shape()),
        sum: Tensor::on_gpu(sum, x.shape()),
        statistics: Tensor::on_gpu(statistics, &[rows, 2]),
    })
}

fn normalised(norm: &Norm, mask: Option<Mask>, x: &Tensor, branch: &Tensor) -> Result<Normalised> {
    let (rows, width) = x.rows_columns();
    let mut y = memory::overwritable(x.len());
    let mut sum = memory::overwritable(x.len());
    let mut statistics = vec![0.0; 2 * rows];
    let lengths = |rows| [rows * width, rows * width, 2 * rows];
    for_each_part(
        [&mut y, &mut sum, &mut statistics],
        row_blocks(rows, width),
        lengths,
        |_, rows, results| {
            let values = rows.start * width..rows.end * width;
            let inputs = [x, branch].map(|input| &input.data()[values.clone()]);
            add_and_normalise(norm, mask, values.start, inputs, results);
        },
    );
    Ok(Normalised {
        y: Buffer::new(y, x.shape())?,
        sum: Tensor::of(sum, x.shape())?,
        statistics: Tensor::new(statistics, &[rows, 2])?,
    })
}

vectorized! {
    /// Y, U, and μ and 1/σ of each row, from the values `first …` of X and S.
    fn add_and_normalise(
        norm: &Norm,
        mask: Option<Mask>,
        first: usize,
        inputs: [&[f32]; 2],
        results: [&mut [f32]; 3],
    ) {
        let ([x, branch], [y, sum, statistics]) = (inputs, results);
        let (gain, bias) = (norm.gain.data(), norm.bias.data());
        let width = gain.len().max(1);
        let inputs = x.chunks_exact(width).zip(branch.chunks_exact(width));
        let results = y.chunks_exact_mut(width).zip(sum.chunks_exact_mut(width));
        let rows = inputs.zip(results).zip(statistics.as_chunks_mut().0).enumerate();
        for (row, (((x, branch), (y, sum)), kept)) in rows {
            add_piece(mask, first + row * width, x, branch, sum);
            *kept = normalise_row(sum, gain, bias, norm.epsilon, y);
        }
    }
}

struct ResidualLayerNorm {
    x: Tensor,
    branch: Tensor,
    mask: Option<Mask>,
    norm: Norm,
    /// U.
    sum: Tensor,
    /// μ and 1/σ of each row of U, `[rows, 2]`.
    statistics: Tensor,
}

impl Operation for ResidualLayerNorm {
    fn name(&self) -> &'static str {
        "residual_layer_norm"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.branch, &self.norm.gain, &self.norm.bias]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let gradients = self.norm.backward(&self.sum, &self.statistics, gradient, self.mask)?;
        let NormGradients { dx, masked, dgain, dbias } = gradients;
        let of_branch = masked.unwrap_or_else(|| dx.clone());
        Ok([dx, of_branch, dgain, dbias].map(|gradient| Some(gradient.into())).into())
    }
}

#[cfg(test)]
mod tests;
