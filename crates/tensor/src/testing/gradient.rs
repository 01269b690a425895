use super::{accelerators, sample};
use crate::{Device, Gradient, Gradients, Result, Tensor};

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
/// On each GPU that this machine has, the result and the gradients are then compared with those of the processor.
#[track_caller]
pub fn check_gradients_within(
    tolerance: f64,
    inputs: &[Tensor],
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    compare(tolerance, inputs, &function);
    check_devices(inputs, function);
}

/// On each GPU that this machine has, compares the result and the gradients of `function` with those of the processor: for
/// inputs that are too large for differences.
#[track_caller]
pub fn check_devices(inputs: &[Tensor], function: impl Fn(&[Tensor]) -> Result<Tensor>) {
    for device in accelerators() {
        compare_with_cpu(device, inputs, &function);
    }
}

/// Sums in another order, and functions of other last bits: as f32 has them.
const DEVICE_TOLERANCE: f32 = 1e-5;

/// The result and the gradients on a device, against those on the processor: the error relative to the largest value, or
/// to 1.
#[track_caller]
fn compare_with_cpu(device: Device, inputs: &[Tensor], function: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let run = |device: Device| -> Result<(Vec<Tensor>, Tensor, Gradients)> {
        let leaves = inputs.iter().map(|input| Ok(input.to(device)?.leaf())).collect::<Result<Vec<_>>>()?;
        let output = function(&leaves)?;
        let values = output.detach();
        let gradients = output.backward_from(sample(values.shape(), 0x9e37).to(device)?)?;
        device.synchronize()?;
        Ok((leaves, values, gradients))
    };
    let run = |device| run(device).unwrap_or_else(|error| panic!("on {device} the function failed: {error}"));
    let (expected, found) = (run(Device::Cpu), run(device));
    assert_near(&format!("the result on {device}"), found.1.data(), expected.1.data());
    for (which, (leaf, leaf_on_cpu)) in found.0.iter().zip(&expected.0).enumerate() {
        let [found, expected] =
            [(&found.2, leaf), (&expected.2, leaf_on_cpu)].map(|(gradients, leaf)| dense(gradients, leaf));
        let (Some(found), Some(expected)) = (found, expected) else {
            panic!("on {device} no gradient reached input {which}");
        };
        assert_near(&format!("the gradient of input {which} on {device}"), found.data(), expected.data());
    }
}

#[track_caller]
fn dense(gradients: &Gradients, leaf: &Tensor) -> Option<Tensor> {
    let dense = |gradient: &Gradient| match gradient.to_dense() {
        Ok(dense) => dense,
        Err(error) => panic!("no room for the whole gradient: {error}"),
    };
    gradients.get(leaf).map(dense)
}

#[track_caller]
fn assert_near(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: numbers of values");
    let scale = expected.iter().fold(1.0f32, |scale, value| scale.max(value.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f - e).abs() / scale;
        assert!(error <= DEVICE_TOLERANCE, "{what}, value {i}: {f}, on the processor {e}, error {error:e}");
    }
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
        let Some(analytic) = dense(&gradients, leaf) else {
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
