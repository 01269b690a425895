//! How fast the matrix products of an encoder layer are on one thread, and how many times as fast on several.
//!
//!     cargo run --release -p polytask-examples --bin products
//!
//! Each product of a training step, in f32: X W, its gradients dX = dY Wᵀ and dW = Xᵀ dY. One thread and several take turns, a
//! few milliseconds each. Of their times the fastest thousandth counts, since whatever else runs on the machine only slows it
//! down. Prints a line of JSON for each product.

#![allow(clippy::print_stdout, reason = "a program")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use clap::Parser;
use polytask_tensor::Tensor;
use polytask_tensor::ops::{Side, matrix_product};
use rayon::ThreadPool;
use serde_json::json;

/// As the `polytask` program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TURN: Duration = Duration::from_millis(5);
/// One in so many times may be faster than the one that counts.
const FASTER: usize = 1000;

#[derive(Parser)]
struct Arguments {
    /// Widths of the encoder
    #[arg(long, value_delimiter = ',', default_values_t = [128, 384])]
    widths: Vec<usize>,
    /// Tokens of a batch
    #[arg(long, default_value_t = 384)]
    rows: usize,
    /// Threads to compare with one
    #[arg(long, default_value = "2")]
    threads: NonZeroUsize,
    /// Seconds for each product
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pools = [pool(1)?, pool(arguments.threads.get())?];
    for &width in &arguments.widths {
        for (inputs, outputs) in [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
        {
            layer(inputs, outputs, &arguments, &pools)?;
        }
    }
    Ok(())
}

/// The three products of one weight.
fn layer(
    inputs: usize,
    outputs: usize,
    arguments: &Arguments,
    pools: &[ThreadPool; 2],
) -> anyhow::Result<()> {
    let x = Tensor::full(&[arguments.rows, inputs], 0.5);
    let weight = Tensor::full(&[inputs, outputs], 0.25);
    let gradient = Tensor::full(&[arguments.rows, outputs], 0.125);
    let products = [
        ("X W", (&x, Side::Plain), (&weight, Side::Plain)),
        ("dY Wᵀ", (&gradient, Side::Plain), (&weight, Side::Transposed)),
        ("Xᵀ dY", (&x, Side::Transposed), (&gradient, Side::Plain)),
    ];
    let flop = 2.0 * (arguments.rows * inputs * outputs) as f64;
    for (product, left, right) in products {
        let seconds = fastest(left, right, Duration::from_secs(arguments.seconds), pools)?;
        let [one, several] = seconds.map(|seconds| (flop / seconds / 1e9).round());
        let ratio = (seconds[0] / seconds[1] * 1000.0).round() / 1000.0;
        println!(
            "{}",
            json!({
                "inputs": inputs, "outputs": outputs, "product": product, "threads": arguments.threads,
                "gflop_per_s_one_thread": one, "gflop_per_s": several, "times_one_thread": ratio,
            })
        );
    }
    Ok(())
}

/// Seconds of a product in each pool.
fn fastest(
    left: (&Tensor, Side),
    right: (&Tensor, Side),
    duration: Duration,
    pools: &[ThreadPool; 2],
) -> anyhow::Result<[f64; 2]> {
    let mut times = [vec![], vec![]];
    let start = Instant::now();
    while times[0].is_empty() || start.elapsed() < duration {
        for (pool, times) in pools.iter().zip(&mut times) {
            pool.install(|| -> anyhow::Result<()> {
                let turn = Instant::now();
                while turn.elapsed() < TURN {
                    let start = Instant::now();
                    black_box(matrix_product(left.0, left.1, right.0, right.1)?);
                    times.push(start.elapsed().as_secs_f64());
                }
                Ok(())
            })?;
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / FASTER]
    }))
}
