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
    for (rows, width) in [(1, 5), (4, 3), (17, 9), (2, 300)] {
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
