use polytask_tensor::{Offsets, ParameterBuilder, Parameters, Pass, Result, Tensor, ops};

use crate::{Adapter, Bottlenecks, Linear};

/// Multi-head self-attention over packed texts: each token attends to the tokens of its own text.
///
/// ```text
/// [Q K V] = X W + b                                       one product for the three, [tokens, 3 · width]
/// head h:  softmax(Q_h K_hᵀ / √(width / heads)) V_h       within each text
/// Y = [head 1 … head H] W_O + b_O
/// ```
///
/// Vaswani et al., *Attention Is All You Need*, 2017. Parameters: the [`Linear`] layers `query_key_value`,
/// `[width, 3 · width]`, whose three parts are drawn as layers of their own would be, and `output`, `[width, width]`.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    query_key_value: Linear,
    output: Linear,
    heads: usize,
    dropout: f32,
    /// The base of the angles by which queries and keys are rotated, where they are.
    rotary_base: Option<f32>,
    /// How far to each side a token sees; all of its text where there is none.
    window: Option<usize>,
    bottlenecks: Bottlenecks,
}

impl SelfAttention {
    /// Makes the parameters under the builder's prefix; `dropout` falls on the attention weights.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn new(builder: &mut ParameterBuilder<'_>, width: usize, heads: usize, dropout: f32) -> Result<Self> {
        let query_key_value = Linear::stacked(&mut builder.part("query_key_value"), width, width, 3)?;
        let output = Linear::new(&mut builder.part("output"), width, width)?;
        let (rotary_base, window, bottlenecks) = Default::default();
        Ok(Self { query_key_value, output, heads, dropout, rotary_base, window, bottlenecks })
    }

    /// Self-attention without biases that knows the distance of two tokens by [rotating](ops::rotary) queries and keys, with
    /// angles of this base, and where a token sees `window` tokens on each side, or all.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn rotary(
        builder: &mut ParameterBuilder<'_>,
        width: usize,
        heads: usize,
        dropout: f32,
        base: f32,
        window: Option<usize>,
    ) -> Result<Self> {
        let query_key_value = Linear::without_bias(&mut builder.part("query_key_value"), width, width, 3)?;
        let output = Linear::without_bias(&mut builder.part("output"), width, width, 1)?;
        let (rotary_base, bottlenecks) = (Some(base), Bottlenecks::default());
        Ok(Self { query_key_value, output, heads, dropout, rotary_base, window, bottlenecks })
    }

    /// The same layer with what some adapters add to its projections, and with their bottlenecks behind it.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn with_adapters(mut self, builder: &mut ParameterBuilder<'_>, adapters: &[Adapter]) -> Result<Self> {
        let mut query_key_value = builder.part("query_key_value");
        self.query_key_value = self.query_key_value.with_adapters(&mut query_key_value, adapters)?;
        self.output = self.output.with_adapters(&mut builder.part("output"), adapters)?;
        self.bottlenecks = Bottlenecks::new(builder, self.output.outputs(builder), adapters)?;
        Ok(self)
    }

    /// `[tokens, width]` → `[tokens, width]`; `texts` cuts the tokens into texts.
    ///
    /// # Errors
    /// The width differs, or is no multiple of the heads.
    pub fn forward(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        texts: &Offsets,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        self.forward_adapted(parameters, x, texts, None, pass)
    }

    /// The same through one adapter, by its place.
    ///
    /// # Errors
    /// The width differs, or is no multiple of the heads.
    pub fn forward_adapted(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        texts: &Offsets,
        adapter: Option<usize>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let mut projections = self.query_key_value.forward_adapted(parameters, x, adapter, pass)?;
        if let Some(base) = self.rotary_base {
            projections = ops::rotary(&projections, texts, self.heads, base)?;
        }
        let dropout = pass.next_key().filter(|_| self.dropout > 0.0).map(|key| (self.dropout, key));
        let heads = ops::self_attention(&projections, texts, self.heads, self.window, dropout)?;
        let y = self.output.forward_adapted(parameters, &heads, adapter, pass)?;
        self.bottlenecks.forward(parameters, y, adapter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::testing::{assert_close, sample};

    fn layer(dropout: f32) -> (Parameters, SelfAttention) {
        let mut parameters = Parameters::default();
        let layer =
            SelfAttention::new(&mut ParameterBuilder::random(&mut parameters, 1), 8, 2, dropout).unwrap();
        (parameters, layer)
    }

    #[test]
    fn a_text_sees_only_itself() {
        let (parameters, layer) = layer(0.0);
        let x = sample(&[7, 8], 1);
        let together =
            layer.forward(&parameters, &x, &Offsets::from_lengths([3, 4]), &mut Pass::inference()).unwrap();
        let alone = |range: std::ops::Range<usize>| {
            let text = ops::rows(&x, range.clone()).unwrap();
            let offsets = Offsets::from_lengths([range.len()]);
            layer.forward(&parameters, &text, &offsets, &mut Pass::inference()).unwrap()
        };
        // A sum of 8 products in f32; the blocks of the matrix product may differ.
        assert_close(&together.data()[..24], alone(0..3).data(), 1e-6);
        assert_close(&together.data()[24..], alone(3..7).data(), 1e-6);
    }

    #[test]
    fn every_parameter_gets_a_gradient() {
        let (parameters, layer) = layer(0.1);
        let offsets = Offsets::from_lengths([3, 4]);
        let y = layer.forward(&parameters, &sample(&[7, 8], 1), &offsets, &mut Pass::training(1, 1)).unwrap();
        let gradients = y.backward_from(sample(&[7, 8], 2)).unwrap();
        for (_, parameter) in parameters.iter() {
            let gradient = gradients.get(parameter.tensor()).unwrap();
            let touched = |values: &[f32]| values.iter().any(|g| g.abs() > 1e-6);
            if parameter.name == "query_key_value.bias" {
                // One bias for all keys of a text shifts a row of scores as a whole, and changes no weight.
                let parts: Vec<bool> = gradient.values().chunks(8).map(touched).collect();
                assert_eq!(parts, [true, false, true]);
            } else {
                let rows = gradient.values().chunks(8).map(touched);
                assert!(rows.into_iter().all(|touched| touched), "{}", parameter.name);
            }
        }
    }

    #[test]
    fn dropout_falls_in_training_alone() {
        let (parameters, layer) = layer(0.5);
        let x = sample(&[5, 8], 1);
        let forward = |mut pass: Pass| {
            layer.forward(&parameters, &x, &Offsets::from_lengths([5]), &mut pass).unwrap().data().to_vec()
        };
        assert_eq!(forward(Pass::inference()), forward(Pass::inference()));
        assert_ne!(forward(Pass::training(1, 1)), forward(Pass::training(1, 2)));
    }
}
