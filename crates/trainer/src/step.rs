//! One batch: forward, the summed loss, backward.

use polytask_model::{LabelledBatch, Model};
use polytask_tensor::{Device, Gradients, Pass, Tensor, ops};

use crate::ranks::{Joined, PartLoss, join};
use crate::{Communicator, Result};

/// What one batch gave.
pub(crate) struct BatchResult {
    /// The loss of each task that had a label in the batch, unweighted.
    pub(crate) losses: Vec<Option<Tensor>>,
    /// The gradients of Σ_t w_t L_t, or this rank's part of them; `None` where no text had any label, or, on the processor, a
    /// loss was not finite.
    pub(crate) gradients: Option<Gradients>,
}

/// L = Σ_t w_t L_t over the tasks that have a label in the batch, and its gradients, from the part of the
/// batch that is this rank's. A task without a label adds nothing.
pub(crate) fn train_on(
    model: &Model,
    batch: &LabelledBatch,
    mut pass: Pass,
    ranks: &dyn Communicator,
) -> Result<BatchResult> {
    let forward = model.forward(model.parameters(), &batch.texts, &batch.labelled, &mut pass)?;
    let tasks = &model.config().tasks;
    let mut parts = Vec::with_capacity(tasks.len());
    for (task, output) in forward.outputs.iter().enumerate() {
        let Some(output) = output else {
            parts.push(None);
            continue;
        };
        let targets: Vec<_> = batch.targets[task].iter().collect();
        parts.push(Some(model.with_task(task, model.parameters(), output, |task, output| {
            let denominator = task.loss_denominator(output, &targets)?;
            Ok(PartLoss { loss: task.loss(output, &targets)?, denominator })
        })?));
    }
    drop(forward);
    let Joined { losses, shares, is_tracked } = join(ranks, &parts)?;
    let mut sum: Option<Tensor> = None;
    for ((part, share), task) in parts.into_iter().zip(shares).zip(tasks) {
        let Some(PartLoss { loss, .. }) = part else { continue };
        let weighted = ops::scale(&loss, task.settings.weight * share)?;
        sum = Some(match sum {
            Some(sum) => ops::add(&sum, &weighted)?,
            None => weighted,
        });
    }
    let is_broken = |loss: &Tensor| {
        let is_read = loss.device() == Device::Cpu;
        is_read && !loss.data().iter().all(|loss| loss.is_finite())
    };
    if !is_tracked || losses.iter().flatten().any(is_broken) {
        return Ok(BatchResult { losses, gradients: None });
    }
    let own = sum.filter(Tensor::is_tracked).map(Tensor::backward).transpose()?;
    Ok(BatchResult { losses, gradients: Some(own.unwrap_or_default()) })
}
