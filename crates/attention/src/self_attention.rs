use polytask_tensor::{Offsets, ParameterBuilder, Parameters, Pass, Result, Tensor, ops};

use crate::Linear;

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
}

impl SelfAttention {
    /// Makes the parameters under the builder's prefix; `dropout` falls on the attention weights.
    ///
    /// # Errors
    /// A name is taken, or the builder's file lacks a parameter.
    pub fn new(builder: &mut ParameterBuilder<'_>, width: usize, heads: usize, dropout: f32) -> Result<Self> {
        let query_key_value = Linear::stacked(&mut builder.part("query_key_value"), width, width, 3)?;
        let output = Linear::new(&mut builder.part("output"), width, width)?;
        Ok(Self { query_key_value, output, heads, dropout })
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
        let projections = self.query_key_value.forward(parameters, x)?;
        let dropout = pass.next_key().filter(|_| self.dropout > 0.0).map(|key| (self.dropout, key));
        let heads = ops::self_attention(&projections, texts, self.heads, None, dropout)?;
        self.output.forward(parameters, &heads)
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
