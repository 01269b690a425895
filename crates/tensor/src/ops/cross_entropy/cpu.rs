//! On the processor: the loss and its gradient in one pass over the logits.

use super::{CrossEntropy, IGNORED};
use crate::lanes::vectorized;
use crate::ops::scale;
use crate::ops::softmax::exponentials_of_rows;
use crate::parallel::{for_each_part, row_blocks};
use crate::{Buffer, Gradient, Ids, Operation, Result, Tensor, lanes, memory};

/// The loss of checked inputs; `share` is what a row of weight 1 has in the average.
pub(super) fn mean_loss(
    logits: &Tensor,
    targets: &Ids,
    options: &CrossEntropy,
    share: f32,
) -> Result<Tensor> {
    let (rows, classes) = logits.rows_columns();
    let mut unit_gradient = memory::overwritable(rows * classes);
    let mut losses = vec![0.0; rows];
    let lengths = |rows| [rows * classes, rows];
    for_each_part(
        [&mut unit_gradient, &mut losses],
        row_blocks(rows, classes),
        lengths,
        |_, rows, results| {
            let [gradient, losses] = results;
            let logits = &logits.data()[rows.start * classes..rows.end * classes];
            let targets = &targets.as_slice()[rows];
            losses_and_gradients(options, share, logits, targets, gradient, losses);
        },
    );
    let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() * f64::from(share);
    let unit_gradient = Tensor::of(unit_gradient, logits.shape())?;
    Ok(Buffer::new(vec![loss as f32], &[])?.recorded(MeanLoss { logits: logits.clone(), unit_gradient }))
}

vectorized! {
    /// Σ_c −q_c log p_c of some rows, and its derivatives by the logits, times `share`.
    fn losses_and_gradients(
        options: &CrossEntropy,
        share: f32,
        logits: &[f32],
        targets: &[u32],
        gradient: &mut [f32],
        losses: &mut [f32],
    ) {
        let classes = (logits.len() / targets.len().max(1)).max(1);
        gradient.copy_from_slice(logits);
        exponentials_of_rows(gradient, classes, |row, max| losses[row] = max);
        let rows = gradient.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
        for ((gradient, logits), (&target, loss)) in rows.zip(targets.iter().zip(losses)) {
            if target == IGNORED {
                gradient.fill(0.0);
                *loss = 0.0;
            } else {
                *loss = options.of_row(share, logits, target as usize, *loss, gradient);
            }
        }
    }
}

impl CrossEntropy {
    /// Σ_c −q_c log p_c of one row; `gradient` holds exp(logit − max) of it, and then its derivatives times `share`.
    #[inline(always)]
    fn of_row(&self, share: f32, logits: &[f32], target: usize, max: f32, gradient: &mut [f32]) -> f32 {
        let sum = lanes::sum(gradient, |value| value);
        let log_sum = sum.ln();
        let q_of_target = (1.0 - self.label_smoothing) * self.weight(target as u32);
        let mut loss = q_of_target * (log_sum - (logits[target] - max));
        let mut total_q = q_of_target;
        // Without smoothing the other classes have no part, not even 0 · ∞ of a logit of −∞.
        let smooth = self.label_smoothing / logits.len() as f32;
        let q_of_all = |class: usize| smooth * self.weight(class as u32);
        if smooth > 0.0 {
            for (class, logit) in logits.iter().enumerate() {
                loss += q_of_all(class) * (log_sum - (logit - max));
                total_q += q_of_all(class);
            }
        }
        let factor = share * total_q / sum;
        gradient.iter_mut().for_each(|value| *value *= factor);
        gradient[target] -= share * q_of_target;
        if smooth > 0.0 {
            for (class, value) in gradient.iter_mut().enumerate() {
                *value -= share * q_of_all(class);
            }
        }
        loss
    }
}

struct MeanLoss {
    logits: Tensor,
    /// The gradient of the logits for a gradient of 1 of the loss.
    unit_gradient: Tensor,
}

impl Operation for MeanLoss {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.logits]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let factor = gradient.item()?;
        let dx = if factor == 1.0 { self.unit_gradient.clone() } else { scale(&self.unit_gradient, factor)? };
        Ok(vec![Some(dx.into())])
    }
}
