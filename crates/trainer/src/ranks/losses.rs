//! The mean losses of a batch of which each rank has a part.
//!
//! ```text
//! l_r = Σ of rank r's terms / n_r   →   L = Σ_r n_r l_r / Σ_r n_r = Σ_r (n_r / n) l_r
//! ```
//!
//! n_r is what the task's loss divides by on rank r ([`Task::loss_denominator`](polytask_task::Task::loss_denominator)): its
//! texts with a label, or their words. So a rank multiplies its loss by n_r / n before the backward pass, and the gradients of
//! all ranks add up to that of L.

use polytask_tensor::Tensor;

use super::Communicator;
use crate::Result;

/// One task's loss on a rank's own part of a batch.
pub(crate) struct PartLoss {
    /// The mean over the part, a scalar.
    pub(crate) loss: Tensor,
    /// n_r.
    pub(crate) denominator: f64,
}

/// The losses of the whole batch.
#[derive(Debug)]
pub(crate) struct Joined {
    /// L of each task; `None` where no rank has a label for it.
    pub(crate) losses: Vec<Option<Tensor>>,
    /// n_r / n of each task.
    pub(crate) shares: Vec<f32>,
    /// Whether any rank has a loss that depends on a trained parameter.
    pub(crate) is_tracked: bool,
}

/// What all ranks' parts of a batch give together, one part a task.
pub(crate) fn join(ranks: &dyn Communicator, parts: &[Option<PartLoss>]) -> Result<Joined> {
    let is_tracked = parts.iter().flatten().any(|part| part.loss.is_tracked());
    if ranks.size() == 1 {
        let losses = parts.iter().map(|part| part.as_ref().map(|part| part.loss.detach())).collect();
        return Ok(Joined { losses, shares: vec![1.0; parts.len()], is_tracked });
    }
    let value = |part: &PartLoss| Ok(f64::from(part.loss.item()?));
    let own = parts.iter().map(|part| part.as_ref().map(value).transpose()).collect::<Result<Vec<_>>>()?;
    let mut sums = vec![f64::from(u8::from(is_tracked))];
    for (part, loss) in parts.iter().zip(&own) {
        let denominator = part.as_ref().map_or(0.0, |part| part.denominator);
        let sum = loss.map_or(0.0, |loss| loss * denominator);
        sums.extend([f64::from(u8::from(part.is_some())), denominator, sum]);
    }
    sum_in_order(ranks, &mut sums)?;
    let (mut losses, mut shares) = (Vec::new(), Vec::new());
    for (part, sums) in parts.iter().zip(sums[1..].as_chunks::<3>().0) {
        let &[labelled, denominator, sum] = sums;
        let share_of = |n: f64| if denominator > 0.0 { n / denominator } else { 0.0 };
        losses.push((labelled > 0.0).then(|| Tensor::scalar(share_of(sum) as f32)));
        shares.push(part.as_ref().map_or(0.0, |part| share_of(part.denominator) as f32));
    }
    Ok(Joined { losses, shares, is_tracked: sums[0] > 0.0 })
}

/// Σ over the ranks, in their order.
fn sum_in_order(ranks: &dyn Communicator, values: &mut [f64]) -> Result<()> {
    let all = ranks.gather(bytemuck::cast_slice(values))?;
    values.fill(0.0);
    for part in &all {
        let part: Vec<f64> = bytemuck::pod_collect_to_vec(part);
        values.iter_mut().zip(part).for_each(|(sum, term)| *sum += term);
    }
    Ok(())
}
