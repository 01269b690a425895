use super::*;
use crate::ops::{add, dropout, layer_norm};
use crate::testing::{assert_close, assert_same_on_threads, check_gradients, on_each_device, sample};

const EPSILON: f32 = 1e-5;
const KEY: RandomKey = RandomKey { seed: 1, stream: 2 };
/// With and without dropout.
const DROPOUT: [Option<(f32, RandomKey)>; 3] = [None, Some((0.0, KEY)), Some((0.3, KEY))];

/// x, branch, gain, bias.
fn inputs(rows: usize, width: usize) -> [Tensor; 4] {
    [sample(&[rows, width], 1), sample(&[rows, width], 2), sample(&[width], 3), sample(&[width], 4)]
}

fn normalised(t: &[Tensor], dropout: Option<(f32, RandomKey)>) -> Result<Tensor> {
    residual_layer_norm(&t[0], &t[1], dropout, &t[2], &t[3], EPSILON)
}

fn values_and_gradients(inputs: &[Tensor], function: impl Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Vec<f32>> {
    let leaves: Vec<Tensor> = inputs.iter().map(Tensor::leaf).collect();
    let y = function(&leaves).unwrap();
    let mut results = vec![y.data().to_vec()];
    let dy = sample(y.shape(), 5);
    let gradients = y.backward_from(dy).unwrap();
    results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
    results
}

#[test]
fn gradients_agree_with_differences() {
    for (rows, width) in [(1, 5), (4, 3), (17, 9)] {
        let inputs = inputs(rows, width);
        for dropout in DROPOUT {
            check_gradients(&inputs[..2], |t| residual(&t[0], &t[1], dropout));
            check_gradients(&inputs, |t| normalised(t, dropout));
        }
    }
}

/// The same operations in the same order: bit for bit, whatever the alignment of rows and random numbers.
#[test]
fn the_parts_one_after_another_give_the_same() {
    for (rows, width) in [(1, 1), (7, 33), (3, 1030), (200, 130)] {
        let inputs = inputs(rows, width);
        for drop in DROPOUT {
            let sum = |t: &[Tensor]| match drop {
                Some((probability, key)) => add(&t[0], &dropout(&t[1], probability, key)?),
                None => add(&t[0], &t[1]),
            };
            let found = values_and_gradients(&inputs[..2], |t| residual(&t[0], &t[1], drop));
            assert_eq!(found, values_and_gradients(&inputs[..2], sum), "{rows} {width} {drop:?}");
            let found = values_and_gradients(&inputs, |t| normalised(t, drop));
            let parts = |t: &[Tensor]| layer_norm(&sum(t)?, &t[2], &t[3], EPSILON);
            assert_eq!(found, values_and_gradients(&inputs, parts), "{rows} {width} {drop:?}");
        }
    }
}

/// What kernels treat in their own way: rows of several warps, rows that begin within a block of random numbers, rows wider
/// than registers hold, more rows than one sum takes.
#[test]
fn the_devices_agree_on_rows_of_many_shapes() {
    for (rows, width) in [(3, 128), (5, 131), (2, 1024), (2, 4611), (300, 33)] {
        let inputs = inputs(rows, width);
        for dropout in [DROPOUT[0], DROPOUT[2]] {
            let run = |inputs: &[Tensor]| {
                let mut results = values_and_gradients(inputs, |t| normalised(t, dropout));
                results.extend(values_and_gradients(&inputs[..2], |t| residual(&t[0], &t[1], dropout)));
                results
            };
            let expected = run(&inputs);
            on_each_device(|device| {
                let inputs = inputs.each_ref().map(|input| input.to(device).unwrap());
                for (found, expected) in run(&inputs).iter().zip(&expected) {
                    // Sums of 300 terms, in another order.
                    assert_close(found, expected, 3e-5);
                }
            });
        }
    }
}

#[test]
fn no_values_are_no_fault() {
    for (rows, width) in [(0, 3), (2, 0)] {
        let inputs = inputs(rows, width);
        assert!(values_and_gradients(&inputs, |t| normalised(t, DROPOUT[2]))[0].is_empty());
        assert!(values_and_gradients(&inputs[..2], |t| residual(&t[0], &t[1], DROPOUT[2]))[0].is_empty());
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let (x, wide, three) = (Tensor::zeros(&[2, 3]), Tensor::zeros(&[2, 4]), Tensor::zeros(&[3]));
    let error = residual(&x, &wide, None).unwrap_err().to_string();
    assert_eq!(error, "residual: x is [2, 3], so the branch must be too; found [2, 4]");
    let error = residual(&x, &x, Some((1.0, KEY))).unwrap_err().to_string();
    assert_eq!(error, "residual: the probability must lie in [0, 1); found 1");
    let error = residual_layer_norm(&x, &wide, None, &three, &three, EPSILON).unwrap_err().to_string();
    assert_eq!(error, "residual_layer_norm: x is [2, 3], so the branch must be too; found [2, 4]");
    let error = residual_layer_norm(&x, &x, None, &three, &wide, EPSILON).unwrap_err().to_string();
    assert_eq!(error, "residual_layer_norm: x is [2, 3], so bias must be [3]; found [2, 4]");
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let inputs = inputs(385, 129);
    for dropout in DROPOUT {
        assert_same_on_threads(|| values_and_gradients(&inputs, |t| normalised(t, dropout)));
        assert_same_on_threads(|| values_and_gradients(&inputs[..2], |t| residual(&t[0], &t[1], dropout)));
    }
}
