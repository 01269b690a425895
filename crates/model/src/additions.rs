//! Tasks added to a trained model, and the proof that they changed nothing of it.

use std::collections::BTreeMap;

use polytask_encoder::Adapter;
use polytask_tensor::Tensor;

use crate::{Error, Example, Model, ModelTask, Result, pack};

/// Texts that are compared at a time.
const BATCH_TEXTS: usize = 32;

impl Model {
    /// The same model with further tasks, fitted, behind its own, and with adapters for them. What is new is drawn from the
    /// seed.
    ///
    /// # Errors
    /// A task has the name of another one, or the encoder refuses the adapters.
    pub fn with_tasks(&self, tasks: Vec<ModelTask>, adapters: Vec<Adapter>, seed: u64) -> Result<Self> {
        let mut config = self.config().copy()?;
        config.tasks.extend(tasks);
        config.adapters.extend(adapters);
        let parameters = self.parameters().iter();
        let given: BTreeMap<String, Tensor> =
            parameters.map(|(_, parameter)| (parameter.name.clone(), parameter.tensor().detach())).collect();
        Self::starting_from(config, self.tokenizer().clone(), &given, seed)
    }
}

/// Proves that a model to which tasks were added is, for the tasks before them, the old one: their parameters and the
/// encoder's have the same bits, and so have their logits on some texts, whether they are asked alone or with the new ones.
///
/// # Errors
/// The first parameter or task that differs, or whatever a model refuses.
pub fn check_unchanged(old: &Model, new: &Model, examples: &[&Example]) -> Result<()> {
    for (_, parameter) in old.parameters().iter() {
        let name = &parameter.name;
        let found = new.parameters().find(name).map(|id| new.parameters().get(id));
        if !found.is_some_and(|found| same_bits(found, parameter.tensor())) {
            return Err(Error::Changed(format!("parameter `{name}` differs")));
        }
    }
    let (before, all) = (old.tasks_named(&[])?, new.tasks_named(&[])?);
    for texts in examples.chunks(BATCH_TEXTS) {
        let batch = pack(texts.iter().copied());
        let expected = old.infer(&batch, &before)?;
        for asked in [&before, &all] {
            let found = new.infer(&batch, asked)?;
            for &task in &before {
                let logits = |forward: &crate::Forward| Some(forward.outputs[task].as_ref()?.logits.clone());
                let same = logits(&expected).zip(logits(&found)).is_some_and(|(a, b)| same_bits(&a, &b));
                if !same {
                    let name = &old.config().tasks[task].settings.name;
                    return Err(Error::Changed(format!("the logits of task `{name}` differ")));
                }
            }
        }
    }
    Ok(())
}

fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    let bits = |value: &f32| value.to_bits();
    a.shape() == b.shape() && a.data().iter().map(bits).eq(b.data().iter().map(bits))
}
