//! What training computes: lengths, parameters, batches, memory.

use indicatif::{HumanBytes, HumanCount};
use polytask_data::Step;
use polytask_model::Example;
use polytask_task::Target;
use polytask_trainer::{Prepared, Result, Totals};

use super::Finding;
use crate::resident::peak_resident_bytes;

/// Bytes of an `f32`, a `u32`.
const NUMBER: usize = 4;

/// What a layer keeps for the backward pass, in quarters of its matrices' inputs and outputs together: those themselves, and
/// beside them what norms and residuals keep. Measured on transformers of 128 and 384 wide.
const KEPT_QUARTERS: usize = 5;

pub(super) fn check(prepared: &Prepared) -> Result<Vec<Finding>> {
    let plan = prepared.plan(0)?;
    let mut findings = vec![lengths(prepared)];
    findings.push(parameters(prepared));
    findings.extend(batches(prepared, &plan));
    findings.push(padding(prepared, &plan));
    findings.push(memory(prepared, &plan));
    Ok(findings)
}

fn examples(prepared: &Prepared) -> impl Iterator<Item = &Example> {
    prepared.sets.iter().flat_map(|set| set.train.iter().chain(&set.dev))
}

fn lengths(prepared: &Prepared) -> Finding {
    let mut lengths: Vec<usize> = examples(prepared).map(|example| example.encoded.pieces()).collect();
    lengths.sort_unstable();
    let mean = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
    let quantile =
        |share: f64| lengths.get((lengths.len() as f64 * share) as usize).copied().unwrap_or_default();
    let (median, most, longest) =
        (quantile(0.5), quantile(0.95), lengths.last().copied().unwrap_or_default());
    let message =
        format!("{mean:.1} pieces on average, median {median}, 95 % up to {most}, longest {longest}");
    match examples(prepared).map(|example| example.encoded.truncated_words).sum() {
        0 => Finding::good("lengths", message),
        words => {
            Finding::warning("lengths", format!("{message}; {words} words beyond `max_tokens` are cut off"))
        }
    }
}

fn parameters(prepared: &Prepared) -> Finding {
    let parameters = prepared.model.parameters();
    let encoder = parameters.iter().filter(|(_, parameter)| parameter.name.starts_with("encoder."));
    let encoder: usize = encoder.map(|(_, parameter)| parameter.tensor().len()).sum();
    let share = 100.0 * encoder as f64 / parameters.count().max(1) as f64;
    let vocabulary = prepared.model.tokenizer().vocabulary_size();
    let count = HumanCount(parameters.count() as u64);
    let frozen = match parameters.count() - parameters.trained_count() {
        0 => String::new(),
        frozen => format!(", {} of them frozen at first", HumanCount(frozen as u64)),
    };
    Finding::good(
        "parameters",
        format!("{count}, {share:.1} % of them the encoder's{frozen}; {vocabulary} pieces to read"),
    )
}

fn batches(prepared: &Prepared, plan: &[Step]) -> Vec<Finding> {
    let of_set = |(index, set): (usize, &polytask_trainer::PreparedSet)| {
        format!("{} of data {}", plan.iter().filter(|step| step.data_set == index).count(), set.name)
    };
    let sets = prepared.sets.iter().enumerate().map(of_set).collect::<Vec<_>>().join(", ");
    let steps = plan.len().div_ceil(prepared.settings.gradient_accumulation);
    let all = Finding::good("epoch", format!("{} batches, {steps} steps: {sets}", plan.len()));
    let of_task = |(index, name): (usize, &str)| {
        let has_label = |step: &&Step| texts(prepared, step).any(|example| example.targets[index].is_some());
        let count = plan.iter().filter(has_label).count();
        let message = format!("{count} batches an epoch have labels for it");
        let subject = format!("task {name}");
        if count == 0 { Finding::warning(subject, message) } else { Finding::good(subject, message) }
    };
    std::iter::once(all).chain(prepared.model.config().task_names().enumerate().map(of_task)).collect()
}

fn texts<'a>(prepared: &'a Prepared, step: &'a Step) -> impl Iterator<Item = &'a Example> {
    step.rows.iter().map(|&row| &prepared.sets[step.data_set].train[row])
}

fn pieces(prepared: &Prepared, step: &Step) -> usize {
    texts(prepared, step).map(|example| example.encoded.pieces()).sum()
}

fn padding(prepared: &Prepared, plan: &[Step]) -> Finding {
    let mut totals = Totals::default();
    for step in plan {
        totals.count_texts(texts(prepared, step).map(|example| example.encoded.pieces()));
    }
    let share = 100.0 * totals.padding();
    let message = format!("{} pieces an epoch; padding saved: {share:.1} %", HumanCount(totals.tokens));
    Finding::good("epoch", message)
}

/// An estimate of what training holds at most, in bytes:
///
/// ```text
///   what this process has held until now: program, tokenizer, data, parameters
/// + 4 · parameters · (optimizer slots + 1 where weights are averaged)
/// + 4 · parameters that are no embeddings                                         their gradient
/// + 4 · pieces of the largest batch · 1.25 Σ_W (inputs + outputs)                  W: the encoder's matrices
/// ```
///
/// With `recompute_activations` the last line is a bound that is not reached.
fn memory(prepared: &Prepared, plan: &[Step]) -> Finding {
    let parameters = prepared.model.parameters();
    let averages = usize::from(prepared.settings.weight_averaging > 0.0);
    let slots = NUMBER * parameters.count() * (prepared.optimizer.slots().len() + averages);

    let is_table = |name: &str| name.starts_with("encoder.embeddings.");
    let dense = parameters.iter().map(|(_, parameter)| parameter).filter(|p| !is_table(&p.name));
    let gradients = NUMBER * dense.map(|parameter| parameter.tensor().len()).sum::<usize>();

    let width: usize = prepared.model.encoder_weights().flat_map(|weight| weight.shape()).sum();
    let largest = plan.iter().map(|step| pieces(prepared, step)).max().unwrap_or(0);
    let activations = NUMBER * largest * width * KEPT_QUARTERS / 4;

    let weights = NUMBER * parameters.count();
    let data: usize = examples(prepared).map(example_bytes).sum();
    let held = peak_resident_bytes().map_or(weights + data, |bytes| bytes as usize);
    let [total, held, optimizer, activations] =
        [held + slots + gradients + activations, held, slots + gradients, activations]
            .map(|bytes| HumanBytes(bytes as u64));
    let message = format!(
        "about {total}: data, tokenizer and weights {held}, optimizer and gradients {optimizer}, largest batch {activations}"
    );
    Finding::good("memory", message)
}

fn example_bytes(example: &Example) -> usize {
    let numbers = |target: &Target| match target {
        Target::Ids(ids) => ids.len(),
        Target::Values(values) => values.len(),
    };
    let targets: usize = example.targets.iter().flatten().map(numbers).sum();
    let (pieces, words) = (example.encoded.pieces(), example.encoded.words());
    NUMBER * (2 * pieces + 5 * words + targets)
}
