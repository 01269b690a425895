//! The kernels of `kernels/task_attention.cu`.

use super::{Attend, Shape};
use crate::cuda::{Argument, Gpu, Grid, Memory};
use crate::{Result, Tensor};

const FILE: &str = "task_attention";
const THREADS: u32 = 256;

/// B, the queries of all tasks one below another.
pub(super) fn query_rows(gpu: &'static Gpu, queries: &[&Tensor]) -> Result<Tensor> {
    let values = queries.iter().map(|query| query.len()).sum();
    let rows = gpu.allocate(values)?;
    let mut first = 0;
    for query in queries {
        gpu.copy(gpu.read(query)?, &rows, first, query.len())?;
        first += query.len();
    }
    Ok(Tensor::on_gpu(rows, &[values]))
}

/// α, then P.
pub(super) fn forward(
    gpu: &'static Gpu,
    shape: &Shape,
    x: &Tensor,
    query_rows: &Tensor,
) -> Result<[Memory; 2]> {
    let weights = gpu.allocate(shape.offsets.rows() * shape.columns())?;
    let pooled = gpu.allocate(shape.of_pooled().iter().product())?;
    let arguments = [
        shape.offsets.on(gpu)?,
        gpu.read(x)?,
        gpu.read(query_rows)?,
        shape.heads.into(),
        shape.width.into(),
        Argument::from(&weights),
        Argument::from(&pooled),
    ];
    gpu.launch(FILE, "task_attention_forward", grid(shape), &arguments)?;
    Ok([weights, pooled])
}

/// dX, and dβ of all tasks one below another: summed in each text, then over the texts.
pub(super) fn backward(gpu: &'static Gpu, attend: &Attend, gradient: &Tensor) -> Result<[Tensor; 2]> {
    let Attend { x, query_rows, weights, shape, .. } = attend;
    let (texts, columns) = (shape.offsets.segments(), shape.columns());
    let d_logits = gpu.allocate(weights.len())?;
    let d_queries = gpu.allocate(texts * columns * shape.width)?;
    let [offsets, weights, d_pooled] = [shape.offsets.on(gpu)?, gpu.read(weights)?, gpu.read(gradient)?];
    let [heads, width] = [shape.heads.into(), shape.width.into()];
    let results = [Argument::from(&d_logits), Argument::from(&d_queries)];
    let arguments = [&[offsets, gpu.read(x)?, weights, d_pooled, heads, width][..], &results].concat();
    gpu.launch(FILE, "task_attention_d_logits", grid(shape), &arguments)?;

    let dx = gpu.allocate(x.len())?;
    let inputs = [offsets, weights, Argument::from(&d_logits), gpu.read(query_rows)?, d_pooled];
    let arguments = [&inputs[..], &[columns.into(), heads, width, Argument::from(&dx)]].concat();
    gpu.launch(FILE, "task_attention_dx", grid_of_dx(shape), &arguments)?;

    let d_queries = Tensor::on_gpu(d_queries, &[texts, columns * shape.width]);
    let d_queries = Tensor::on_gpu(gpu.sum_over_rows(&d_queries)?, &[columns, shape.width]);
    Ok([Tensor::on_gpu(dx, x.shape()), d_queries])
}

/// A block for each text and each column of the weights.
fn grid(shape: &Shape) -> Grid {
    Grid::blocks(shape.offsets.segments(), THREADS).times(shape.columns(), 1)
}

/// A block for each text and each few rows that it may have.
fn grid_of_dx(shape: &Shape) -> Grid {
    const ROWS: usize = 8;
    Grid::blocks(shape.offsets.segments(), THREADS).times(shape.offsets.longest().div_ceil(ROWS), 1)
}
