//! The layers of an encoder as nodes; texts come one a run, so that a text is a matrix `[pieces, width]`.

use std::f32::consts::FRAC_1_SQRT_2;

use polytask_tensor::{Error, Parameters, Tensor};

use crate::Result;
use crate::graph::{Graph, Value, float, int, ints};

/// A graph, and the parameters of the model that it is made of.
pub(crate) struct Layers<'a> {
    pub(crate) graph: Graph,
    pub(crate) parameters: &'a Parameters,
}

/// The states of one text, `[pieces, width]` each.
pub(crate) struct States {
    /// The embeddings, and what each layer gives.
    pub(crate) layers: Vec<Value>,
    /// What the encoder gives.
    pub(crate) last: Value,
}

/// What sets the attention of one layer apart from that of another.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attention<'a> {
    /// How many columns of a state each head has, and of what.
    pub(crate) heads: usize,
    /// The cosines and sines by which queries and keys are turned, `[pieces, width / heads]` each.
    pub(crate) rotation: Option<&'a [Value; 2]>,
    /// What is added to the scores, `[pieces, pieces]`.
    pub(crate) mask: Option<&'a Value>,
}

impl<'a> Layers<'a> {
    /// A parameter's values.
    pub(crate) fn values(&self, name: &str) -> Result<&'a Tensor> {
        let missing = || Error::shape("export", format!("no parameter `{name}`"));
        Ok(self.parameters.get(self.parameters.find(name).ok_or_else(missing)?))
    }

    /// A parameter as a constant.
    pub(crate) fn parameter(&mut self, name: &str) -> Result<Value> {
        let tensor = self.values(name)?;
        Ok(self.graph.constant(name, tensor.shape(), tensor.data()))
    }

    /// X W + b, without b where there is none.
    pub(crate) fn linear(&mut self, x: &Value, name: &str) -> Result<Value> {
        let weight = self.parameter(&format!("{name}.weight"))?;
        let product = self.graph.node("MatMul", &[x, &weight], &[]);
        match self.bias(name)? {
            Some(bias) => Ok(self.add(&product, &bias)),
            None => Ok(product),
        }
    }

    /// Rows of mean 0 and variance 1, then a gain and a bias, without it where there is none.
    pub(crate) fn layer_norm(&mut self, x: &Value, name: &str, epsilon: f32) -> Result<Value> {
        let gain = self.parameter(&format!("{name}.gain"))?;
        let bias = self.bias(name)?;
        let inputs: Vec<&Value> = [x, &gain].into_iter().chain(&bias).collect();
        Ok(self.graph.node("LayerNormalization", &inputs, &[int("axis", -1), float("epsilon", epsilon)]))
    }

    /// x (1 + erf(x / √2)) / 2.
    pub(crate) fn gelu(&mut self, x: &Value) -> Value {
        let [scale, one, half] = [FRAC_1_SQRT_2, 1.0, 0.5].map(|value| self.graph.number(value));
        let scaled = self.multiply(x, &scale);
        let erf = self.graph.node("Erf", &[&scaled], &[]);
        let sum = self.add(&erf, &one);
        let product = self.multiply(x, &sum);
        self.multiply(&product, &half)
    }

    /// Multi-head self-attention, with its two products.
    pub(crate) fn self_attention(
        &mut self,
        x: &Value,
        name: &str,
        attention: Attention<'_>,
    ) -> Result<Value> {
        let [heads, width] = [attention.heads, self.values(&format!("{name}.output.weight"))?.shape()[0]];
        let projections = self.linear(x, &format!("{name}.query_key_value"))?;
        // [pieces, 3 · width] → [3, heads, pieces, width / heads]
        let by_head = self.reshape(&projections, &[-1, 3, heads as i64, (width / heads) as i64]);
        let by_head = self.transpose(&by_head, &[1, 2, 0, 3]);
        let [query, key, value] = self.graph.split(&by_head, 0);
        let [query, key] = match attention.rotation {
            Some(rotation) => [query, key].map(|x| self.rotate(&x, rotation)),
            None => [query, key],
        };
        let key = self.transpose(&key, &[0, 1, 3, 2]);
        let scores = self.graph.node("MatMul", &[&query, &key], &[]);
        let scale = self.graph.number(1.0 / ((width / heads) as f32).sqrt());
        let mut scores = self.multiply(&scores, &scale);
        if let Some(mask) = attention.mask {
            scores = self.add(&scores, mask);
        }
        let weights = self.graph.node("Softmax", &[&scores], &[int("axis", -1)]);
        let gathered = self.graph.node("MatMul", &[&weights, &value], &[]);
        let by_piece = self.transpose(&gathered, &[0, 2, 1, 3]);
        let by_piece = self.reshape(&by_piece, &[-1, width as i64]);
        self.linear(&by_piece, &format!("{name}.output"))
    }

    /// Pairs of columns i and i + d / 2 turned by an angle: [a b] cos + [−b a] sin, where the sines' first half is negated.
    fn rotate(&mut self, x: &Value, [cosines, sines]: &[Value; 2]) -> Value {
        let [first, second] = self.graph.split(x, -1);
        let swapped = self.concat(&second, &first);
        let [straight, across] = [(x, cosines), (&swapped, sines)].map(|(x, by)| self.multiply(x, by));
        self.add(&straight, &across)
    }

    /// Two values side by side.
    pub(crate) fn concat(&mut self, left: &Value, right: &Value) -> Value {
        self.graph.node("Concat", &[left, right], &[int("axis", -1)])
    }

    /// The sum of two values.
    pub(crate) fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.graph.node("Add", &[a, b], &[])
    }

    /// The product of two values, number by number.
    pub(crate) fn multiply(&mut self, a: &Value, b: &Value) -> Value {
        self.graph.node("Mul", &[a, b], &[])
    }

    /// The same values in another shape.
    pub(crate) fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.graph.integers(shape);
        self.graph.node("Reshape", &[x, &shape], &[])
    }

    /// The axes in another order.
    pub(crate) fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.graph.node("Transpose", &[x], &[ints("perm", order)])
    }

    fn bias(&mut self, name: &str) -> Result<Option<Value>> {
        let name = format!("{name}.bias");
        match self.parameters.find(&name) {
            Some(_) => self.parameter(&name).map(Some),
            None => Ok(None),
        }
    }
}
