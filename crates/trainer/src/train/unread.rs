//! What batches gave that still lies on a GPU: read some batches later, so that no step waits for it.

use polytask_tensor::{Device, GradientNorm, Tensor};

use super::Trainer;
use crate::state::Totals;
use crate::{Error, Result};

/// Batches whose results may lie unread.
const MOST_UNREAD: usize = 32;

/// What one batch gave.
#[derive(Debug)]
pub(super) struct Unread {
    losses: Vec<Option<Tensor>>,
    /// Of the step that the batch ended, where it ended one on a GPU.
    norm: Option<GradientNorm>,
    /// Counted from 1.
    epoch: u64,
    batch: usize,
    step: u64,
}

impl Trainer {
    /// Keeps the losses of a batch, counted from 0 within the epoch, to be read later; on the processor they are read at once.
    pub(super) fn keep_unread(&mut self, losses: Vec<Option<Tensor>>, batch: usize) -> Result<()> {
        let (epoch, step) = (self.progress.epoch + 1, self.progress.step + 1);
        let is_ready = losses.iter().flatten().all(|loss| loss.device() == Device::Cpu);
        self.unread.push(Unread { losses, norm: None, epoch, batch: batch + 1, step });
        if is_ready || self.unread.len() > MOST_UNREAD { self.read_results() } else { Ok(()) }
    }

    /// Keeps the norm of the gradients of a step on a GPU.
    pub(super) fn keep_unread_norm(&mut self, norm: GradientNorm) -> Result<()> {
        match self.unread.last_mut() {
            Some(last) => last.norm = Some(norm),
            None => check_norm(norm.value(), self.progress.epoch + 1, self.progress.step)?,
        }
        Ok(())
    }

    /// Reads what is unread, and counts the losses.
    ///
    /// # Errors
    /// A loss or a norm is not finite, or the GPU failed.
    pub(super) fn read_results(&mut self) -> Result<()> {
        self.device.synchronize()?;
        let mut totals = Totals::new(self.tasks.len());
        for Unread { losses, norm, epoch, batch, step } in std::mem::take(&mut self.unread) {
            let value = |loss: &Option<Tensor>| {
                let value = loss.as_ref().map(Tensor::item).transpose()?;
                Ok(value.map(f64::from))
            };
            let losses = losses.iter().map(value).collect::<Result<Vec<_>>>()?;
            // What failed on the way is no loss that is not finite.
            self.device.synchronize()?;
            let broken = losses.iter().zip(&self.tasks).find_map(|(loss, task)| {
                let loss = loss.filter(|loss| !loss.is_finite())?;
                Some(Error::NotFinite { task: task.clone(), loss, epoch, batch, step })
            });
            if let Some(error) = broken {
                return Err(error);
            }
            if let Some(norm) = norm {
                check_norm(norm.value(), epoch, step)?;
            }
            totals.count_losses(&losses);
        }
        self.progress.current.add(&totals);
        self.progress.total.add(&totals);
        Ok(())
    }
}

/// Refuses a norm that is not finite.
pub(super) fn check_norm(norm: f64, epoch: u64, step: u64) -> Result<()> {
    if norm.is_finite() { Ok(()) } else { Err(Error::GradientNotFinite { norm, epoch, step }) }
}
