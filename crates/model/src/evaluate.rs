//! How good the model is on labelled texts.

use std::mem;

use polytask_task::metrics::Report;
use polytask_task::{Level, Target};
use polytask_tensor::{Parameters, Pass};

use crate::{Example, Model, Result};

/// Texts that are measured at a time, at most.
const BATCH_TEXTS: usize = 64;

/// Their pieces at most; a longer text is measured alone.
const BATCH_PIECES: usize = 16 * 1024;

/// The report of each task that had labels, by name, in the order of the model.
pub type Evaluation = Vec<(String, Report)>;

/// Measures every task on all examples that have a label for it, in one pass of the encoder a text, and one more for each task
/// that hides pieces.
///
/// # Errors
/// The examples do not fit the model.
pub fn evaluate(model: &Model, parameters: &Parameters, examples: &[&Example]) -> Result<Evaluation> {
    let tasks = model.config().tasks.len();
    let mut gold: Vec<Vec<Target>> = vec![Vec::new(); tasks];
    let mut predicted: Vec<Vec<Target>> = vec![Vec::new(); tasks];
    // Texts of like length together keep the batches even; the order of texts changes no metric.
    let mut order: Vec<&Example> = examples.to_vec();
    order.sort_by_key(|example| example.encoded.pieces());
    let parameters = &parameters.detached();
    let passes = passes(model);
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let (texts, later) = rest.split_at(batch_length(rest));
        rest = later;
        let mut batch = model.labelled_batch(texts);
        for tasks in &passes {
            // Each task is measured in one of the passes.
            let labelled =
                |task| if tasks.contains(&task) { mem::take(&mut batch.labelled[task]) } else { Vec::new() };
            let wanted: Vec<_> = (0..gold.len()).map(labelled).collect();
            let forward = model.forward(parameters, &batch.texts, &wanted, &mut Pass::inference())?;
            for (task, output) in forward.outputs.iter().enumerate() {
                let Some(output) = output else { continue };
                let predictions = model.decode(task, parameters, output)?;
                predicted[task].extend(predictions.into_iter().map(|prediction| prediction.target));
                gold[task].append(&mut batch.targets[task]);
            }
        }
    }
    parameters.synchronize()?;
    let mut evaluation = Evaluation::new();
    for (task, name) in model.config().task_names().enumerate().filter(|(task, _)| !gold[*task].is_empty()) {
        let [gold, predicted] =
            [&gold[task], &predicted[task]].map(|targets| targets.iter().collect::<Vec<_>>());
        let report = model.task(task).report(&gold, &predicted);
        evaluation.push((name.to_string(), report.map_err(|source| model.task_error(task, source))?));
    }
    Ok(evaluation)
}

/// The tasks that are measured in one pass together: what one task hides, the others are to see.
fn passes(model: &Model) -> Vec<Vec<usize>> {
    let tasks = 0..model.config().tasks.len();
    let (together, alone): (Vec<usize>, Vec<usize>) =
        tasks.partition(|&task| model.task(task).level() != Level::Piece);
    std::iter::once(together)
        .filter(|tasks| !tasks.is_empty())
        .chain(alone.into_iter().map(|task| vec![task]))
        .collect()
}

/// How many of the texts make up the first batch: one at least.
fn batch_length(texts: &[&Example]) -> usize {
    let mut pieces = 0;
    let fits = |text: &&&Example| {
        pieces += text.encoded.pieces();
        pieces <= BATCH_PIECES
    };
    texts.iter().take(BATCH_TEXTS).take_while(fits).count().max(1)
}

/// The mean of the tasks' main metrics; `None` where no task was measured, or a metric is no finite number.
pub fn mean_of_main_metrics(evaluation: &Evaluation) -> Option<f64> {
    let sum: f64 = evaluation.iter().map(|(_, report)| report.value).sum();
    Some(sum / evaluation.len() as f64).filter(|mean| mean.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_data::Encoded;

    fn example(pieces: usize) -> Example {
        let encoded = Encoded {
            ids: vec![0; pieces],
            piece_offsets: vec![0, pieces as u32],
            shapes: vec![[0; 4]],
            truncated_words: 0,
        };
        Example { encoded, targets: Vec::new() }
    }

    #[test]
    fn a_batch_holds_few_texts_and_few_pieces() {
        let length = |pieces: usize, texts: usize| {
            let example = example(pieces);
            batch_length(&vec![&example; texts])
        };
        assert_eq!(length(1, 100), BATCH_TEXTS);
        assert_eq!(length(1, 3), 3);
        assert_eq!(length(BATCH_PIECES / 4, 100), 4);
        assert_eq!(length(BATCH_PIECES + 1, 100), 1);
    }

    #[test]
    fn a_mean_is_finite_or_none() {
        let evaluation = |values: &[f64]| -> Evaluation {
            let report = |&value: &f64| Report {
                metric: "accuracy".into(),
                value,
                summary: Vec::new(),
                classes: Vec::new(),
                averages: Vec::new(),
                examples: 1,
            };
            values.iter().map(|value| ("task".into(), report(value))).collect()
        };
        assert_eq!(mean_of_main_metrics(&evaluation(&[])), None);
        assert_eq!(mean_of_main_metrics(&evaluation(&[0.5, 1.0])), Some(0.75));
        assert_eq!(mean_of_main_metrics(&evaluation(&[0.5, f64::NAN])), None);
        assert_eq!(mean_of_main_metrics(&evaluation(&[f64::NEG_INFINITY])), None);
    }
}
