//! The step on a GPU. Nothing is read back within a step, so steps are timed as a whole; beside them their matrix products
//! alone, by the same library: what no step built on it can pass.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, ensure};
use polytask_model::Example;
use polytask_tensor::{Capture, GradientNorm, Parameters, Tensor, ops, testing};
use polytask_trainer::Update;
use serde_json::{Value, json};

use crate::measure::{median, peak_rss_mib, rounded};
use crate::product_rate::step_flops;
use crate::{Arguments, LEARNING_RATE, MAX_NORM, Training, of_parameters, pieces};

const ROUNDS: usize = 3;

/// What is printed of steps on `arguments.device`.
pub(crate) fn measure(
    arguments: &Arguments,
    mut training: Training,
    batches: &[&[&Example]],
) -> anyhow::Result<Value> {
    let batch = |step: usize| batches[step % batches.len()];
    training.model.parameters_mut().move_to(arguments.device)?;
    training.state.move_to(arguments.device)?;
    // Two and no more: memory that is not given back must be allocated anew in each step.
    let mut losses: Option<[Tensor; 2]> = None;
    let steps = rounds(arguments, |step| {
        let capture = if arguments.graphs { Capture::begin(arguments.device)? } else { None };
        let loss = training.step_on_gpu(batch(step))?;
        capture.map_or(Ok(()), Capture::launch)?;
        let first = losses.take().map_or_else(|| loss.clone(), |[first, _]| first);
        losses = Some([first, loss]);
        Ok(())
    })?;
    let [first, last] = losses.context("--warm and --steps are 0: there is nothing to measure")?;
    let losses = [first.item()?, last.item()?];
    ensure!(losses.iter().all(|loss| loss.is_finite()), "the first and the last loss are {losses:?}");

    let graphs = testing::graph_counts(arguments.device)?;
    let most = batches.iter().map(|batch| pieces(batch)).max().unwrap_or_default();
    let products = Products::new(arguments, &training, most)?;
    drop(training);
    let alone = median(&rounds(arguments, |step| products.step(pieces(batch(step))))?);

    let measured = || arguments.measured().map(batch);
    let tokens: usize = measured().map(pieces).sum();
    let flops = median(&measured().map(|batch| step_flops(batch, arguments)).collect::<Vec<_>>());
    let milliseconds = median(&steps);
    Ok(json!({
        "device": arguments.device.to_string(),
        "precision": arguments.precision,
        "graphs": { "launched": graphs.launched, "instantiated": graphs.instantiated },
        "ms_per_step": rounded(milliseconds, 3),
        "rounds_ms": steps.iter().map(|&round| rounded(round, 3)).collect::<Vec<_>>(),
        "tokens_per_s": (tokens as f64 / arguments.steps as f64 / milliseconds * 1e3).round(),
        "gflop_per_step": rounded(flops / 1e9, 2),
        "products_alone_ms": rounded(alone, 3),
        "fraction_of_floor": rounded(alone / milliseconds, 3),
        "loss": losses,
        "peak_rss_mb": peak_rss_mib(),
    }))
}

impl Arguments {
    /// The numbers of the steps of a round: each round has the same batches.
    fn measured(&self) -> std::ops::Range<usize> {
        self.warm..self.warm + self.steps
    }
}

/// Milliseconds a step in each round, from the rest of the device to its next rest, after the steps before those that count.
fn rounds(
    arguments: &Arguments,
    mut step: impl FnMut(usize) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<f64>> {
    (0..arguments.warm).try_for_each(&mut step)?;
    let mut round = || {
        arguments.device.synchronize()?;
        let start = Instant::now();
        arguments.measured().try_for_each(&mut step)?;
        arguments.device.synchronize()?;
        Ok(start.elapsed().as_secs_f64() * 1e3 / arguments.steps as f64)
    };
    (0..ROUNDS).map(|_| round()).collect()
}

impl Training {
    /// One step on a batch: its loss, which stays on the GPU.
    fn step_on_gpu(&mut self, batch: &[&Example]) -> anyhow::Result<Tensor> {
        self.step += 1;
        let sum = self.forward(batch)?;
        let loss = sum.detach();
        let gradients = sum.backward()?;
        let parameters = self.model.parameters_mut();
        let gradients = of_parameters(parameters, gradients);
        let norm = GradientNorm::of(gradients.iter().map(|(_, gradient)| gradient), 1, MAX_NORM)?;
        let norm = norm.context("no gradient lies on the GPU")?;
        let update =
            Update { learning_rate: LEARNING_RATE, step: self.step, gradient_factor: 1.0, decays: true };
        self.state.apply_on_gpu(&self.optimizer, parameters, &gradients, update, &norm)?;
        Ok(loss)
    }
}

/// The products of the linear layers of the encoder.
struct Products {
    /// A matrix for each layer: the same one again would be read from a cache.
    weights: Parameters,
    /// By their number of columns: `[tokens, columns]`, what goes into a layer and the gradients of what comes out.
    rows: BTreeMap<usize, Tensor>,
}

impl Products {
    fn new(arguments: &Arguments, training: &Training, most_tokens: usize) -> anyhow::Result<Self> {
        let (width, inner) = (arguments.width, arguments.feed_forward());
        let mut weights = Parameters::default();
        for layer in 0..arguments.layers {
            for (place, shape) in
                [[width, 3 * width], [width, width], [width, inner], [inner, width]].iter().enumerate()
            {
                weights.insert(&format!("{layer}.{place}"), &testing::sample(shape, layer as u64))?;
            }
        }
        weights.set_precision(training.model.config().precision);
        weights.move_to(arguments.device)?;
        let rows = |columns| Ok((columns, testing::sample(&[most_tokens, columns], 0).to(arguments.device)?));
        let rows = [width, 3 * width, inner].into_iter().map(rows).collect::<anyhow::Result<_>>()?;
        Ok(Self { weights, rows })
    }

    /// Forward and both backward products of every layer. In bf16 all sides are rounded once, in the first step.
    fn step(&self, tokens: usize) -> anyhow::Result<()> {
        let rows = |columns: usize| {
            let all = self.rows.get(&columns).context("a width that no layer has")?;
            Ok::<_, anyhow::Error>(ops::rows(all, 0..tokens)?)
        };
        // As long as a step keeps them, so that each is written to memory of its own.
        let mut gradients = Vec::new();
        for (_, weight) in self.weights.iter() {
            let (inputs, outputs) = weight.tensor().rows_columns();
            let y = ops::linear(&rows(inputs)?.leaf(), weight.tensor(), None)?;
            gradients.push(y.backward_from(rows(outputs)?)?);
        }
        Ok(())
    }
}
