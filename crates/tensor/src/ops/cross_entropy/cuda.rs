//! On a GPU, by the kernels of `kernels/cross_entropy.cu`.

use super::CrossEntropy;
use crate::cuda::{Argument, Gpu};
use crate::ops::softmax::a_block_a_row;
use crate::{Buffer, Gradient, Ids, Operation, Result, Tensor};

/// The loss of checked inputs; `share` is what a row of weight 1 has in the average.
pub(super) fn mean_loss(
    gpu: &'static Gpu,
    logits: &Tensor,
    targets: &Ids,
    options: &CrossEntropy,
    share: f32,
) -> Result<Tensor> {
    let (rows, classes) = logits.rows_columns();
    let (losses, maxima_and_sums) = (gpu.allocate(rows)?, gpu.allocate(2 * rows)?);
    let operation = MeanLoss {
        gpu,
        logits: logits.clone(),
        targets: targets.clone(),
        options: options.clone(),
        share,
        maxima_and_sums: Tensor::on_gpu(maxima_and_sums, &[rows, 2]),
    };
    let mut arguments = operation.first_arguments()?;
    arguments.extend([Argument::from(&losses), gpu.read(&operation.maxima_and_sums)?]);
    gpu.launch("cross_entropy", "cross_entropy_forward", a_block_a_row(rows, classes), &arguments)?;
    Ok(Buffer::on_gpu(gpu.sum(Argument::from(&losses), rows)?, &[]).recorded(operation))
}

struct MeanLoss {
    gpu: &'static Gpu,
    logits: Tensor,
    targets: Ids,
    options: CrossEntropy,
    share: f32,
    /// `[rows, 2]`: the greatest logit of each row, and Σ exp(logit − greatest).
    maxima_and_sums: Tensor,
}

impl MeanLoss {
    /// What both kernels begin with.
    fn first_arguments(&self) -> Result<Vec<Argument>> {
        let gpu = self.gpu;
        let (_, classes) = self.logits.rows_columns();
        let CrossEntropy { class_weights, label_smoothing } = &self.options;
        let weights = class_weights.as_ref().map_or(Ok(Argument::NULL), |weights| gpu.read(weights))?;
        Ok(vec![
            gpu.read(&self.logits)?,
            self.targets.on(gpu)?,
            weights,
            classes.into(),
            (1.0 - label_smoothing).into(),
            (label_smoothing / classes as f32).into(),
            self.share.into(),
        ])
    }

    /// Σ_c ε w_c / classes; without smoothing no weight is read.
    fn q_of_all(&self) -> f32 {
        let smoothing = self.options.label_smoothing;
        self.options.class_weights.as_ref().filter(|_| smoothing > 0.0).map_or(smoothing, |weights| {
            let total: f64 = weights.data().iter().copied().map(f64::from).sum();
            smoothing * (total / weights.len() as f64) as f32
        })
    }
}

impl Operation for MeanLoss {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.logits]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let gpu = self.gpu;
        let (rows, classes) = self.logits.rows_columns();
        let dx = gpu.allocate(self.logits.len())?;
        let mut arguments = self.first_arguments()?;
        let [kept, gradient] = [gpu.read(&self.maxima_and_sums)?, gpu.read(gradient)?];
        arguments.extend([self.q_of_all().into(), kept, gradient, Argument::from(&dx)]);
        gpu.launch("cross_entropy", "cross_entropy_backward", a_block_a_row(rows, classes), &arguments)?;
        Ok(vec![Some(Tensor::on_gpu(dx, self.logits.shape()).into())])
    }
}
