use polytask_tensor::initialize::Initializer;
use polytask_tensor::{ParameterBuilder, ParameterId, Parameters, Pass, Result, Tensor, ops};

use crate::Adapter;
use crate::bias::Bias;
use crate::lora::Lora;

/// Y = X W + b: the layer around [`ops::linear`].
///
/// Parameters: `weight` `[inputs, outputs]` (of a stacked layer `[inputs, parts · outputs]`), uniform in
/// ±√(6 / (inputs + outputs)); `bias` `[outputs]`, zero.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: ParameterId,
    bias: Bias,
    parts: usize,
    /// What each adapter adds.
    lora: Vec<Option<Lora>>,
}

impl Linear {
    /// Makes the parameters under the builder's prefix.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn new(builder: &mut ParameterBuilder<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        Self::stacked(builder, inputs, outputs, 1)
    }

    /// Several layers of one input side by side, as one product: `parts` times `outputs` columns, drawn as each
    /// part would be alone.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn stacked(
        builder: &mut ParameterBuilder<'_>,
        inputs: usize,
        outputs: usize,
        parts: usize,
    ) -> Result<Self> {
        let weight = weight(builder, inputs, outputs, parts)?;
        Ok(Self { weight, bias: Bias::new(builder, parts * outputs)?, parts, lora: Vec::new() })
    }

    /// [`stacked`](Self::stacked) without a bias.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn without_bias(
        builder: &mut ParameterBuilder<'_>,
        inputs: usize,
        outputs: usize,
        parts: usize,
    ) -> Result<Self> {
        let weight = weight(builder, inputs, outputs, parts)?;
        Ok(Self { weight, bias: Bias::none(parts * outputs), parts, lora: Vec::new() })
    }

    /// The same layer with what some adapters add to it: where an adapter has a `lora_rank`, the parameters `lora.a`
    /// `[inputs, rank]` and `lora.b` `[rank, outputs]`, or `lora.TASK.a` and `lora.TASK.b`; in a stacked layer a pair for each
    /// part, `lora.a0` and so on.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn with_adapters(mut self, builder: &mut ParameterBuilder<'_>, adapters: &[Adapter]) -> Result<Self> {
        let (inputs, outputs) = builder.get(self.weight).rows_columns();
        let lora = |adapter| Lora::new(builder, [inputs, outputs / self.parts], self.parts, adapter);
        self.lora = adapters.iter().map(lora).collect::<Result<_>>()?;
        Ok(self)
    }

    /// `[rows, inputs]` → `[rows, outputs]`.
    ///
    /// # Errors
    /// `x` has another number of columns.
    pub fn forward(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, parameters.get(self.weight), Some(self.bias.of(parameters)))
    }

    /// gelu(X W + b), `[rows, inputs]` → `[rows, outputs]`.
    ///
    /// # Errors
    /// `x` has another number of columns.
    pub fn forward_gelu(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        ops::linear_gelu(x, parameters.get(self.weight), self.bias.of(parameters))
    }

    /// [`forward`](Self::forward) with what one adapter, by its place, adds: X W + b + (alpha / rank) · dropout(X) A B.
    ///
    /// # Errors
    /// `x` has another number of columns.
    pub fn forward_adapted(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        adapter: Option<usize>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let Some(lora) = self.lora(adapter) else { return self.forward(parameters, x) };
        let low_rank = lora.factors(parameters, x, pass)?;
        ops::linear_low_rank(x, parameters.get(self.weight), self.bias.of(parameters), low_rank)
    }

    /// The gelu of [`forward_adapted`](Self::forward_adapted).
    ///
    /// # Errors
    /// `x` has another number of columns.
    pub fn forward_gelu_adapted(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        adapter: Option<usize>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let Some(lora) = self.lora(adapter) else { return self.forward_gelu(parameters, x) };
        let low_rank = lora.factors(parameters, x, pass)?;
        ops::linear_low_rank_gelu(x, parameters.get(self.weight), self.bias.of(parameters), low_rank)
    }

    /// `next` of the [`forward_gelu_adapted`](Self::forward_gelu_adapted), each with what one adapter adds: of
    /// `[rows, inputs]` the rows of `next`. One operation where neither layer has that adapter.
    ///
    /// # Errors
    /// `x` has another number of columns, or `next` another number of inputs.
    pub fn feed_forward_adapted(
        &self,
        next: &Linear,
        parameters: &Parameters,
        x: &Tensor,
        adapter: Option<usize>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        if self.lora(adapter).is_none() && next.lora(adapter).is_none() {
            let [w1, w2] = [self, next].map(|layer| parameters.get(layer.weight));
            return ops::feed_forward(x, w1, self.bias.of(parameters), w2, next.bias.of(parameters));
        }
        let inner = self.forward_gelu_adapted(parameters, x, adapter, pass)?;
        next.forward_adapted(parameters, &inner, adapter, pass)
    }

    /// The number of columns of what it gives.
    pub(crate) fn outputs(&self, builder: &ParameterBuilder<'_>) -> usize {
        builder.get(self.weight).rows_columns().1
    }

    fn lora(&self, adapter: Option<usize>) -> Option<&Lora> {
        self.lora.get(adapter?)?.as_ref()
    }
}

fn weight(
    builder: &mut ParameterBuilder<'_>,
    inputs: usize,
    outputs: usize,
    parts: usize,
) -> Result<ParameterId> {
    builder.parameter("weight", &[inputs, parts * outputs], Initializer::xavier_uniform(inputs, outputs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AdapterConfig;
    use polytask_tensor::testing::{assert_close, sample};

    fn adapted(dropout: f32) -> (Parameters, Linear) {
        let config = AdapterConfig { lora_rank: 2, lora_dropout: dropout, ..AdapterConfig::default() };
        let adapters = [None, Some("mood".into())].map(|task| Adapter { task, config: config.clone() });
        let mut parameters = Parameters::default();
        let mut builder = ParameterBuilder::random(&mut parameters, 1);
        let layer = Linear::new(&mut builder, 6, 4).unwrap().with_adapters(&mut builder, &adapters).unwrap();
        (parameters, layer)
    }

    fn fill(parameters: &mut Parameters, name: &str) {
        let id = parameters.find(name).unwrap();
        let values = sample(parameters.get(id).shape(), 9);
        parameters.update(id, |b| b.copy_from_slice(values.data()));
    }

    #[test]
    fn an_adapter_adds_nothing_at_first_and_then_its_product() {
        let (mut parameters, layer) = adapted(0.0);
        let x = sample(&[5, 6], 1);
        let forward = |parameters: &Parameters, adapter| {
            layer.forward_adapted(parameters, &x, adapter, &mut Pass::inference()).unwrap()
        };
        let plain = forward(&parameters, None);
        assert_eq!(forward(&parameters, Some(0)).data(), plain.data());
        fill(&mut parameters, "lora.b");
        let [a, b, weight, bias] = ["lora.a", "lora.b", "weight", "bias"]
            .map(|name| parameters.get(parameters.find(name).unwrap()).detach());
        // alpha / rank = 16 / 2.
        let sum = ops::add(&weight, &ops::scale(&ops::linear(&a, &b, None).unwrap(), 8.0).unwrap()).unwrap();
        let merged = ops::linear(&x, &sum, Some(&bias)).unwrap();
        // A sum of 8 products in f32, in another order.
        assert_close(forward(&parameters, Some(0)).data(), merged.data(), 1e-5);
        let gelu = layer.forward_gelu_adapted(&parameters, &x, Some(0), &mut Pass::inference()).unwrap();
        assert_close(gelu.data(), ops::gelu(&merged).unwrap().data(), 1e-5);
        // The adapter of a task is another one.
        assert_eq!(forward(&parameters, Some(1)).data(), plain.data());
    }

    #[test]
    fn two_layers_at_once_are_one_after_the_other() {
        let (mut parameters, layer) = adapted(0.0);
        let next = Linear::new(&mut ParameterBuilder::random(&mut parameters, 2).part("next"), 4, 6).unwrap();
        fill(&mut parameters, "lora.b");
        let (x, mut pass) = (sample(&[5, 6], 1), Pass::inference());
        for adapter in [None, Some(0)] {
            let at_once = layer.feed_forward_adapted(&next, &parameters, &x, adapter, &mut pass).unwrap();
            let inner = layer.forward_gelu_adapted(&parameters, &x, adapter, &mut pass).unwrap();
            assert_eq!(at_once.data(), next.forward(&parameters, &inner).unwrap().data());
        }
    }

    #[test]
    fn gradients_flow_to_the_adapter_alone_where_the_rest_is_frozen() {
        let (mut parameters, layer) = adapted(0.3);
        fill(&mut parameters, "lora.b");
        for name in ["weight", "bias"] {
            let id = parameters.find(name).unwrap();
            parameters.set_trained(id, false);
        }
        let (x, mut pass) = (sample(&[5, 6], 1), Pass::training(1, 1));
        let y = layer.forward_gelu_adapted(&parameters, &x, Some(0), &mut pass).unwrap();
        let gradients = y.backward_from(sample(&[5, 4], 2)).unwrap();
        let reached = parameters.iter().filter(|(_, p)| gradients.get(p.tensor()).is_some());
        assert_eq!(reached.map(|(_, p)| p.name.as_str()).collect::<Vec<_>>(), ["lora.a", "lora.b"]);
    }
}
