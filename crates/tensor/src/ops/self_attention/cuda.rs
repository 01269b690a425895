//! The kernels of `kernels/self_attention*.cu`.

use super::Shape;
use crate::cuda::{Argument, Gpu, Grid, Memory};
use crate::{Result, Tensor};

/// Queries, or keys, that a block has at a time.
const TILE: usize = 32;
const THREADS: u32 = 128;
/// Bytes of a tile of scores; its rows are four values apart.
const SCORES_BYTES: usize = 4 * TILE * (TILE + 4);

/// The kernels of heads of up to so many columns; narrower ones are padded there with zeros.
pub(super) struct Kernels {
    head_width: usize,
    forward: &'static str,
    /// Of the backward: dQ, dK and dV of texts of one tile, then dQ, and dK and dV, of longer ones.
    whole: &'static str,
    queries: &'static str,
    keys: &'static str,
}

const KERNELS: [Kernels; 3] = [
    Kernels {
        head_width: 32,
        forward: "self_attention_32",
        whole: "self_attention_whole_32",
        queries: "self_attention_queries_32",
        keys: "self_attention_keys_32",
    },
    Kernels {
        head_width: 64,
        forward: "self_attention_64",
        whole: "self_attention_whole_64",
        queries: "self_attention_queries_64",
        keys: "self_attention_keys_64",
    },
    Kernels {
        head_width: 128,
        forward: "self_attention_128",
        whole: "self_attention_whole_128",
        queries: "self_attention_queries_128",
        keys: "self_attention_keys_128",
    },
];

impl Kernels {
    /// `None` for heads that are wider than any kernel's.
    pub(super) fn of(shape: &Shape) -> Option<&'static Self> {
        KERNELS.iter().find(|kernels| shape.head_width() <= kernels.head_width)
    }

    /// The result `[tokens, width]`, and log Σ exp S of the rows of S, `[heads, tokens]`.
    pub(super) fn forward(
        &self,
        gpu: &'static Gpu,
        shape: &Shape,
        projections: &Tensor,
    ) -> Result<[Memory; 2]> {
        let tokens = shape.offsets.rows();
        let (output, log_sums) = (gpu.allocate(tokens * shape.width)?, gpu.allocate(tokens * shape.heads)?);
        let mut arguments = arguments(gpu, shape)?;
        arguments.extend([gpu.read(projections)?, Argument::from(&output), Argument::from(&log_sums)]);
        let grid = grid(shape, shape.offsets.longest()).with_shared(3 * self.tile_bytes() + SCORES_BYTES);
        gpu.launch("self_attention", self.forward, grid, &arguments)?;
        Ok([output, log_sums])
    }

    /// dQ, dK and dV side by side `[tokens, 3 · width]`, of dO.
    pub(super) fn backward(
        &self,
        gpu: &'static Gpu,
        shape: &Shape,
        [projections, output, log_sums, gradient]: [&Tensor; 4],
    ) -> Result<Memory> {
        let longest = shape.offsets.longest();
        let row_sums = row_sums(gpu, shape, output, gradient)?;
        let gradients = gpu.allocate(projections.len())?;
        let mut arguments = arguments(gpu, shape)?;
        arguments.extend([gpu.read(projections)?, gpu.read(log_sums)?, Argument::from(&row_sums)]);
        arguments.extend([gpu.read(gradient)?, Argument::from(&gradients)]);
        let shared_bytes = 4 * self.tile_bytes() + 2 * SCORES_BYTES;
        let grid = |longest| grid(shape, longest).with_shared(shared_bytes);
        gpu.launch("self_attention_whole", self.whole, grid(longest.min(TILE)), &arguments)?;
        if longest > TILE {
            gpu.launch("self_attention_queries", self.queries, grid(longest), &arguments)?;
            gpu.launch("self_attention_keys", self.keys, grid(longest), &arguments)?;
        }
        Ok(gradients)
    }

    /// Bytes of a tile of rows: they are four values apart, and every four of them four more.
    fn tile_bytes(&self) -> usize {
        4 * TILE * (self.head_width + 5)
    }
}

/// Σ over each head's columns of dO ⊙ O, `[heads, tokens]`.
fn row_sums(gpu: &'static Gpu, shape: &Shape, output: &Tensor, gradient: &Tensor) -> Result<Memory> {
    const THREADS: u32 = 256;
    const ROWS_A_BLOCK: usize = 8;
    let rows = shape.offsets.rows() * shape.heads;
    let sums = gpu.allocate(rows)?;
    let sizes = [shape.offsets.rows(), shape.heads, shape.head_width()].map(Argument::from);
    let [output, gradient] = [gpu.read(output)?, gpu.read(gradient)?];
    let arguments = [&[output, gradient][..], &sizes, &[Argument::from(&sums)]].concat();
    let grid = Grid::blocks(rows.div_ceil(ROWS_A_BLOCK), THREADS);
    gpu.launch("self_attention", "self_attention_row_sums", grid, &arguments)?;
    Ok(sums)
}

/// A block for each text, each head and each tile that a text of up to `longest` tokens may have.
fn grid(shape: &Shape, longest: usize) -> Grid {
    Grid::blocks(shape.offsets.segments(), THREADS).times(shape.heads, longest.div_ceil(TILE))
}

/// What the parameters of each kernel begin with.
fn arguments(gpu: &'static Gpu, shape: &Shape) -> Result<Vec<Argument>> {
    let (offsets, dropout) = (&shape.offsets, &shape.dropout);
    let mut arguments = vec![offsets.on(gpu)?];
    let window = shape.window.min(offsets.longest());
    arguments.extend([offsets.rows(), shape.heads, shape.head_width(), window].map(Argument::from));
    arguments.extend(dropout.arguments());
    Ok(arguments)
}
