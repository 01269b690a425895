use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use polytask_model::{Example, Model, ModelFolder, Precision, pack};
use serde_json::json;

use super::eval::labelled_examples;
use super::quantize::copy;
use crate::console::{print, print_json};

/// Texts that are answered at a time.
const BATCH_TEXTS: usize = 32;

/// How far logits may move by rounding, as a share of the greatest one.
const ROUNDING: f32 = 1e-3;

/// Folds LoRA that all tasks share into the encoder's weights: the same answers, without the adapters.
///
/// Both models answer the dev data, and the greatest difference of their logits is printed; it must be one of rounding.
/// Adapters of single tasks, or with a bottleneck, cannot be merged.
#[derive(Debug, clap::Args)]
pub(crate) struct Merge {
    /// The model folder.
    folder: PathBuf,
    /// Where the new model goes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Compares on this file instead, read as the data set of this name; then only the named data sets are read.
    #[arg(long, value_name = "NAME=FILE", value_parser = super::eval::name_and_file)]
    data: Vec<(String, PathBuf)>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Merge {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (source, target) = (ModelFolder::new(&self.folder), ModelFolder::new(&self.out));
        let out = self.out.display();
        ensure!(!target.is_used(), "{out} holds a model already: give another folder, or remove it");
        let mut model = source.load()?;
        let mut merged = model.merged().with_context(|| self.folder.display().to_string())?;
        let examples = labelled_examples(&source, &model, &self.data)?;
        let precision = model.config().precision;
        // Other numbers would round more than merging does.
        [&mut model, &mut merged].into_iter().for_each(|model| model.set_precision(Precision::F32));
        let (difference, greatest) = greatest_difference(&model, &merged, &examples)?;
        ensure!(
            difference <= ROUNDING * greatest.max(1.0),
            "the merged model answers otherwise: logits differ by up to {difference}; nothing is written"
        );
        merged.set_precision(precision);
        target.save(&merged, merged.parameters())?;
        copy(source.configuration(), target.configuration())?;
        if source.metrics().exists() {
            copy(source.metrics(), target.metrics())?;
        }
        let texts = examples.len();
        if self.json {
            print_json(&json!({ "folder": self.out, "texts": texts, "greatest_difference": difference }))?;
        } else {
            print(format!("the logits of {texts} texts differ by {difference:.1e} at most: {out}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// By how much the logits of two models differ at most, and the greatest there are.
fn greatest_difference(model: &Model, merged: &Model, examples: &[Example]) -> Result<(f32, f32)> {
    // Those too that answer nothing: what they hide depends on the text alone.
    let tasks: Vec<usize> = (0..model.config().tasks.len()).collect();
    let (mut difference, mut greatest) = (0.0f32, 0.0f32);
    for texts in examples.chunks(BATCH_TEXTS) {
        let batch = pack(texts);
        let (before, after) = (model.infer(&batch, &tasks)?, merged.infer(&batch, &tasks)?);
        let outputs = before.outputs.iter().flatten().zip(after.outputs.iter().flatten());
        for (a, b) in outputs.flat_map(|(a, b)| a.logits.data().iter().zip(b.logits.data())) {
            // What is no number must not pass for small.
            difference = if (a - b).is_nan() { f32::INFINITY } else { difference.max((a - b).abs()) };
            greatest = greatest.max(a.abs());
        }
    }
    Ok((difference, greatest))
}
