//! Forward and backward of the operations that a training step spends its time in, at the shapes of a batch of 32 short
//! texts (12 tokens each, width 128).
//!
//!     cargo bench -p polytask-tensor

use criterion::{Criterion, criterion_group, criterion_main};
use polytask_tensor::ops::{self, CrfWeights, CrossEntropy, Forbidden};
use polytask_tensor::testing::sample;
use polytask_tensor::{Ids, Offsets, RandomKey, Result, Tensor};

const TEXTS: usize = 32;
const TOKENS: usize = 12;
const ROWS: usize = TEXTS * TOKENS;
const WIDTH: usize = 128;
const TAGS: usize = 79;
const VOCABULARY: usize = 8000;

fn ids(below: usize) -> Ids {
    (0..ROWS).map(|i| (i * 7919 % below) as u32).collect::<Vec<_>>().into()
}

/// Times `operation` on tracked inputs together with its backward.
fn step(c: &mut Criterion, name: &str, inputs: &[Tensor], operation: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let leaves: Vec<Tensor> = inputs.iter().map(Tensor::leaf).collect();
    let forward_and_backward = || {
        let y = operation(&leaves)?;
        let gradient = Tensor::full(y.shape(), 1.0);
        y.backward_from(gradient)
    };
    c.bench_function(name, |b| b.iter(forward_and_backward));
}

fn operations(c: &mut Criterion) {
    let x = sample(&[ROWS, WIDTH], 1);
    let texts = Offsets::from_lengths([TOKENS; TEXTS]);
    let key = RandomKey { seed: 1, stream: 1 };

    let up = [x.clone(), sample(&[4 * WIDTH, WIDTH], 2), sample(&[4 * WIDTH], 3)];
    step(c, "linear 128 to 512", &up, |t| ops::linear(&t[0], &t[1], Some(&t[2])));
    step(c, "gelu 512", &[sample(&[ROWS, 4 * WIDTH], 4)], |t| ops::gelu(&t[0]));
    let norm = [x.clone(), sample(&[WIDTH], 5), sample(&[WIDTH], 6)];
    step(c, "layer norm", &norm, |t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-5));
    step(c, "dropout", std::slice::from_ref(&x), |t| ops::dropout(&t[0], 0.1, key));
    step(c, "embedding", &[sample(&[VOCABULARY, WIDTH], 7)], |t| ops::embedding(&t[0], &ids(VOCABULARY)));
    step(c, "window of 3", std::slice::from_ref(&x), |t| ops::window(&t[0], &texts, 1));

    let projections = [x.clone(), sample(&[ROWS, WIDTH], 8), sample(&[ROWS, WIDTH], 9)];
    step(c, "self-attention", &projections, |t| ops::self_attention(&t[0], &t[1], &t[2], &texts, 4, None));
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

criterion_group!(benches, operations);
criterion_main!(benches);
