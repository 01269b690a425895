//! LoRA folded into the weights that it stands beside.

use std::collections::BTreeMap;

use polytask_encoder::Adapter;
use polytask_tensor::{Parameters, Precision, Tensor, ops};

use crate::{Error, Model, Result};

/// What the first matrices of LoRA are called beneath their layer: that of a layer, or of the first part of a stacked one.
const LORA: [&str; 2] = [".lora.a", ".lora.a0"];

impl Model {
    /// The same model without adapters, the shared LoRA folded into the encoder's weights:
    ///
    /// ```text
    /// W ← W + (alpha / rank) A B
    /// ```
    ///
    /// # Errors
    /// It has other adapters or none, or its weights are 8-bit integers.
    pub fn merged(&self) -> Result<Self> {
        let scale = self.scale()?;
        let mut parameters = self.parameters().detached();
        parameters.set_precision(Precision::F32);
        let mut values = BTreeMap::new();
        for (_, parameter) in parameters.iter().filter(|(_, p)| !Adapter::is_part_of_one(&p.name)) {
            values.insert(parameter.name.clone(), parameter.tensor().clone());
        }
        let layer = |name: &str| LORA.iter().find_map(|suffix| name.strip_suffix(suffix).map(str::to_owned));
        for layer in parameters.iter().filter_map(|(_, parameter)| layer(&parameter.name)) {
            let weight = find(&parameters, &layer, "weight")?;
            let change = ops::scale(&product(&parameters, &layer)?, scale)?;
            values.insert(format!("{layer}.weight"), ops::add(weight, &change)?);
        }
        let mut config = self.config().copy()?;
        config.adapters.clear();
        Self::starting_from(config, self.tokenizer().clone(), &values, 0)
    }

    /// Itself where it has no adapters, else [`merged`](Self::merged).
    ///
    /// # Errors
    /// Its adapters cannot be merged.
    pub fn without_adapters(self) -> Result<Self> {
        if self.config().adapters.is_empty() { Ok(self) } else { self.merged() }
    }

    /// alpha / rank of the shared LoRA.
    fn scale(&self) -> Result<f32> {
        let refuse = |message: &str| Err(Error::NotMergeable(message.into()));
        let config = match self.config().adapters.as_slice() {
            [] => return refuse("this model has none"),
            [Adapter { task: None, config }] => config,
            _ => return refuse("tasks have adapters of their own, and one weight cannot hold them all"),
        };
        if config.bottleneck > 0 {
            return refuse("a `bottleneck` is a network of its own, no change of a weight");
        }
        if self.is_quantized() {
            return refuse(
                "the weights are 8-bit integers: merge the model that this one was quantized from",
            );
        }
        Ok(config.lora_alpha / config.lora_rank as f32)
    }
}

/// A B of a layer, `[inputs, outputs]`; of a stacked layer those of its parts side by side.
fn product(parameters: &Parameters, layer: &str) -> Result<Tensor> {
    let of_part = |number: &str| {
        let [a, b] = ["a", "b"].map(|name| find(parameters, layer, &format!("lora.{name}{number}")));
        Ok(ops::linear(a?, b?, None)?)
    };
    let has_part = |part: &usize| parameters.find(&format!("{layer}.lora.a{part}")).is_some();
    let parts = (0..).take_while(has_part).map(|part| of_part(&part.to_string()));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    if parts.is_empty() {
        of_part("")
    } else {
        Ok(ops::concatenate_columns(&parts.iter().collect::<Vec<_>>())?)
    }
}

fn find<'a>(parameters: &'a Parameters, layer: &str, name: &str) -> Result<&'a Tensor> {
    let name = format!("{layer}.{name}");
    let missing = || Error::NotMergeable(format!("there is no parameter `{name}`"));
    parameters.find(&name).map(|id| parameters.get(id)).ok_or_else(missing)
}
