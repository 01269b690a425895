use super::{on_each_device, sample};
use crate::{Result, Tensor};

/// The step of the central difference: its truncation error (step²) and the rounding error of f32 (1e-7 / step) are
/// then both some 1e-4 and less of a gradient of size 1.
const STEP: f32 = 5e-3;

/// [`check_gradients_within`] a relative error of 1e-3.
#[track_caller]
pub fn check_gradients(inputs: &[Tensor], function: impl Fn(&[Tensor]) -> Result<Tensor>) {
    check_gradients_within(1e-3, inputs, function);
}

/// Compares the gradients that `function` records with central differences, for every value of every input.
///
/// The function's result, of any shape, is weighted with fixed random numbers and summed. The error of an input's
/// gradient is max |analytic − numeric| relative to max |numeric|: a single value's own size is no yardstick where it
/// is nearly zero. A gradient of zero everywhere fails, since it would prove nothing.
/// The check runs on each device that this machine has.
#[track_caller]
pub fn check_gradients_within(
    tolerance: f64,
    inputs: &[Tensor],
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    on_each_device(|device| {
        let inputs: Vec<Tensor> = inputs.iter().map(|input| input.to(device)).collect();
        compare(tolerance, &inputs, &function);
    });
}

#[track_caller]
fn compare(tolerance: f64, inputs: &[Tensor], function: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let call = |inputs: &[Tensor]| match function(inputs) {
        Ok(output) => output,
        Err(error) => panic!("the function failed: {error}"),
    };
    let leaves: Vec<Tensor> = inputs.iter().map(Tensor::leaf).collect();
    let output = call(&leaves);
    let weights = sample(output.shape(), 0x9e37);
    let gradients = match output.backward_from(weights.clone()) {
        Ok(gradients) => gradients,
        Err(error) => panic!("the backward failed: {error}"),
    };
    let weighted = |inputs: &[Tensor]| -> f64 {
        let output = call(inputs);
        output.data().iter().zip(weights.data()).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
    };
    for (which, leaf) in leaves.iter().enumerate() {
        let Some(analytic) = gradients.get(leaf).map(|gradient| gradient.to_dense()) else {
            panic!("no gradient reached input {which}");
        };
        let numeric: Vec<f64> = (0..leaf.len())
            .map(|i| {
                let moved = |step: f32| {
                    let mut inputs = inputs.to_vec();
                    inputs[which].update(|values| values[i] += step);
                    (f64::from(inputs[which].data()[i]), weighted(&inputs))
                };
                // The step really taken, after rounding.
                let ((above, y_above), (below, y_below)) = (moved(STEP), moved(-STEP));
                (y_above - y_below) / (above - below)
            })
            .collect();
        let scale = numeric.iter().fold(0.0f64, |scale, n| scale.max(n.abs()));
        assert!(scale > 1e-6, "the gradient of input {which} is zero everywhere: this check proves nothing");
        for (i, (&a, n)) in analytic.data().iter().zip(&numeric).enumerate() {
            let error = (f64::from(a) - n).abs() / scale;
            assert!(
                error <= tolerance,
                "input {which}, value {i}: backward {a}, difference {n}, error {error:e}"
            );
        }
    }
}
