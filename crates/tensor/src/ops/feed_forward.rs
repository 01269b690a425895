//! Two layers with GELU between them: Y = gelu(X W1 + b1) W2 + b2.
//!
//! ```text
//! X [rows, inputs]   W1 [inputs, hidden]   b1 [hidden]   W2 [hidden, outputs]   b2 [outputs]   →   Y [rows, outputs]
//! Z = X W1 + b1      H = gelu(Z)           Y = H W2 + b2
//! dW2 = Hᵀ dY        db2 = Σ_rows dY       dZ = dY W2ᵀ ⊙ gelu'(Z)
//! dW1 = Xᵀ dZ        db1 = Σ_rows dZ       dX = dZ W1ᵀ
//! ```
//!
//! It is [`linear`] of [`linear_gelu`]. On a GPU in bf16 it is products alone: everything else is done by them besides, and
//! Z, H and dZ pass through memory as bf16 only. GELU is its approximation by tanh there, which is off by 5e-4 at most; bf16
//! rounds off eight times as much of a value between 1 and 2.
//!
//! Kept for the backward there: X, W1, W2, Z, H.

use super::{linear, linear_gelu};
use crate::cuda::{Argument, Epilogue, Gpu, Memory, Numbers, Operand, Product};
use crate::{Buffer, Gradient, Operation, Precision, Result, Tensor};

/// gelu(X W1 + b1) W2 + b2 of X `[rows, inputs]`, W1 `[inputs, hidden]`, b1 `[hidden]`, W2 `[hidden, outputs]` and b2
/// `[outputs]`: `[rows, outputs]`.
///
/// # Errors
/// A weight is no matrix, or the columns of X, those of W1, or the values of a bias do not fit.
pub fn feed_forward(x: &Tensor, w1: &Tensor, b1: &Tensor, w2: &Tensor, b2: &Tensor) -> Result<Tensor> {
    if let Some(gpu) = Gpu::of([x, w1, w2])?
        && let Some(y) = by_products_alone(gpu, [x, w1, b1, w2, b2])?
    {
        return Ok(y);
    }
    linear(&linear_gelu(x, w1, b1)?, w2, Some(b2))
}

/// `None` where it is not in bf16, or where the GPU refuses one of the products, be it of the backward.
fn by_products_alone(gpu: &'static Gpu, inputs: [&Tensor; 5]) -> Result<Option<Tensor>> {
    let Some(sizes) = Sizes::of(inputs) else { return Ok(None) };
    let Sizes { rows, hidden, outputs, .. } = sizes;
    let is_tracked = inputs.iter().any(|input| input.is_tracked());
    let h = gpu.allocate_bf16(rows * hidden)?;
    let z = is_tracked.then(|| gpu.allocate_bf16(rows * hidden)).transpose()?;
    let y = gpu.allocate(rows * outputs)?;
    let operation = FeedForward { inputs: inputs.map(Tensor::clone), sizes, z, h };
    let products = operation.products(gpu, Argument::from(&y))?;
    let mut asked = products.to_vec();
    if is_tracked {
        // All memory is aligned alike: this stands for what the backward will have.
        let place = Argument::from(&y);
        asked.extend(operation.products_of_backward(gpu, [place; 2], [place; 5])?);
    }
    for product in asked {
        if !gpu.can_multiply(&product)? {
            return Ok(None);
        }
    }
    products.iter().try_for_each(|product| gpu.multiply(product))?;
    Ok(Some(Buffer::on_gpu(y, &[rows, outputs]).recorded(operation)))
}

#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    inputs: usize,
    hidden: usize,
    outputs: usize,
}

impl Sizes {
    /// Those of X, W1, b1, W2 and b2; `None` where they do not fit, or the numbers are others than bf16. A bias's gradient is
    /// made beside its weight's.
    fn of([x, w1, b1, w2, b2]: [&Tensor; 5]) -> Option<Self> {
        let (rows, inputs) = x.rows_columns();
        let ((_, hidden), (_, outputs)) = (w1.rows_columns(), w2.rows_columns());
        let fits = w1.shape() == [inputs, hidden]
            && b1.shape() == [hidden]
            && w2.shape() == [hidden, outputs]
            && b2.shape() == [outputs];
        let is_layer_bf16 = |weight: &Tensor, bias: &Tensor| {
            weight.precision() == Precision::Bf16 && (weight.is_tracked() || !bias.is_tracked())
        };
        let is_aligned = [inputs, hidden, outputs].iter().all(|size| size.is_multiple_of(8));
        let is_bf16 = is_layer_bf16(w1, b1) && is_layer_bf16(w2, b2);
        (fits && is_aligned && is_bf16).then_some(Self { rows, inputs, hidden, outputs })
    }
}

struct FeedForward {
    /// X, W1, b1, W2, b2.
    inputs: [Tensor; 5],
    sizes: Sizes,
    /// Z, bf16; where an input is tracked.
    z: Option<Memory>,
    /// H, bf16.
    h: Memory,
}

impl FeedForward {
    /// H and Z, then Y.
    fn products(&self, gpu: &'static Gpu, y: Argument) -> Result<[Product; 2]> {
        let Sizes { rows, inputs, hidden, outputs } = self.sizes;
        let ([x, w1, w2], h) = (self.operands(gpu)?, Argument::from(&self.h));
        let [_, _, b1, _, b2] = &self.inputs;
        let bias_gelu =
            Epilogue::BiasGelu { bias: gpu.read_bf16(b1)?, sum: self.z.as_ref().map(Argument::from) };
        let bias = Epilogue::Bias(gpu.read(b2)?);
        Ok([
            product(x, w1, [rows, inputs, hidden], h).with(bias_gelu),
            product(Operand::new(h), w2, [rows, hidden, outputs], y).with(bias),
        ])
    }

    /// dW2 with db2, dZ, dW1 with db1, and dX, as far as they are needed; of the places of dY and dZ, and of the gradients of
    /// the inputs.
    fn products_of_backward(
        &self,
        gpu: &'static Gpu,
        [dy, dz]: [Argument; 2],
        [dx, dw1, db1, dw2, db2]: [Argument; 5],
    ) -> Result<Vec<Product>> {
        let Sizes { rows, inputs, hidden, outputs } = self.sizes;
        let ([x, w1, w2], h) = (self.operands(gpu)?, Operand::new(Argument::from(&self.h)));
        let (dy_operand, dz_operand) = (Operand::new(dy), Operand::new(dz));
        let [x_tracked, w1_tracked, b1_tracked, w2_tracked, b2_tracked] =
            self.inputs.each_ref().map(Tensor::is_tracked);
        let sums = |is_tracked, place| {
            if is_tracked { Epilogue::RightSums(place) } else { Epilogue::Nothing }
        };
        let mut products = Vec::new();
        if w2_tracked {
            let dw2 = product(h.transposed(), dy_operand, [hidden, rows, outputs], dw2);
            products.push(dw2.with(sums(b2_tracked, db2)));
        }
        if let Some(z) = self.z.as_ref().filter(|_| x_tracked || w1_tracked) {
            let product = product(dy_operand, w2.transposed(), [rows, outputs, hidden], dz);
            products.push(product.with(Epilogue::GeluGradient { sum: Argument::from(z) }));
        }
        if w1_tracked {
            let dw1 = product(x.transposed(), dz_operand, [inputs, rows, hidden], dw1);
            products.push(dw1.with(sums(b1_tracked, db1)));
        }
        if x_tracked {
            products.push(product(dz_operand, w1.transposed(), [rows, hidden, inputs], dx));
        }
        Ok(products)
    }

    /// X, W1 and W2, rounded once.
    fn operands(&self, gpu: &'static Gpu) -> Result<[Operand; 3]> {
        let [x, w1, _, w2, _] = &self.inputs;
        let operand = |matrix| gpu.read_bf16(matrix).map(Operand::new);
        Ok([operand(x)?, operand(w1)?, operand(w2)?])
    }
}

fn product(left: Operand, right: Operand, sizes: [usize; 3], result: Argument) -> Product {
    let [rows, inner, columns] = sizes;
    let (numbers, epilogue) = (Numbers::Bf16, Epilogue::Nothing);
    Product { rows, inner, columns, left, right, result, numbers, epilogue }
}

impl Operation for FeedForward {
    fn name(&self) -> &'static str {
        "feed_forward"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        self.inputs.iter().collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let gpu = self.h.gpu();
        let dy = gpu.rounded(gpu.read(gradient)?, gradient.len())?;
        let dz = gpu.allocate_bf16(self.sizes.rows * self.sizes.hidden)?;
        let mut gradients = [const { None }; 5];
        for (gradient, input) in gradients.iter_mut().zip(&self.inputs).filter(|(_, x)| x.is_tracked()) {
            *gradient = Some(gpu.allocate(input.len())?);
        }
        let place = |memory: &Option<Memory>| memory.as_ref().map_or(Argument::NULL, Argument::from);
        let places = gradients.each_ref().map(place);
        for product in self.products_of_backward(gpu, [&dy, &dz].map(Argument::from), places)? {
            gpu.multiply(&product)?;
        }
        let gradient =
            |(memory, input): (Option<Memory>, &Tensor)| Some(Tensor::on_gpu(memory?, input.shape()).into());
        Ok(gradients.into_iter().zip(&self.inputs).map(gradient).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::ops::scale;
    use crate::testing::{accelerators, assert_close, check_gradients, on_each_device, sample};

    fn samples([rows, inputs, hidden, outputs]: [usize; 4]) -> [Tensor; 5] {
        let shapes: [&[usize]; 5] =
            [&[rows, inputs], &[inputs, hidden], &[hidden], &[hidden, outputs], &[outputs]];
        // Weights of a half at most, so that values are of size 1.
        let weight = |stream| scale(&sample(shapes[stream], stream as u64), 0.5).unwrap();
        [sample(shapes[0], 9), weight(1), weight(2), weight(3), weight(4)]
    }

    /// The name of the operation, the result and the gradients of the leaves.
    fn results(inputs: &[Tensor; 5]) -> (&'static str, Vec<Vec<f32>>) {
        let [x, w1, b1, w2, b2] = inputs;
        let y = feed_forward(x, w1, b1, w2, b2).unwrap();
        let name = y.operation().map_or("constant", Operation::name);
        let mut results = vec![y.data().to_vec()];
        if y.is_tracked() {
            let gradient = sample(y.shape(), 7);
            let gradients = y.backward_from(gradient).unwrap();
            results.extend(inputs.iter().filter_map(|leaf| Some(gradients.get(leaf)?.values().to_vec())));
        }
        (name, results)
    }

    fn in_bf16(inputs: &[Tensor; 5], device: Device, is_tracked: [bool; 5]) -> [Tensor; 5] {
        let mut tracked = is_tracked.into_iter();
        inputs.each_ref().map(|input| {
            let input = input.to(device).unwrap();
            let input = if tracked.next().unwrap() { input.leaf() } else { input.detach() };
            input.with_precision(Precision::Bf16)
        })
    }

    #[test]
    fn gradients_agree_with_differences() {
        for sizes in [[1, 1, 1, 1], [5, 3, 7, 2], [9, 8, 16, 8]] {
            check_gradients(&samples(sizes), |t| feed_forward(&t[0], &t[1], &t[2], &t[3], &t[4]));
        }
    }

    /// Operands are rounded to 8 bits of mantissa, and gradients are sums of up to 70 of their products.
    #[test]
    fn a_gpu_is_near_in_bf16_whatever_is_trained() {
        let all = [true; 5];
        let frozen_first = [true, false, false, true, true];
        let frozen = [true, false, false, false, false];
        let embedded = [false, true, true, true, true];
        let last_alone = [false, false, false, true, true];
        for (sizes, is_tracked) in [
            ([70, 16, 24, 8], all),
            ([13, 8, 16, 8], frozen_first),
            ([13, 8, 16, 8], frozen),
            ([13, 8, 16, 24], embedded),
            ([1, 8, 8, 8], last_alone),
            ([3, 8, 8, 8], [false; 5]),
        ] {
            let inputs = samples(sizes);
            let mut tracked = is_tracked.into_iter();
            let exact = inputs.each_ref().map(|t| if tracked.next().unwrap() { t.leaf() } else { t.clone() });
            let (_, expected) = results(&exact);
            for device in accelerators() {
                let (name, found) = results(&in_bf16(&inputs, device, is_tracked));
                let expected_name = if is_tracked[0] || is_tracked[3] { "feed_forward" } else { "constant" };
                assert!(device != Device::Emulated || name == expected_name, "{name} for {is_tracked:?}");
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(&expected) {
                    let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
                    let relative = |values: &[f32]| values.iter().map(|v| v / largest).collect::<Vec<_>>();
                    assert_close(&relative(found), &relative(expected), 2e-2);
                }
            }
        }
    }

    #[test]
    fn what_the_backward_keeps_changes_no_bit() {
        let inputs = samples([13, 8, 16, 8]);
        for device in accelerators().filter(|&device| device == Device::Emulated) {
            let [tracked, constant] =
                [true, false].map(|is_tracked| in_bf16(&inputs, device, [is_tracked; 5]));
            assert_eq!(results(&tracked).1[0], results(&constant).1[0]);
        }
    }

    #[test]
    fn what_products_alone_cannot_do_is_two_layers() {
        let only_bias_trained = [false, false, true, true, true];
        let cases =
            [([13, 8, 16, 9], [true; 5]), ([13, 8, 12, 8], [true; 5]), ([13, 8, 16, 8], only_bias_trained)];
        for (sizes, is_tracked) in cases {
            let inputs = samples(sizes);
            on_each_device(|device| {
                let inputs = in_bf16(&inputs, device, is_tracked);
                let [x, w1, b1, w2, b2] = &inputs;
                let y = linear(&linear_gelu(x, w1, b1).unwrap(), w2, Some(b2)).unwrap();
                let (name, found) = results(&inputs);
                assert_eq!((name, &found[0][..]), ("linear", y.data()));
            });
        }
    }

    #[test]
    fn no_rows_and_shapes_that_do_not_fit_are_as_in_two_layers() {
        on_each_device(|device| {
            let [x, w1, b1, w2, b2] = in_bf16(&samples([0, 8, 16, 8]), device, [true; 5]);
            assert_eq!(feed_forward(&x, &w1, &b1, &w2, &b2).unwrap().shape(), [0, 8]);
            let error = feed_forward(&x, &w1, &b1, &w1, &b2).unwrap_err().to_string();
            assert_eq!(error, "linear: x is [0, 16], so weight must be [16, outputs]; found [8, 16]");
        });
    }
}
