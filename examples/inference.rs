//! How fast a model folder answers: in batches, one text at a time, and from the start of the process.
//!
//!     cargo run --release -p polytask-examples --bin inference -- MODEL TEXTS.json
//!
//! TEXTS.json is `{"texts": [text, …], "singles": {name: [text, …], …}}`. The texts are answered in batches, in their
//! order and sorted by length; each list of singles is answered one text at a time. An answer is what a user gets: from
//! the text, tokenization included, to all tasks' predictions. The tokenizer remembers words, so each pass begins with a
//! tokenizer that has met none: to answer the same texts again would be quicker. Prints one line of JSON.

#![allow(clippy::print_stdout, reason = "a program")]

mod measure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use measure::{median, peak_rss_mib, quantile, read_json, rounded, set_precision, start_threads};
use polytask_data::{Encoded, PackedBatch, split_words};
use polytask_model::{Model, ModelFolder};
use polytask_tensor::map;
use serde_json::{Value, json};

// A task type that no crate links does not exist: a model with it could not be read.
use {polytask_classification as _, polytask_ner as _, polytask_sentiment as _};

/// As the `polytask` program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, clap::Parser)]
struct Arguments {
    /// The model folder.
    model: PathBuf,
    /// The texts as JSON.
    texts: PathBuf,
    /// Texts a batch.
    #[arg(long, default_value = "32")]
    batch: usize,
    /// Times that all batches are answered; the median counts.
    #[arg(long, default_value = "3")]
    passes: usize,
    #[arg(long, default_value = "2")]
    threads: usize,
    /// In what the products are computed: f32, bf16 or int8.
    #[arg(long, default_value = "f32")]
    precision: String,
    /// When the process was started, in seconds since 1970; else the first answer is timed from the first line of `main`.
    #[arg(long)]
    started: Option<f64>,
}

#[derive(serde::Deserialize)]
struct Texts {
    texts: Vec<String>,
    #[serde(default)]
    singles: BTreeMap<String, Vec<String>>,
}

/// Reads the model, to compute in this precision.
fn load(folder: &Path, precision: &str) -> anyhow::Result<Model> {
    let mut model = ModelFolder::new(folder).load()?;
    set_precision(&mut model, precision)?;
    Ok(model)
}

/// The same, after every fourth batch of token ids: ready, but its tokenizer has met no word.
fn ready(arguments: &Arguments, encoded: &[&Encoded]) -> anyhow::Result<Model> {
    let model = load(&arguments.model, &arguments.precision)?;
    encoded.chunks(arguments.batch).step_by(4).try_for_each(|batch| logits(&model, batch))?;
    Ok(model)
}

fn encode(model: &Model, text: &str) -> anyhow::Result<Encoded> {
    Ok(model.tokenizer().encode(text, &split_words(text))?)
}

/// From texts to the answers of all tasks.
fn answer(model: &Model, texts: &[&str]) -> anyhow::Result<()> {
    model.predict(texts, &model.tasks_named(&[])?, false)?;
    Ok(())
}

/// From token ids to the logits of all tasks: what is left of an answer without tokenization and decoding.
fn logits(model: &Model, batch: &[&Encoded]) -> anyhow::Result<()> {
    model.infer(&PackedBatch::pack(batch), &model.tasks_named(&[])?)?;
    Ok(())
}

/// Texts a second: whole answers, and their parts.
fn batches(texts: &[&str], encoded: &[&Encoded], arguments: &Arguments) -> anyhow::Result<Value> {
    let rate = |pass: &dyn Fn(&Model) -> anyhow::Result<()>| -> anyhow::Result<f64> {
        let mut seconds = Vec::new();
        for _ in 0..arguments.passes {
            let model = ready(arguments, encoded)?;
            let start = Instant::now();
            pass(&model)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(rounded(texts.len() as f64 / median(&seconds), 1))
    };
    let tokenize = |model: &Model, batch: &[&str]| {
        map(batch, |text| encode(model, text).map(drop)).into_iter().collect()
    };
    Ok(json!({
        "texts_per_s": rate(&|model| texts.chunks(arguments.batch).try_for_each(|batch| answer(model, batch)))?,
        "tokenizer_texts_per_s": rate(&|model| texts.chunks(arguments.batch).try_for_each(|batch| tokenize(model, batch)))?,
        "logits_texts_per_s": rate(&|model| encoded.chunks(arguments.batch).try_for_each(|batch| logits(model, batch)))?,
    }))
}

/// Milliseconds an answer, one text at a time.
fn latency(texts: &[String], encoded: &[&Encoded], arguments: &Arguments) -> anyhow::Result<Value> {
    let model = ready(arguments, encoded)?;
    let time = |text: &String| -> anyhow::Result<f64> {
        let start = Instant::now();
        answer(&model, &[text])?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let of_answers = texts.iter().map(time).collect::<anyhow::Result<Vec<_>>>()?;
    let encoded = texts.iter().map(|text| encode(&model, text)).collect::<anyhow::Result<Vec<_>>>()?;
    let time = |text: &Encoded| -> anyhow::Result<f64> {
        let start = Instant::now();
        logits(&model, &[text])?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let of_logits = encoded.iter().map(time).collect::<anyhow::Result<Vec<_>>>()?;
    let quantiles = |milliseconds: &[f64]| [0.5, 0.99].map(|share| rounded(quantile(milliseconds, share), 3));
    let ([p50, p99], [logits_p50, logits_p99]) = (quantiles(&of_answers), quantiles(&of_logits));
    let pieces = || encoded.iter().map(Encoded::pieces);
    Ok(json!({
        "p50_ms": p50,
        "p99_ms": p99,
        "logits_p50_ms": logits_p50,
        "logits_p99_ms": logits_p99,
        "pieces": [pieces().min(), pieces().max()],
    }))
}

fn main() -> anyhow::Result<()> {
    let arguments = <Arguments as clap::Parser>::parse();
    start_threads(arguments.threads)?;
    // As `polytask predict` does it: within the thread pool, handing out work wakes nobody who waits outside.
    rayon::scope(|_| run(&arguments))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    let entered = now();
    let Texts { texts, singles } = read_json(&arguments.texts)?;
    ensure!(!texts.is_empty() && arguments.batch > 0, "no texts in {}", arguments.texts.display());

    let model = load(&arguments.model, &arguments.precision)?;
    answer(&model, &[&texts[0]])?;
    let first_answer = now() - arguments.started.unwrap_or(entered);

    let encoded = texts.iter().map(|text| encode(&model, text)).collect::<anyhow::Result<Vec<_>>>()?;
    let outputs: Vec<usize> = model.config().tasks.iter().map(|task| task.task.outputs()).collect();
    drop(model);
    let mut both: Vec<(&str, &Encoded)> = texts.iter().map(String::as_str).zip(&encoded).collect();
    let measure = |both: &[(&str, &Encoded)]| {
        let (texts, encoded): (Vec<&str>, Vec<&Encoded>) = both.iter().copied().unzip();
        batches(&texts, &encoded, arguments)
    };
    let in_order = measure(&both)?;
    both.sort_by_key(|(_, encoded)| encoded.pieces());
    let sorted = measure(&both)?;
    let encoded: Vec<&Encoded> = encoded.iter().collect();
    let single =
        |(name, texts): (&String, &Vec<String>)| Ok((name.clone(), latency(texts, &encoded, arguments)?));
    let result = json!({
        "first_answer_s": rounded(first_answer, 4),
        "texts": texts.len(),
        "pieces": encoded.iter().map(|text| text.pieces()).sum::<usize>(),
        "words": encoded.iter().map(|text| text.words()).sum::<usize>(),
        "outputs": outputs,
        "in_order": in_order,
        "sorted": sorted,
        "singles": singles.iter().map(single).collect::<anyhow::Result<BTreeMap<String, Value>>>()?,
        "peak_rss_mb": peak_rss_mib(),
    });
    println!("{result}");
    Ok(())
}
