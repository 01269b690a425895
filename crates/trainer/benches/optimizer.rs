//! The norm of all gradients, and one step of clipping and AdamW, on one thread and on two.
//!
//!     cargo bench -p polytask-trainer

use criterion::{Criterion, criterion_group, criterion_main};
use polytask_tensor::testing::sample;
use polytask_tensor::{Gradient, ParameterId, Parameters, RowGradient};
use polytask_trainer::{AdamW, OptimizerState, Update, clipping_factor, gradient_norm};

/// Texts of a batch come to so many different pieces.
const TOUCHED: usize = 385;
const VOCABULARY: usize = 30_000;

struct Size {
    layers: usize,
    width: usize,
}

/// The parameters of an encoder's layers and an embedding, each with a gradient.
fn problem(size: &Size) -> (Parameters, Vec<(ParameterId, Gradient)>) {
    let (mut parameters, mut gradients) = (Parameters::default(), Vec::new());
    let (width, inner) = (size.width, 4 * size.width);
    let mut insert = |name: String, shape: &[usize], gradient: Option<Gradient>| {
        let values = sample(shape, gradients.len() as u64);
        let Ok(id) = parameters.insert(&name, &values) else { return };
        gradients.push((id, gradient.unwrap_or(Gradient::Dense(values))));
    };
    let rows = (0..TOUCHED).map(|place| (place * VOCABULARY / TOUCHED) as u32).collect();
    let touched = RowGradient { rows, values: sample(&[TOUCHED, width], 1), total_rows: VOCABULARY };
    insert("embedding".into(), &[VOCABULARY, width], Some(Gradient::Rows(touched)));
    for layer in 0..size.layers {
        let linears = [
            ("query_key_value", width, 3 * width),
            ("output", width, width),
            ("up", width, inner),
            ("down", inner, width),
        ];
        for (part, inputs, outputs) in linears {
            insert(format!("{layer}.{part}.weight"), &[inputs, outputs], None);
            insert(format!("{layer}.{part}.bias"), &[outputs], None);
        }
        for norm in ["first", "second"] {
            insert(format!("{layer}.{norm}.gain"), &[width], None);
            insert(format!("{layer}.{norm}.bias"), &[width], None);
        }
    }
    (parameters, gradients)
}

fn optimizer(c: &mut Criterion) {
    for (name, size) in
        [("6 x 384", Size { layers: 6, width: 384 }), ("2 x 128", Size { layers: 2, width: 128 })]
    {
        let (mut parameters, gradients) = problem(&size);
        let optimizer = AdamW::default();
        let mut state = OptimizerState::new(&optimizer, &parameters);
        let mut step = 0;
        let mut train = || {
            step += 1;
            let norm = gradient_norm(gradients.iter().map(|(_, gradient)| gradient));
            let gradient_factor = clipping_factor(norm, 1.0);
            let update = Update { learning_rate: 1e-3, step, gradient_factor, decays: true };
            state.apply(&optimizer, &mut parameters, &gradients, update)
        };
        for threads in [1, 2] {
            let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(threads).build() else { continue };
            c.bench_function(&format!("clip and AdamW {name}, {threads} threads"), |b| {
                pool.install(|| b.iter(&mut train));
            });
            c.bench_function(&format!("norm {name}, {threads} threads"), |b| {
                pool.install(|| b.iter(|| gradient_norm(gradients.iter().map(|(_, gradient)| gradient))));
            });
        }
    }
}

criterion_group!(benches, optimizer);
criterion_main!(benches);
