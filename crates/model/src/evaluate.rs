//! How good the model is on labelled texts.

use polytask_data::PackedBatch;
use polytask_task::Target;
use polytask_task::metrics::Report;
use polytask_tensor::{Parameters, Pass};

use crate::{Example, Model, Result};

/// Texts that are measured at a time.
const BATCH_TEXTS: usize = 64;

/// The report of each task that had labels, by name, in the order of the model.
pub type Evaluation = Vec<(String, Report)>;

/// Measures every task on all examples that have a label for it, in one pass of the encoder a text.
///
/// # Errors
/// The examples do not fit the model.
pub fn evaluate(model: &Model, parameters: &Parameters, examples: &[&Example]) -> Result<Evaluation> {
    let tasks = model.config().tasks.len();
    let mut gold: Vec<Vec<&Target>> = vec![Vec::new(); tasks];
    let mut predicted: Vec<Vec<Target>> = vec![Vec::new(); tasks];
    // Texts of like length together keep the batches even; the order of texts changes no metric.
    let mut order: Vec<&Example> = examples.to_vec();
    order.sort_by_key(|example| example.encoded.pieces());
    for texts in order.chunks(BATCH_TEXTS) {
        let batch = PackedBatch::pack(&texts.iter().map(|text| &text.encoded).collect::<Vec<_>>());
        let wanted: Vec<Vec<usize>> = (0..tasks).map(|task| labelled(texts, task)).collect();
        let forward = model.forward(parameters, &batch, &wanted, &mut Pass::inference())?;
        for (task, output) in forward.outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            let predictions =
                model.with_task(task, parameters, output, |task, output| task.decode(output))?;
            predicted[task].extend(predictions.into_iter().map(|prediction| prediction.target));
            gold[task].extend(texts.iter().filter_map(|text| text.targets[task].as_ref()));
        }
    }
    let mut evaluation = Evaluation::new();
    for (task, name) in model.config().task_names().enumerate().filter(|(task, _)| !gold[*task].is_empty()) {
        let predicted: Vec<&Target> = predicted[task].iter().collect();
        let report = model.task(task).report(&gold[task], &predicted);
        evaluation.push((name.to_string(), report.map_err(|source| model.task_error(task, source))?));
    }
    Ok(evaluation)
}

/// The places of the texts that have a label for a task.
fn labelled(texts: &[&Example], task: usize) -> Vec<usize> {
    let has_label = |place: &usize| texts[*place].targets[task].is_some();
    (0..texts.len()).filter(has_label).collect()
}

/// The mean of the tasks' main metrics; `None` where no task was measured.
pub fn mean_of_main_metrics(evaluation: &Evaluation) -> Option<f64> {
    let sum: f64 = evaluation.iter().map(|(_, report)| report.value).sum();
    (!evaluation.is_empty()).then(|| sum / evaluation.len() as f64)
}
