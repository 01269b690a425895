//! One step of an optimizer over all parameters.

use polytask_tensor::{
    Device, Error, Gradient, GradientNorm, ParameterId, Parameters, Tensor, UpdateRule, for_each,
    update_on_gpu,
};

use super::part::Part;
use super::{Optimizer, Update};
use crate::Result;

/// What an optimizer keeps of all parameters: one value for each of a parameter's values and each slot.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// For each of [`Optimizer::slots`] a store with the names of the parameters, and their shapes; no values of a
    /// parameter that is never trained.
    pub(crate) slots: Vec<Parameters>,
    /// What each parameter's learning rate is multiplied by; 1 beyond the end.
    learning_rate_factors: Vec<f32>,
    /// The steps in which each parameter was frozen: its own first step comes after them.
    pub(crate) frozen_steps: Vec<u64>,
}

impl OptimizerState {
    /// All zero, as before the first step.
    pub fn new(optimizer: &dyn Optimizer, parameters: &Parameters) -> Self {
        let slots = optimizer.slots().iter().map(|_| zeros(parameters, |_| true)).collect();
        Self { slots, learning_rate_factors: Vec::new(), frozen_steps: vec![0; parameters.len()] }
    }

    /// The same with a factor on each parameter's learning rate, and with nothing kept where it is 0: what is frozen for
    /// good.
    pub(crate) fn with_learning_rate_factors(mut self, factors: Vec<f32>) -> Self {
        let is_trained = |id: ParameterId| factors.get(id.index()).is_none_or(|factor| *factor != 0.0);
        self.slots.iter_mut().for_each(|slot| *slot = zeros(slot, is_trained));
        self.learning_rate_factors = factors;
        self
    }

    /// Puts everything on a device.
    ///
    /// # Errors
    /// The device cannot be used, or its memory is used up.
    pub fn move_to(&mut self, device: Device) -> Result<()> {
        Ok(self.slots.iter_mut().try_for_each(|slot| slot.move_to(device))?)
    }

    /// One step for the parameters that have a gradient, ascending, in one pass over memory; weight decay is left out
    /// where a parameter is no matrix. Of a sparse gradient only the touched rows are updated, weight decay included.
    ///
    /// # Errors
    /// The state or a gradient was made for another optimizer or other parameters; nothing is changed then.
    pub fn apply(
        &mut self,
        optimizer: &dyn Optimizer,
        parameters: &mut Parameters,
        gradients: &[(ParameterId, Gradient)],
        update: Update,
    ) -> Result<()> {
        self.check(optimizer, parameters, gradients)?;
        let updates = self.begin_step(parameters, gradients, update);
        let mut slots: Vec<_> = self.slots.iter_mut().map(|slot| slot.values_mut().into_iter()).collect();
        let mut next_slots = || slots.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>();
        let mut all = parameters.values_mut().into_iter().map(|values| (values, next_slots())).enumerate();
        let mut parts = Vec::new();
        for ((id, gradient), update) in gradients.iter().zip(updates) {
            // There by the checks above.
            let Some((_, (values, slots))) = all.find(|(index, _)| *index == id.index()) else {
                continue;
            };
            parts.extend(Part::cut(values, slots, gradient, update));
        }
        for_each(&mut parts, |part| part.update(optimizer));
        Ok(())
    }

    /// The same on the GPU on which the parameters lie, with the factor of the gradients' norm, which stays there.
    ///
    /// # Errors
    /// As [`apply`](Self::apply); or the GPU failed.
    pub fn apply_on_gpu(
        &mut self,
        optimizer: &dyn Optimizer,
        parameters: &mut Parameters,
        gradients: &[(ParameterId, Gradient)],
        update: Update,
        norm: &GradientNorm,
    ) -> Result<()> {
        if optimizer.rule(update).is_none() {
            let gradient_factor = norm.factor();
            return self.apply(optimizer, parameters, gradients, Update { gradient_factor, ..update });
        }
        self.check(optimizer, parameters, gradients)?;
        let updates = self.begin_step(parameters, gradients, update);
        let rules: Vec<UpdateRule> =
            updates.into_iter().filter_map(|update| optimizer.rule(update)).collect();
        Ok(update_on_gpu(parameters, &mut self.slots, gradients, &rules, norm)?)
    }

    /// What holds for each parameter that has a gradient; the others are a step further from their first one.
    fn begin_step(
        &mut self,
        parameters: &Parameters,
        gradients: &[(ParameterId, Gradient)],
        update: Update,
    ) -> Vec<Update> {
        for (steps, (_, parameter)) in self.frozen_steps.iter_mut().zip(parameters.iter()) {
            *steps += u64::from(!parameter.is_trained());
        }
        let of_parameter = |&(id, _): &(ParameterId, Gradient)| Update {
            learning_rate: update.learning_rate
                * self.learning_rate_factors.get(id.index()).copied().unwrap_or(1.0),
            step: update.step - self.frozen_steps[id.index()],
            decays: update.decays && parameters.get(id).shape().len() >= 2,
            ..update
        };
        gradients.iter().map(of_parameter).collect()
    }

    fn check(
        &self,
        optimizer: &dyn Optimizer,
        parameters: &Parameters,
        gradients: &[(ParameterId, Gradient)],
    ) -> Result<()> {
        let refuse = |message| Err(Error::shape("optimizer", message).into());
        let slot_fits = |slot: &Parameters| {
            let mut both = slot.iter().zip(parameters.iter());
            slot.len() == parameters.len()
                && both.all(|((_, kept), (_, parameter))| {
                    let (kept, length) = (kept.tensor().len(), parameter.tensor().len());
                    kept == length || kept == 0 && !parameter.is_trained()
                })
        };
        if self.slots.len() != optimizer.slots().len() || !self.slots.iter().all(slot_fits) {
            return refuse("its state was made for another optimizer or other parameters");
        }
        let gradient_fits = |(id, gradient): &(ParameterId, Gradient)| {
            id.index() < parameters.len() && fits(gradient, parameters.get(*id).len())
        };
        if !gradients.is_sorted_by(|(a, _), (b, _)| a < b) || !gradients.iter().all(gradient_fits) {
            return refuse("the gradients are not those of these parameters, ascending");
        }
        Ok(())
    }
}

/// A store of zeros of the same names and shapes, without values where a parameter is not `kept`.
fn zeros(parameters: &Parameters, kept: impl Fn(ParameterId) -> bool) -> Parameters {
    let mut zeros = Parameters::default();
    for (id, parameter) in parameters.iter() {
        let shape = if kept(id) { parameter.tensor().shape() } else { &[0] };
        // Names that are different in one store are so in another.
        let _ = zeros.insert(&parameter.name, &Tensor::zeros(shape));
    }
    zeros
}

/// Whether a gradient is one of so many values.
fn fits(gradient: &Gradient, length: usize) -> bool {
    match gradient {
        Gradient::Dense(gradient) => gradient.len() == length,
        Gradient::Rows(touched) => {
            let (rows, width) = touched.values.rows_columns();
            rows == touched.rows.len()
                && touched.total_rows * width == length
                && touched.rows.is_sorted_by(|a, b| a < b)
                && touched.rows.last().is_none_or(|&row| (row as usize) < touched.total_rows)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::part::VALUES_A_PART;
    use super::*;
    use crate::{AdamW, Sgd, clipping_factor, gradient_norm};
    use polytask_tensor::testing::{accelerators, assert_close, assert_same_on_threads, sample};
    use polytask_tensor::{RowGradient, Tensor};

    const STEP: Update = Update { learning_rate: 0.1, step: 1, gradient_factor: 1.0, decays: true };

    #[test]
    fn the_state_of_another_optimizer_or_store_is_refused() {
        let store = |length| {
            let mut parameters = Parameters::default();
            let id = parameters.insert("a", &Tensor::full(&[length], 1.0)).unwrap();
            (parameters, id)
        };
        let (mut parameters, id) = store(3);
        let mut step = |mut state: OptimizerState, gradients: &[usize]| {
            let one = |&length: &usize| (id, Gradient::Dense(Tensor::full(&[length], 1.0)));
            let gradients: Vec<_> = gradients.iter().map(one).collect();
            state.apply(&AdamW::default(), &mut parameters, &gradients, STEP).map_err(|e| e.to_string())
        };
        let refused = Err("optimizer: its state was made for another optimizer or other parameters".into());
        assert_eq!(step(OptimizerState::new(&Sgd::default(), &store(3).0), &[3]), refused);
        assert_eq!(step(OptimizerState::new(&AdamW::default(), &store(2).0), &[3]), refused);
        assert_eq!(step(OptimizerState::default(), &[3]), refused);
        let state = OptimizerState::new(&AdamW::default(), &store(3).0);
        let refused = Err("optimizer: the gradients are not those of these parameters, ascending".into());
        assert_eq!(step(state.clone(), &[2]), refused);
        assert_eq!(step(state.clone(), &[3, 3]), refused);
        assert_eq!(step(state, &[3]), Ok(()));
        assert!(parameters.get(id).data().iter().all(|value| *value < 1.0));
    }

    /// Its first step is its first, however many steps others have taken.
    #[test]
    fn a_parameter_that_was_frozen_steps_as_if_training_began_with_it() {
        let start = || {
            let mut parameters = Parameters::default();
            let id = parameters.insert("a", &Tensor::full(&[3], 1.0)).unwrap();
            (OptimizerState::new(&AdamW::default(), &parameters), parameters, id)
        };
        let gradient = |id| [(id, Gradient::Dense(Tensor::full(&[3], 0.5)))];
        let (mut state, mut parameters, id) = start();
        parameters.set_trained(id, false);
        for step in 1..=5 {
            state.apply(&AdamW::default(), &mut parameters, &[], Update { step, ..STEP }).unwrap();
        }
        parameters.set_trained(id, true);
        let late = Update { step: 6, ..STEP };
        state.apply(&AdamW::default(), &mut parameters, &gradient(id), late).unwrap();
        let (mut fresh, mut others, id) = start();
        fresh.apply(&AdamW::default(), &mut others, &gradient(id), STEP).unwrap();
        assert_eq!(parameters.get(id).data(), others.get(id).data());
    }

    /// Matrices and vectors on both sides of a part's length, a parameter without a gradient, and an embedding of
    /// which rows here and there were touched.
    fn problem() -> (Parameters, Vec<(ParameterId, Gradient)>) {
        let mut parameters = Parameters::default();
        let mut gradients = Vec::new();
        for (stream, shape) in [&[3][..], &[130, 300], &[7], &[VALUES_A_PART], &[900, 40]].iter().enumerate()
        {
            let id = parameters.insert(&format!("{stream}"), &sample(shape, stream as u64)).unwrap();
            gradients.push((id, Gradient::Dense(sample(shape, 10 + stream as u64))));
        }
        gradients.remove(2);
        let rows: Vec<u32> = (0..900).filter(|row| row % 7 < 4).collect();
        let values = sample(&[rows.len(), 40], 20);
        gradients[3].1 = Gradient::Rows(RowGradient { rows, values, total_rows: 900 });
        (parameters, gradients)
    }

    /// All values and all that is kept for them after two steps.
    fn after_two_steps(
        optimizer: &dyn Optimizer,
        step: impl Fn(&mut OptimizerState, &mut Parameters, Update),
    ) -> Vec<Vec<f32>> {
        let (mut parameters, _) = problem();
        let mut state = OptimizerState::new(optimizer, &parameters);
        for number in 1..=2 {
            step(&mut state, &mut parameters, Update { step: number, ..STEP });
        }
        let values = parameters.iter().map(|(_, parameter)| parameter.tensor().data().to_vec());
        let kept = state.slots.iter().flat_map(Parameters::iter);
        values.chain(kept.map(|(_, parameter)| parameter.tensor().data().to_vec())).collect()
    }

    /// Without parts: each dense parameter in one call, each touched row in one call.
    fn one_by_one(
        optimizer: &dyn Optimizer,
        state: &mut OptimizerState,
        parameters: &mut Parameters,
        update: Update,
    ) {
        for (id, gradient) in problem().1 {
            let update = Update { decays: parameters.get(id).shape().len() == 2, ..update };
            let width = parameters.get(id).rows_columns().1;
            let slots = state.slots.iter_mut().map(|slot| slot.values_mut().swap_remove(id.index()));
            let mut slots: Vec<&mut [f32]> = slots.collect();
            parameters.update(id, |values| match gradient {
                Gradient::Dense(gradient) => {
                    optimizer.update(values, gradient.data(), &mut slots, update);
                }
                Gradient::Rows(touched) => {
                    for (place, &row) in touched.rows.iter().enumerate() {
                        let range = row as usize * width..(row as usize + 1) * width;
                        let mut slots: Vec<&mut [f32]> =
                            slots.iter_mut().map(|slot| &mut slot[range.clone()]).collect();
                        optimizer.update(&mut values[range], touched.values.row(place), &mut slots, update);
                    }
                }
            });
        }
    }

    #[test]
    fn parts_in_parallel_give_the_bits_of_one_parameter_after_the_other() {
        for optimizer in [&AdamW::default() as &dyn Optimizer, &Sgd { momentum: 0.9, weight_decay: 0.1 }] {
            let in_parts = || {
                after_two_steps(optimizer, |state, parameters, update| {
                    state.apply(optimizer, parameters, &problem().1, update).unwrap();
                })
            };
            let expected = after_two_steps(optimizer, |state, parameters, update| {
                one_by_one(optimizer, state, parameters, update);
            });
            assert!(in_parts() == expected, "{optimizer:?}");
            assert_same_on_threads(in_parts);
        }
    }

    /// Two steps with clipping, the second with a mean over two batches, and one with a norm that is not finite, which
    /// changes nothing.
    #[test]
    fn a_gpu_takes_the_steps_of_the_processor() {
        let optimizers: [Box<dyn Optimizer>; 2] =
            [Box::new(AdamW::default()), Box::new(Sgd { momentum: 0.9, weight_decay: 0.1 })];
        let pairs =
            accelerators().flat_map(|device| optimizers.iter().map(move |optimizer| (device, optimizer)));
        for (device, optimizer) in pairs {
            let optimizer = optimizer.as_ref();
            let clipped = |number: u64| (0.5, number as usize);
            let expected = after_two_steps(optimizer, |state, parameters, update| {
                let (gradients, (max_norm, terms)) = (problem().1, clipped(update.step));
                let norm = gradient_norm(gradients.iter().map(|(_, gradient)| gradient)) / terms as f64;
                let gradient_factor = clipping_factor(norm, max_norm) / terms as f32;
                state.apply(optimizer, parameters, &gradients, Update { gradient_factor, ..update }).unwrap();
            });
            let found = after_two_steps(optimizer, |state, parameters, update| {
                state.move_to(device).unwrap();
                parameters.move_to(device).unwrap();
                let (max_norm, terms) = clipped(update.step);
                let mut gradients = problem().1;
                for broken in [false, true] {
                    if broken {
                        gradients[0].1 = Gradient::Dense(Tensor::full(&[3], f32::INFINITY));
                    }
                    gradients[0].1 = Gradient::Dense(gradients[0].1.kept().to(device).unwrap());
                    let all = gradients.iter().map(|(_, gradient)| gradient);
                    let norm = GradientNorm::of(all, terms, max_norm).unwrap().unwrap();
                    assert_eq!(norm.value().is_finite(), !broken);
                    state.apply_on_gpu(optimizer, parameters, &gradients, update, &norm).unwrap();
                }
            });
            // A square root and a quotient of f32, and sums of squares in another order.
            found.iter().zip(&expected).for_each(|(found, expected)| assert_close(found, expected, 1e-5));
        }
    }

    /// Clipping, the mean over three batches, and both.
    #[test]
    fn the_factor_is_that_of_gradients_multiplied_before() {
        let norm = gradient_norm(problem().1.iter().map(|(_, gradient)| gradient));
        let clipping = clipping_factor(norm, 1.0);
        assert!(clipping < 0.1);
        for optimizer in [&AdamW::default() as &dyn Optimizer, &Sgd { momentum: 0.9, weight_decay: 0.1 }] {
            for gradient_factor in [clipping, 1.0 / 3.0, clipping / 3.0] {
                let within = after_two_steps(optimizer, |state, parameters, update| {
                    let update = Update { gradient_factor, ..update };
                    state.apply(optimizer, parameters, &problem().1, update).unwrap();
                });
                let before = after_two_steps(optimizer, |state, parameters, update| {
                    let mut gradients = problem().1;
                    for (_, gradient) in &mut gradients {
                        gradient.update(|g| g.iter_mut().for_each(|g| *g *= gradient_factor));
                    }
                    state.apply(optimizer, parameters, &gradients, update).unwrap();
                });
                within.iter().zip(&before).for_each(|(within, before)| assert_close(within, before, 1e-6));
            }
        }
    }
}
