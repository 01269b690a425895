//! Each row to mean 0 and variance 1, then stretched and shifted by learnt amounts; over the last dimension.
//!
//! ```text
//! X [rows, width]   g, b [width]   →   Y [rows, width]
//! X̂ = (X − μ) / σ         μ, σ² = mean and variance of the row, σ = √(variance + ε)
//! Y = g ⊙ X̂ + b
//!
//! dX̂ = g ⊙ dY
//! dX = (dX̂ − mean(dX̂) − X̂ ⊙ mean(dX̂ ⊙ X̂)) / σ
//! dg = Σ_rows dY ⊙ X̂      db = Σ_rows dY
//! ```
//!
//! Kept for the backward: X, g, and μ and 1/σ of each row.
//!
//! Ba, Kiros and Hinton, *Layer Normalization*, 2016.

use crate::parallel::{for_each_row_block, for_each_row_keeping, sum_over_rows};
use crate::{Buffer, Error, Gradient, Operation, Result, Tensor, lanes};

/// The rows of x, normalised, times `gain` `[width]` plus `bias` `[width]`; of x's shape. `epsilon` is added to the
/// variance.
///
/// # Errors
/// `gain` or `bias` has another width than x, or `epsilon` is not positive.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, epsilon: f32) -> Result<Tensor> {
    let (rows, width) = x.rows_columns();
    for (name, parameter) in [("gain", gain), ("bias", bias)] {
        if parameter.shape() != [width] {
            let found = parameter.shape();
            let message = format!("x is {:?}, so {name} must be [{width}]; found {found:?}", x.shape());
            return Err(Error::shape("layer_norm", message));
        }
    }
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        return Err(Error::shape("layer_norm", format!("epsilon must be above 0; found {epsilon}")));
    }
    let mut y = vec![0.0; rows * width];
    let mut statistics = vec![[0.0; 2]; rows];
    for_each_row_keeping(&mut y, width, &mut statistics, |row, y, kept| {
        let x = x.row(row);
        let (mean, inverse_deviation) = mean_and_inverse_deviation(x, epsilon);
        for (((y, x), gain), bias) in y.iter_mut().zip(x).zip(gain.data()).zip(bias.data()) {
            *y = (x - mean) * inverse_deviation * gain + bias;
        }
        *kept = [mean, inverse_deviation];
    });
    let operation = LayerNorm { x: x.clone(), gain: gain.clone(), bias: bias.clone(), statistics };
    Ok(Buffer::new(y, x.shape())?.recorded(operation))
}

fn mean_and_inverse_deviation(x: &[f32], epsilon: f32) -> (f32, f32) {
    let width = x.len() as f32;
    let mean = lanes::sum(x, |x| x) / width;
    let variance = lanes::sum(x, |x| (x - mean) * (x - mean)) / width;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

struct LayerNorm {
    x: Tensor,
    gain: Tensor,
    bias: Tensor,
    /// μ and 1/σ of each row.
    statistics: Vec<[f32; 2]>,
}

impl Operation for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.gain, &self.bias]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let dx = self.x.is_tracked().then(|| self.gradient_of_x(gradient)).transpose()?;
        let (dgain, dbias) = self.gradients_of_parameters(gradient);
        let width = [dgain.len()];
        Ok(vec![
            dx.map(Gradient::Dense),
            Some(Tensor::new(dgain, &width)?.into()),
            Some(Tensor::new(dbias, &width)?.into()),
        ])
    }
}

impl LayerNorm {
    fn gradient_of_x(&self, gradient: &Tensor) -> Result<Tensor> {
        let (_, width) = self.x.rows_columns();
        let mut dx = vec![0.0; self.x.len()];
        for_each_row_block(&mut dx, width, |first_row, block| {
            for (row, dx) in (first_row..).zip(block.chunks_exact_mut(width)) {
                self.backward_row(self.x.row(row), self.statistics[row], gradient.row(row), dx);
            }
        });
        Tensor::new(dx, self.x.shape())
    }

    fn backward_row(&self, x: &[f32], [mean, inverse_deviation]: [f32; 2], dy: &[f32], dx: &mut [f32]) {
        let width = x.len() as f32;
        let normal = |x: f32| (x - mean) * inverse_deviation;
        dx.iter_mut().zip(dy).zip(self.gain.data()).for_each(|((dx, dy), gain)| *dx = dy * gain);
        let mean_of_d = lanes::sum(dx, |d| d) / width;
        let mean_of_product = lanes::sum_pairs(dx, x, |d, x| d * normal(x)) / width;
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = (*dx - mean_of_d - normal(x) * mean_of_product) * inverse_deviation;
        }
    }

    fn gradients_of_parameters(&self, gradient: &Tensor) -> (Vec<f32>, Vec<f32>) {
        let (rows, width) = self.x.rows_columns();
        let mut dgain = sum_over_rows(rows, 2 * width, |row, sums| {
            let (dgain, dbias) = sums.split_at_mut(width);
            let [mean, inverse_deviation] = self.statistics[row];
            let inputs = self.x.row(row).iter().zip(gradient.row(row));
            for ((dgain, dbias), (x, dy)) in dgain.iter_mut().zip(dbias).zip(inputs) {
                *dgain += dy * (x - mean) * inverse_deviation;
                *dbias += dy;
            }
        });
        let dbias = dgain.split_off(width);
        (dgain, dbias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};

    const EPSILON: f32 = 1e-5;

    fn values_and_gradients(inputs: &[Tensor], dy: Tensor) -> Vec<Vec<f32>> {
        let leaves: Vec<Tensor> = inputs.iter().map(Tensor::leaf).collect();
        let y = layer_norm(&leaves[0], &leaves[1], &leaves[2], EPSILON).unwrap();
        let mut results = vec![y.data().to_vec()];
        let gradients = y.backward_from(dy).unwrap();
        results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
        results
    }

    #[test]
    fn gradients_agree_with_differences() {
        for (rows, width) in [(1, 5), (4, 3), (17, 9)] {
            let inputs = [sample(&[rows, width], 1), sample(&[width], 2), sample(&[width], 3)];
            check_gradients(&inputs, |t| layer_norm(&t[0], &t[1], &t[2], EPSILON));
        }
    }

    /// One value is its own mean: nothing of x is left.
    #[test]
    fn a_single_column_gives_the_bias() {
        let inputs = [sample(&[3, 1], 1), sample(&[1], 2), Tensor::full(&[1], 0.25)];
        let results = values_and_gradients(&inputs, Tensor::full(&[3, 1], 1.0));
        assert_eq!(results, [vec![0.25; 3], vec![0.0; 3], vec![0.0], vec![3.0]]);
    }

    /// PyTorch 2.15, `torch.nn.functional.layer_norm` and its autograd in f64, ε = 10⁻⁵. The second row is constant:
    /// its variance is 0 and 1/σ is 316.
    #[test]
    fn agrees_with_torch() {
        let x = [1.0, 2.0, 4.0, -1.0, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, -3.0, 0.0, 3.0, 1.0, 9.0];
        let dy = [1.0, -1.0, 0.5, 2.0, 0.0, 0.25, 1.0, 0.0, -2.0, 1.0, 0.5, 0.5, -1.0, 1.0, -0.25];
        let tensor = |values: &[f32], shape: &[usize]| Tensor::new(values.to_vec(), shape).unwrap();
        let inputs = [
            tensor(&x, &[3, 5]),
            tensor(&[1.0, -0.5, 2.0, 0.25, 1.5], &[5]),
            tensor(&[0.0, 1.0, -1.0, 0.5, 0.125], &[5]),
        ];
        let results = values_and_gradients(&inputs, tensor(&dy, &[3, 5]));
        #[rustfmt::skip]
        let golden: [&[f32]; 4] = [
            &[-0.18057846, 0.7893251, 2.250412, 0.1538913, -0.5973138, 0.0, 1.0, -1.0, 0.5, 0.125,
              -1.2499996, 1.2499999, -0.5000002, 0.43750003, 2.7499993],
            &[0.26170784, -0.10904478, 0.052342262, 0.10032078, -0.3053261, 31.622778, -205.54805, -47.434166,
              -205.54805, 426.90747, 0.11132816, -0.011718719, -0.3847655, 0.1347656, 0.15039048],
            &[-0.80557823, -0.67134964, 0.5626031, -3.0188694, -0.43749985],
            &[1.75, 0.5, -0.5, 1.0, 0.75],
        ];
        for (found, expected) in results.iter().zip(golden) {
            assert_close(found, expected, 1e-6);
        }
    }

    /// The mean is 0 and the variance 1, whatever the row's own.
    #[test]
    fn a_shift_and_a_stretch_of_the_rows_change_nothing() {
        let (gain, bias) = (Tensor::full(&[33], 1.0), Tensor::zeros(&[33]));
        let x = sample(&[7, 33], 1);
        let moved = Tensor::new(x.data().iter().map(|value| 8.0 * value + 16.0).collect(), &[7, 33]).unwrap();
        let normal = |x: &Tensor| layer_norm(x, &gain, &bias, 1e-9).unwrap();
        // The shift costs 2⁻²⁴ · 16 of values of size 8.
        assert_close(normal(&moved).data(), normal(&x).data(), 1e-5);
        let y = normal(&x);
        assert_close(&[lanes::sum(y.row(3), |y| y), lanes::sum(y.row(3), |y| y * y)], &[0.0, 33.0], 1e-5);
    }

    #[test]
    fn no_rows_are_no_fault() {
        let y = layer_norm(&Tensor::zeros(&[0, 3]), &sample(&[3], 1), &sample(&[3], 2), EPSILON).unwrap();
        assert_eq!(y.shape(), [0, 3]);
        let none = Tensor::zeros(&[0]);
        assert_eq!(layer_norm(&Tensor::zeros(&[2, 0]), &none, &none, EPSILON).unwrap().shape(), [2, 0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (x, three, four) = (Tensor::zeros(&[2, 3]), Tensor::zeros(&[3]), Tensor::zeros(&[4]));
        let error = layer_norm(&x, &four, &three, EPSILON).unwrap_err().to_string();
        assert_eq!(error, "layer_norm: x is [2, 3], so gain must be [3]; found [4]");
        let error = layer_norm(&x, &three, &four, EPSILON).unwrap_err().to_string();
        assert_eq!(error, "layer_norm: x is [2, 3], so bias must be [3]; found [4]");
        for epsilon in [0.0, -1.0, f32::NAN] {
            assert!(layer_norm(&x, &three, &three, epsilon).is_err());
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let inputs = [sample(&[385, 129], 1), sample(&[129], 2), sample(&[129], 3)];
        assert_same_on_threads(|| values_and_gradients(&inputs, sample(&[385, 129], 4)));
    }
}
