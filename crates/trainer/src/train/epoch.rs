//! The end of an epoch: measured, and kept where it is the best.

use polytask_model::{Evaluation, Example, ModelFolder, evaluate, mean_of_main_metrics};

use super::Trainer;
use crate::observer::Observer;
use crate::state::{EpochRecord, Totals};
use crate::{Result, checkpoint};

impl Trainer {
    /// The reports of the weights that are kept on all dev data.
    ///
    /// # Errors
    /// Whatever the model refuses.
    pub fn evaluate(&self) -> Result<Evaluation> {
        let examples: Vec<&Example> = self.prepared.sets.iter().flat_map(|set| &set.dev).collect();
        Ok(evaluate(&self.prepared.model, self.kept_parameters(), &examples)?)
    }

    /// Ends the epoch; rank 0 measures it, and writes what is kept of it.
    pub(super) fn close_epoch(&mut self, folder: &ModelFolder, observer: &mut dyn Observer) -> Result<()> {
        let kept = self.leads().then(|| self.keep_epoch(folder)).transpose()?;
        self.progress.epoch += 1;
        self.progress.batch = 0;
        self.progress.current = Totals::new(self.tasks.len());
        if let Some((record, is_best)) = kept {
            checkpoint::write(self, &folder.checkpoint())?;
            observer.epoch(&record, is_best);
        }
        Ok(())
    }

    /// Measures the epoch, and writes the model if it is the best so far; whether it is.
    fn keep_epoch(&mut self, folder: &ModelFolder) -> Result<(EpochRecord, bool)> {
        let dev = self.evaluate()?;
        let mean_metric = mean_of_main_metrics(&dev);
        let tasks = self.tasks.iter().cloned();
        let losses =
            tasks.zip(self.progress.current.mean_losses()).filter_map(|(task, loss)| Some((task, loss?)));
        let record = EpochRecord {
            epoch: self.progress.epoch + 1,
            step: self.progress.step,
            learning_rate: self.learning_rate(self.progress.step.saturating_sub(1)),
            losses: losses.collect(),
            dev,
            mean_metric,
            seconds: self.progress.current.seconds,
        };
        let is_best = match mean_metric {
            Some(mean) => self.progress.best.is_none_or(|best| mean > best),
            // Without dev data the newest weights are the best known; a metric that is no number tells nothing.
            None => record.dev.is_empty(),
        };
        // A poor model is more than none.
        if is_best || self.progress.best.is_none() {
            folder.save(&self.prepared.model, self.kept_parameters())?;
            checkpoint::write_json(&folder.metrics(), &record.dev)?;
        }
        if is_best {
            self.progress.best = mean_metric;
            self.progress.epochs_without_improvement = 0;
        } else {
            self.progress.epochs_without_improvement += 1;
        }
        self.progress.history.push(record.clone());
        checkpoint::write_json(&folder.history(), &self.progress.history)?;
        Ok((record, is_best))
    }

    /// Whether the dev metrics have not got better for too long.
    pub(super) fn out_of_patience(&self) -> bool {
        let patience = self.prepared.settings.early_stopping_patience;
        patience > 0 && self.progress.epochs_without_improvement >= patience
    }
}
