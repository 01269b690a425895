//! The time of one training step at fixed work, and of its parts, beside what its matrix products alone would take.
//!
//!     cargo run --release -p polytask-examples --bin training_step -- IDS.json --layers 6 --width 384 --heads 12
//!
//! IDS.json is `{"train": [[token id, …], …]}`, cut into batches in that order. The encoder is post-norm, from scratch:
//! 30,522 pieces, 512 learnt positions, a feed-forward width of four times `width`, dropout 0.1 everywhere. On it three
//! heads with a summed loss: 7 classes and 2 classes a text, 73 tags a token. A step is forward, backward, clipping at
//! norm 1 and AdamW. Prints one line of JSON. On a GPU (`--device cuda`) steps are timed as a whole.

#![allow(clippy::print_stdout, reason = "a program")]

mod gpu_step;
mod measure;
mod product_rate;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use measure::{median, peak_rss_mib, quantile, read_json, rounded, set_precision, start_threads};
use polytask_classification::Classification;
use polytask_data::{Encoded, Tokenizer};
use polytask_encoder::{Norm, Transformer};
use polytask_model::{Example, LabelledBatch, Model, ModelConfig, ModelTask, TaskAttentionConfig};
use polytask_ner::{Decoder, Ner};
use polytask_task::{Classes, Labels, Target, Task, TaskSettings};
use polytask_tensor::{
    Device, Gradient, Gradients, Parameter, ParameterId, Parameters, Pass, Precision, Tensor, ops,
};
use polytask_trainer::{AdamW, OptimizerState, Update, clipping_factor, gradient_norm};
use serde_json::json;

/// As the `polytask` program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VOCABULARY: usize = 30_522;
const POSITIONS: usize = 512;
const DROPOUT: f32 = 0.1;
const LEARNING_RATE: f32 = 1e-4;
const MAX_NORM: f32 = 1.0;
/// With the tag `O`, and `B-` and `I-` of each: 73 tags.
const ENTITY_TYPES: usize = 36;

#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Token ids as JSON.
    ids: PathBuf,
    #[arg(long, default_value = "2")]
    layers: usize,
    #[arg(long, default_value = "128")]
    width: usize,
    #[arg(long, default_value = "4")]
    heads: usize,
    /// Texts a batch.
    #[arg(long, default_value = "32")]
    batch: usize,
    #[arg(long, default_value = "30")]
    steps: usize,
    /// Steps before those that count.
    #[arg(long, default_value = "5")]
    warm: usize,
    #[arg(long, default_value = "2")]
    threads: usize,
    /// Instead of the three heads: so many classifiers of a text into 7 classes.
    #[arg(long)]
    classifiers: Option<usize>,
    /// In what the products are computed: f32 or bf16.
    #[arg(long, default_value = "f32")]
    precision: String,
    /// cpu, cuda, cuda:NUMBER, or emulated where that is built in.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// On a GPU: each step is one CUDA graph.
    #[arg(long)]
    graphs: bool,
}

impl Arguments {
    fn feed_forward(&self) -> usize {
        4 * self.width
    }

    fn model(&self) -> anyhow::Result<Model> {
        let encoder = Transformer {
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            feed_forward: self.feed_forward(),
            norm: Norm::Post,
            window: 0,
            word_shapes: 0,
            dropout: DROPOUT,
            attention_dropout: DROPOUT,
            word_dropout: 0.0,
            ..Transformer::default()
        };
        let tasks = match self.classifiers {
            Some(number) => (0..number).map(|place| task(place, classifier(7))).collect(),
            None => vec![task(0, classifier(7)), task(1, tagger()), task(2, classifier(2))],
        };
        let (encoder, task_attention) = (Box::new(encoder), TaskAttentionConfig::default());
        let (adapters, precision) = (Vec::new(), Precision::F32);
        let config = ModelConfig { encoder, task_attention, tasks, adapters, precision };
        let mut model = Model::new(config, tokenizer()?, 0)?;
        set_precision(&mut model, &self.precision)?;
        Ok(model)
    }
}

fn task(place: usize, task: Box<dyn Task>) -> ModelTask {
    let name = format!("task{place}");
    ModelTask {
        settings: TaskSettings { label: Labels::One(format!("data.{name}")), name, weight: 1.0 },
        task,
    }
}

fn classifier(classes: usize) -> Box<dyn Task> {
    Box::new(Classification { labels: numbered(classes), ..Classification::default() })
}

fn tagger() -> Box<dyn Task> {
    Box::new(Ner { labels: numbered(ENTITY_TYPES), decoder: Decoder::Softmax })
}

fn numbered(classes: usize) -> Classes {
    (0..classes).map(|class| class.to_string()).collect::<Vec<_>>().into()
}

/// Cuts nothing, since the ids are given: it only tells the model the size of the vocabulary and the longest text.
fn tokenizer() -> anyhow::Result<Tokenizer> {
    let json = json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": POSITIONS, "strategy": "LongestFirst", "stride": 0 },
        "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": { "[UNK]": 0, "[LAST]": VOCABULARY - 1 }, "unk_token": "[UNK]" },
    });
    Ok(Tokenizer::from_json(&json.to_string())?)
}

#[derive(serde::Deserialize)]
struct TokenIds {
    train: Vec<Vec<u32>>,
}

/// Texts with made-up labels; each piece is a word of its own, so that each has a tag.
fn examples(texts: &[Vec<u32>], model: &Model) -> Vec<Example> {
    let example = |(place, ids): (usize, &Vec<u32>)| {
        let encoded = Encoded {
            ids: ids.clone(),
            piece_offsets: (0..=ids.len() as u32).collect(),
            shapes: vec![[0; 4]; ids.len()],
            truncated_words: 0,
        };
        let target = |task: &ModelTask| {
            let classes = task.task.outputs();
            let labels = match task.task.level() {
                polytask_task::Level::Text => vec![(place % classes) as u32],
                polytask_task::Level::Word => (0..ids.len()).map(|token| (token % classes) as u32).collect(),
                polytask_task::Level::Piece => Vec::new(),
            };
            Some(Target::Ids(labels))
        };
        Example { encoded, targets: model.config().tasks.iter().map(target).collect() }
    };
    texts.iter().enumerate().map(example).collect()
}

/// What a step changes.
struct Training {
    model: Model,
    optimizer: AdamW,
    state: OptimizerState,
    step: u64,
}

/// What a step took.
#[derive(Clone, Copy, Default)]
struct Times {
    forward: Duration,
    backward: Duration,
    optimizer: Duration,
}

impl Training {
    fn new(model: Model) -> Self {
        let optimizer = AdamW { weight_decay: 0.01, ..AdamW::default() };
        let state = OptimizerState::new(&optimizer, model.parameters());
        Self { model, optimizer, state, step: 0 }
    }

    /// One step on a batch: its loss, and what it took.
    fn step(&mut self, batch: &[&Example]) -> anyhow::Result<(f32, Times)> {
        self.step += 1;
        let start = Instant::now();
        let sum = self.forward(batch)?;
        let loss = sum.item()?;
        let forward = start.elapsed();
        let gradients = sum.backward()?;
        let backward = start.elapsed() - forward;
        self.update(gradients)?;
        Ok((loss, Times { forward, backward, optimizer: start.elapsed() - forward - backward }))
    }

    /// The sum of the tasks' losses.
    fn forward(&self, batch: &[&Example]) -> anyhow::Result<Tensor> {
        let (model, parameters) = (&self.model, self.model.parameters());
        let LabelledBatch { texts, labelled, targets } = model.labelled_batch(batch);
        let forward = model.forward(parameters, &texts, &labelled, &mut Pass::training(0, self.step))?;
        let mut sum = Tensor::scalar(0.0);
        for (index, output) in forward.outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            let targets: Vec<_> = targets[index].iter().collect();
            let loss =
                model.with_task(index, parameters, output, |task, output| task.loss(output, &targets))?;
            sum = ops::add(&sum, &loss)?;
        }
        Ok(sum)
    }

    /// Clipping and AdamW.
    fn update(&mut self, gradients: Gradients) -> anyhow::Result<()> {
        let parameters = self.model.parameters_mut();
        let gradients = of_parameters(parameters, gradients);
        let norm = gradient_norm(gradients.iter().map(|(_, gradient)| gradient));
        let gradient_factor = clipping_factor(norm, MAX_NORM);
        let update = Update { learning_rate: LEARNING_RATE, step: self.step, gradient_factor, decays: true };
        self.state.apply(&self.optimizer, parameters, &gradients, update)?;
        Ok(())
    }
}

fn of_parameters(parameters: &Parameters, mut gradients: Gradients) -> Vec<(ParameterId, Gradient)> {
    let gradient =
        |(id, parameter): (ParameterId, &Parameter)| Some((id, gradients.take(parameter.tensor())?));
    parameters.iter().filter_map(gradient).collect()
}

/// The pieces of a batch's texts.
fn pieces(batch: &[&Example]) -> usize {
    batch.iter().map(|text| text.encoded.pieces()).sum()
}

fn main() -> anyhow::Result<()> {
    let arguments = <Arguments as clap::Parser>::parse();
    let texts = read_json::<TokenIds>(&arguments.ids)?.train;
    let most = arguments.batch * (arguments.warm + arguments.steps);
    let texts = &texts[..texts.len().min(most)];
    ensure!(!texts.is_empty() && arguments.batch > 0, "no texts in {}", arguments.ids.display());
    start_threads(arguments.threads)?;
    let mut training = Training::new(arguments.model()?);
    let examples = examples(texts, &training.model);
    let examples: Vec<&Example> = examples.iter().collect();
    let batches: Vec<&[&Example]> = examples.chunks(arguments.batch).collect();
    if arguments.device != Device::Cpu {
        println!("{}", rayon::scope(|_| gpu_step::measure(&arguments, training, &batches))?);
        return Ok(());
    }

    let tokens = median(&batches.iter().map(|batch| pieces(batch) as f64).collect::<Vec<_>>());
    let rate = product_rate::flops_per_second(tokens as usize, arguments.width, arguments.feed_forward());

    let (mut times, mut losses) = (Vec::new(), Vec::new());
    // From within the thread pool, handing out work wakes nobody who waits outside.
    rayon::scope(|_| -> anyhow::Result<()> {
        for batch in batches.iter().cycle().take(arguments.warm + arguments.steps) {
            let (loss, took) = training.step(batch)?;
            times.push(took);
            losses.push(loss);
        }
        Ok(())
    })?;

    let times = &times[arguments.warm..];
    let measured = || batches.iter().cycle().skip(arguments.warm).take(arguments.steps);
    let milliseconds = |part: fn(&Times) -> Duration| -> Vec<f64> {
        times.iter().map(|step| part(step).as_secs_f64() * 1e3).collect()
    };
    let all = milliseconds(|step| step.forward + step.backward + step.optimizer);
    let part = |part| rounded(median(&milliseconds(part)), 2);
    let spread = [0.1, 0.9].map(|share| rounded(quantile(&all, share), 2));
    let tokens: usize = measured().map(|batch| pieces(batch)).sum();
    let flops =
        median(&measured().map(|batch| product_rate::step_flops(batch, &arguments)).collect::<Vec<_>>());
    let result = json!({
        "ms_per_step": rounded(median(&all), 2),
        "p10_p90_ms": spread,
        "forward_ms": part(|step| step.forward),
        "backward_ms": part(|step| step.backward),
        "optimizer_ms": part(|step| step.optimizer),
        "tokens_per_s": (tokens as f64 / all.iter().sum::<f64>() * 1e3).round(),
        "gflop_per_step": rounded(flops / 1e9, 2),
        "gflop_per_s_one_core": rounded(rate / 1e9, 1),
        "products_alone_ms": rounded(flops / (rate * arguments.threads as f64) * 1e3, 2),
        "loss": [losses.first(), losses.last()],
        "peak_rss_mb": peak_rss_mib(),
    });
    println!("{result}");
    Ok(())
}
