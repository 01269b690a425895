//! Optimizers: what a gradient does to a parameter.

mod adamw;
mod sgd;

use std::fmt::Debug;

pub use adamw::AdamW;
pub use sgd::Sgd;

use polytask_tensor::{Error, Gradient, ParameterId, Parameters};
use rayon::prelude::*;

use crate::Result;

/// Values that one thread updates at a time.
const CHUNK: usize = 16 * 1024;

/// An optimizer that treats every value alike and alone, chosen by `type` under `[optimizer]`.
#[typetag::serde(tag = "type")]
pub trait Optimizer: Debug + Send + Sync {
    /// What it keeps for each value from step to step, such as a momentum: one name each.
    fn slots(&self) -> &'static [&'static str];

    /// One step for some values of one parameter; `slots[k]` are what it keeps for them under the k-th name of
    /// [`slots`](Self::slots).
    fn update(&self, values: &mut [f32], gradient: &[f32], slots: &mut [&mut [f32]], update: Update);
}

/// What holds for one parameter in one step.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// The step, from 1.
    pub step: u64,
    /// Whether weight decay applies: to matrices, not to biases and the gains of norms.
    pub decays: bool,
}

/// What an optimizer keeps of all parameters: one value for each of a parameter's values and each slot.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// `[parameter][slot][value]`, in the order of the store and of [`Optimizer::slots`].
    pub(crate) slots: Vec<Vec<Vec<f32>>>,
}

impl OptimizerState {
    /// All zero, as before the first step.
    pub fn new(optimizer: &dyn Optimizer, parameters: &Parameters) -> Self {
        let zeros = |length: usize| optimizer.slots().iter().map(|_| vec![0.0; length]).collect();
        Self { slots: parameters.iter().map(|(_, parameter)| zeros(parameter.tensor().len())).collect() }
    }

    /// One step for one parameter; `step` counts from 1. Of a sparse gradient only the touched rows are updated, weight
    /// decay included.
    ///
    /// # Errors
    /// The state was made for another optimizer or other parameters.
    pub fn apply(
        &mut self,
        optimizer: &dyn Optimizer,
        parameters: &mut Parameters,
        id: ParameterId,
        gradient: &Gradient,
        learning_rate: f32,
        step: u64,
    ) -> Result<()> {
        let (length, names) = (parameters.get(id).len(), optimizer.slots());
        let fits = |slots: &&mut Vec<Vec<f32>>| {
            slots.len() == names.len() && slots.iter().all(|slot| slot.len() == length)
        };
        let Some(slots) = self.slots.get_mut(id.index()).filter(fits) else {
            let message = "its state was made for another optimizer or other parameters";
            return Err(Error::shape("optimizer", message).into());
        };
        let decays = parameters.get(id).shape().len() >= 2;
        let update = Update { learning_rate, step, decays };
        let mut slots: Vec<&mut [f32]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
        parameters.update(id, |values| match gradient {
            Gradient::Dense(gradient) => update_dense(optimizer, values, gradient.data(), slots, update),
            Gradient::Rows(rows) => {
                let (_, width) = rows.values.rows_columns();
                for (i, &row) in rows.rows.iter().enumerate() {
                    let range = row as usize * width..(row as usize + 1) * width;
                    let mut of_row: Vec<&mut [f32]> =
                        slots.iter_mut().map(|slot| &mut slot[range.clone()]).collect();
                    optimizer.update(&mut values[range], rows.values.row(i), &mut of_row, update);
                }
            }
        });
        Ok(())
    }
}

fn update_dense(
    optimizer: &dyn Optimizer,
    values: &mut [f32],
    gradient: &[f32],
    slots: Vec<&mut [f32]>,
    update: Update,
) {
    let mut chunks: Vec<Vec<&mut [f32]>> =
        values.chunks(CHUNK).map(|_| Vec::with_capacity(slots.len())).collect();
    for slot in slots {
        for (chunk, part) in chunks.iter_mut().zip(slot.chunks_mut(CHUNK)) {
            chunk.push(part);
        }
    }
    values
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(chunks.par_iter_mut())
        .for_each(|((values, gradient), slots)| optimizer.update(values, gradient, slots, update));
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::Tensor;

    #[test]
    fn the_state_of_another_optimizer_or_store_is_refused() {
        let store = |length| {
            let mut parameters = Parameters::default();
            let id = parameters.insert("a", &Tensor::full(&[length], 1.0)).unwrap();
            (parameters, id)
        };
        let (mut parameters, id) = store(3);
        let gradient = Gradient::Dense(Tensor::full(&[3], 1.0));
        let mut step = |mut state: OptimizerState| {
            state.apply(&AdamW::default(), &mut parameters, id, &gradient, 0.1, 1).map_err(|e| e.to_string())
        };
        let refused = Err("optimizer: its state was made for another optimizer or other parameters".into());
        assert_eq!(step(OptimizerState::new(&Sgd::default(), &store(3).0)), refused);
        assert_eq!(step(OptimizerState::new(&AdamW::default(), &store(2).0)), refused);
        assert_eq!(step(OptimizerState::default()), refused);
        assert_eq!(step(OptimizerState::new(&AdamW::default(), &store(3).0)), Ok(()));
        assert!(parameters.get(id).data().iter().all(|value| *value < 1.0));
    }
}
