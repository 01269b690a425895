//! Forward and backward of the operations that a training step spends its time in, at the shapes of a batch of 32 short
//! texts (12 tokens each, width 128).
//!
//!     cargo bench -p polytask-tensor

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use polytask_tensor::ops::{self, CrfWeights, CrossEntropy, Forbidden, Side};
use polytask_tensor::testing::sample;
use polytask_tensor::{Ids, Offsets, RandomKey, Result, Tensor, for_each};

const TEXTS: usize = 32;
const TOKENS: usize = 12;
const ROWS: usize = TEXTS * TOKENS;
const WIDTH: usize = 128;
const TAGS: usize = 79;
const VOCABULARY: usize = 8000;

fn ids(below: usize) -> Ids {
    (0..ROWS).map(|i| (i * 7919 % below) as u32).collect::<Vec<_>>().into()
}

/// Times `operation` on tracked inputs together with its backward, on one of the pool's own threads: called from another,
/// each operation would wait for one of them to wake.
fn step(
    c: &mut Criterion,
    name: &str,
    inputs: &[Tensor],
    operation: impl Fn(&[Tensor]) -> Result<Tensor> + Sync,
) {
    let leaves: Vec<Tensor> = inputs.iter().map(Tensor::leaf).collect();
    let Ok(y) = operation(&leaves) else { return };
    let gradient = Tensor::full(y.shape(), 1.0);
    let forward_and_backward = || operation(&leaves)?.backward_from(gradient.clone());
    c.bench_function(name, |b| rayon::scope(|_| b.iter(forward_and_backward)));
}

/// The operations that go over rows once, at the width of a small and of a larger encoder.
fn rows(c: &mut Criterion) {
    let texts = Offsets::from_lengths([TOKENS; TEXTS]);
    let key = RandomKey { seed: 1, stream: 1 };
    let words = ids(VOCABULARY);
    let places: Ids = (0..ROWS).map(|i| (i % TOKENS) as u32).collect::<Vec<_>>().into();
    let features: Ids = (0..4 * ROWS).map(|i| (i * 7919 % VOCABULARY) as u32).collect::<Vec<_>>().into();
    for width in [WIDTH, 3 * WIDTH] {
        let of_width = |name: &str| format!("{name}, {width} wide");
        let tensors =
            [sample(&[ROWS, width], 1), sample(&[ROWS, width], 2), sample(&[width], 3), sample(&[width], 4)];
        let (x, norm) = (&tensors[..1], [tensors[0].clone(), tensors[2].clone(), tensors[3].clone()]);
        step(c, &of_width("layer norm"), &norm, |t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-5));
        step(c, &of_width("dropout"), x, |t| ops::dropout(&t[0], 0.1, key));
        for (with, dropout) in [("", None), (" with dropout", Some((0.1, key)))] {
            step(c, &of_width(&format!("residual{with}")), &tensors[..2], |t| {
                ops::residual(&t[0], &t[1], dropout)
            });
            step(c, &of_width(&format!("residual and layer norm{with}")), &tensors, |t| {
                ops::residual_layer_norm(&t[0], &t[1], dropout, &t[2], &t[3], 1e-5)
            });
        }
        step(c, &of_width("window of 3"), x, |t| ops::window(&t[0], &texts, 1));
        step(c, &of_width("segment mean"), x, |t| ops::segment_mean(&t[0], &texts));
        step(c, &of_width("softmax"), x, |t| ops::softmax(&t[0]));
        let tables =
            [sample(&[VOCABULARY, width], 5), sample(&[VOCABULARY, width], 6), sample(&[512, width], 7)];
        step(c, &of_width("embedding"), &tables[..1], |t| ops::embedding(&t[0], &words));
        step(c, &of_width("embeddings, four features and places"), &tables, |t| {
            ops::embedding_sum(&[(&t[0], &words), (&t[1], &features), (&t[2], &places)], ROWS)
        });
    }
}

fn operations(c: &mut Criterion) {
    let x = sample(&[ROWS, WIDTH], 1);
    let texts = Offsets::from_lengths([TOKENS; TEXTS]);
    let key = RandomKey { seed: 1, stream: 1 };

    let up = [x.clone(), sample(&[4 * WIDTH, WIDTH], 2), sample(&[4 * WIDTH], 3)];
    step(c, "linear 128 to 512", &up, |t| ops::linear(&t[0], &t[1], Some(&t[2])));
    step(c, "gelu 512", &[sample(&[ROWS, 4 * WIDTH], 4)], |t| ops::gelu(&t[0]));
    let projections = [sample(&[ROWS, 3 * WIDTH], 8)];
    step(c, "self-attention", &projections, |t| {
        ops::self_attention(&t[0], &texts, 4, None, Some((0.1, key)))
    });
    let queries = [x, sample(&[1, WIDTH], 10), sample(&[1, WIDTH], 11)];
    step(c, "task attention, 2 tasks", &queries, |t| {
        ops::task_attention(&t[0], &[&t[1], &t[2]], &texts).map(|gathered| gathered.pooled)
    });

    let logits = sample(&[ROWS, TAGS], 12);
    step(c, "cross-entropy, 79 tags", std::slice::from_ref(&logits), |t| {
        ops::cross_entropy(&t[0], &ids(TAGS), &CrossEntropy::default())
    });
    let crf = [logits, sample(&[TAGS, TAGS], 13), sample(&[TAGS], 14), sample(&[TAGS], 15)];
    let forbidden = Forbidden::new(TAGS);
    step(c, "crf, 79 tags", &crf, |t| {
        let weights = CrfWeights { transitions: &t[1], start: &t[2], end: &t[3], forbidden: &forbidden };
        ops::crf_loss(&t[0], &weights, &ids(TAGS), &texts)
    });
}

/// The products of an encoder layer alone: X W, dX = dY Wᵀ and dW = Xᵀ dY. How they fare on two threads, `examples/products.rs`
/// tells.
fn products(c: &mut Criterion) {
    use Side::{Plain, Transposed};
    for width in [WIDTH, 3 * WIDTH] {
        for (inputs, outputs) in [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
        {
            let (x, weight) = (sample(&[ROWS, inputs], 1), sample(&[inputs, outputs], 2));
            let gradient = sample(&[ROWS, outputs], 3);
            let mut product = |what: &str, a: &Tensor, side_a, b: &Tensor, side_b| {
                let product = || ops::matrix_product(a, side_a, b, side_b);
                let name = format!("product {inputs} to {outputs}, {what}");
                c.bench_function(&name, |b| rayon::scope(|_| b.iter(product)));
            };
            product("X W", &x, Plain, &weight, Plain);
            product("dY Wᵀ", &gradient, Plain, &weight, Transposed);
            product("Xᵀ dY", &x, Transposed, &gradient, Plain);
        }
    }
}

/// What it takes to hand out work: beyond 5 µs on two threads, whose cores must tell each other.
fn handing_out(c: &mut Criterion) {
    let work = |_| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(5) {
            spin_loop();
        }
    };
    c.bench_function("two calls of 5 µs, handed out", |b| {
        rayon::scope(|_| b.iter(|| for_each(0..2, work)));
    });
}

criterion_group!(benches, operations, rows, products, handing_out);
criterion_main!(benches);
