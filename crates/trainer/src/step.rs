//! One batch: forward, the summed loss, backward.

use polytask_model::{Example, Model, targets_of};
use polytask_tensor::{Gradients, Pass, Tensor, ops};

use crate::Result;

/// What one batch gave.
pub(crate) struct BatchResult {
    /// The loss of each task that had a label in the batch, unweighted.
    pub(crate) losses: Vec<Option<f64>>,
    /// The gradients of Σ_t w_t L_t; `None` where no text had any label, or no loss was finite.
    pub(crate) gradients: Option<Gradients>,
}

/// L = Σ_t w_t L_t over the tasks that have a label in the batch, and its gradients. A task without a label adds nothing.
pub(crate) fn train_on(model: &Model, examples: &[&Example], mut pass: Pass) -> Result<BatchResult> {
    let forward = model.forward_labelled(model.parameters(), examples, &mut pass)?;
    let tasks = &model.config().tasks;
    let mut losses = vec![None; tasks.len()];
    let mut sum: Option<Tensor> = None;
    for (task, output) in forward.outputs.iter().enumerate() {
        let Some(output) = output else { continue };
        let targets = targets_of(examples, task);
        let loss =
            model.with_task(task, model.parameters(), output, |task, output| task.loss(output, &targets))?;
        losses[task] = Some(f64::from(loss.item()?));
        let weighted = ops::scale(&loss, tasks[task].settings.weight)?;
        sum = Some(match sum {
            Some(sum) => ops::add(&sum, &weighted)?,
            None => weighted,
        });
    }
    drop(forward);
    let is_finite = losses.iter().flatten().all(|loss: &f64| loss.is_finite());
    let gradients = sum.filter(|sum| is_finite && sum.is_tracked()).map(Tensor::backward).transpose()?;
    Ok(BatchResult { losses, gradients })
}
