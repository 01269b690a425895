use crate::{EpochRecord, Progress};

/// What training tells while it runs, and asks.
pub trait Observer {
    /// Training begins, or goes on, from `progress`.
    fn started(&mut self, progress: &StepProgress) {
        let _ = progress;
    }

    /// The ranks have GPUs that are not joined, for this reason: their gradients are summed in main memory.
    fn gpus_apart(&mut self, reason: &str) {
        let _ = reason;
    }

    /// The batches of one optimizer step were trained on.
    fn batch(&mut self, progress: &StepProgress) {
        let _ = progress;
    }

    /// An epoch was trained and measured; `best` tells whether its model is the best so far and was kept.
    fn epoch(&mut self, record: &EpochRecord, best: bool) {
        let _ = (record, best);
    }

    /// Whether to stop after these batches; the state is then kept, to resume from.
    fn should_stop(&mut self) -> bool {
        false
    }
}

/// Where training stands between two optimizer steps.
#[derive(Debug)]
pub struct StepProgress<'a> {
    /// Counts and mean losses so far.
    pub progress: &'a Progress,
    /// The tasks' names, in the order of the losses.
    pub tasks: &'a [String],
    /// Batches of all epochs.
    pub batches: u64,
    /// Epochs in all.
    pub epochs: u64,
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
