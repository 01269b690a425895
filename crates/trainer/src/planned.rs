use crate::{Prepared, Result};

/// What all epochs together will take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planned {
    pub(crate) batches: u64,
    pub(crate) steps: u64,
}

impl Planned {
    /// Epochs differ in their batches where the limit of pieces cuts them.
    pub(crate) fn of(prepared: &Prepared) -> Result<Self> {
        let accumulation = prepared.settings.gradient_accumulation.max(1);
        let mut planned = Self::default();
        for epoch in 0..prepared.settings.epochs {
            let batches = prepared.plan(epoch)?.len();
            planned.batches += batches as u64;
            planned.steps += batches.div_ceil(accumulation) as u64;
        }
        Ok(planned)
    }
}
