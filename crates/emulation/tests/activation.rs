//! The kernels of the activations against their formulas in f64.

mod common;

use common::{ORDERS, run};
use polytask_emulation::{Order, Result};

/// erf z = 2 / √π · e^(−z²) Σ 2ⁿ z^(2n+1) / (1 · 3 · … · (2n + 1)): Abramowitz and Stegun, 7.1.6. No term cancels another.
fn erf(z: f64) -> f64 {
    let mut term = z;
    let mut sum = z;
    for n in 1..400 {
        term *= 2.0 * z * z / f64::from(2 * n + 1);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-z * z).exp() * sum
}

/// Φ(x), the distribution of the standard normal.
fn distribution(x: f64) -> f64 {
    0.5 + 0.5 * erf(x * std::f64::consts::FRAC_1_SQRT_2)
}

fn gelu(x: f64) -> (f64, f64) {
    let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    (x * distribution(x), distribution(x) + x * density)
}

fn relu(x: f64) -> (f64, f64) {
    if x > 0.0 { (x, 1.0) } else { (0.0, 0.0) }
}

fn tanh(x: f64) -> (f64, f64) {
    (x.tanh(), 1.0 - x.tanh().powi(2))
}

fn sigmoid(x: f64) -> (f64, f64) {
    let y = 1.0 / (1.0 + (-x).exp());
    (y, y * (1.0 - y))
}

type Function = fn(f64) -> (f64, f64);

const ALL: [(&str, Function); 4] = [("gelu", gelu), ("relu", relu), ("tanh", tanh), ("sigmoid", sigmoid)];

fn forward(function: &str, x: &[f32], order: Order) -> Result<Vec<f32>> {
    let mut y = vec![0.0_f32; x.len()];
    let (input, output, count) = (x.as_ptr(), y.as_mut_ptr(), x.len() as u64);
    // SAFETY: x and y have `count` values.
    unsafe { run(&format!("{function}_forward"), [3, 64], 0, &mut arguments![input, output, count], order) }?;
    Ok(y)
}

fn backward(function: &str, x: &[f32], y: &[f32], dy: &[f32], order: Order) -> Result<Vec<f32>> {
    let mut dx = vec![0.0_f32; x.len()];
    let (input, value, above, below) = (x.as_ptr(), y.as_ptr(), dy.as_ptr(), dx.as_mut_ptr());
    let count = x.len() as u64;
    let mut arguments = arguments![input, value, above, below, count];
    // SAFETY: all four have `count` values.
    unsafe { run(&format!("{function}_backward"), [3, 64], 0, &mut arguments, order) }?;
    Ok(dx)
}

/// What rounding each of a few steps to f32 may cost, where values are at most 8.
fn assert_close(found: f32, expected: f64, place: &str) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= 1e-6 * expected.abs().max(1.0), "{place}: {found} instead of {expected}");
}

#[test]
fn agree_with_their_formulas() {
    // More values than threads, and not a multiple of them.
    let x = (-500..=500).map(|i| i as f32 / 62.5).collect::<Vec<_>>();
    let dy = (0..x.len()).map(|i| ((i * 7) % 11) as f32 / 5.0 - 1.0).collect::<Vec<_>>();
    for (name, function) in ALL {
        for order in ORDERS {
            let y = forward(name, &x, order).unwrap();
            let dx = backward(name, &x, &y, &dy, order).unwrap();
            for i in 0..x.len() {
                let (value, derivative) = function(f64::from(x[i]));
                assert_close(y[i], value, &format!("{name}({})", x[i]));
                assert_close(
                    dx[i],
                    f64::from(dy[i]) * derivative,
                    &format!("derivative of {name} at {}", x[i]),
                );
            }
        }
    }
}

#[test]
fn far_values_saturate_and_nan_stays() {
    let x = [-1e4, 1e4, f32::NAN];
    for ((name, _), expected) in ALL.into_iter().zip([[0.0, 1e4], [0.0, 1e4], [-1.0, 1.0], [0.0, 1.0]]) {
        let y = forward(name, &x, Order::Ascending).unwrap();
        assert_eq!(y[..2], expected, "{name}");
        assert!(y[2].is_nan(), "{name}");
        let dx = backward(name, &x, &y, &[1.0; 3], Order::Ascending).unwrap();
        assert!(dx[..2].iter().all(|value| value.is_finite()), "{name}");
    }
}
