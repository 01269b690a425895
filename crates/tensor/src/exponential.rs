//! e^x without a branch, so that a loop over it becomes vector instructions on any x86-64 or ARM processor.

use std::f32::consts::LOG2_E;

/// Below, e^x is taken to be 0: it would soon lose its full precision.
const LOWEST: f32 = -87.0;
/// Above, e^x is taken to be infinite.
const HIGHEST: f32 = 88.0;

/// 1.5 · 2²³: adding it rounds to a whole number, which then stands in the low bits of the sum.
const ROUNDING: f32 = 12_582_912.0;
const EXPONENT_BIAS: u32 = 127;
const MANTISSA_BITS: u32 = 23;

/// ln 2 in two parts; the first has few bits, so that its product with k is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// (e^r − 1 − r) / r² on |r| ≤ ln 2 / 2, highest power first: Cephes 2.8, `expf`.
const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];

/// e^x, within 2 units in the last place on [−87, 88]; 0 below, ∞ above, NaN of NaN.
///
/// e^x = 2^k e^r with k = round(x / ln 2); 2^k is written into the bits of the exponent.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let shifted = x * LOG2_E + ROUNDING;
    let k = shifted - ROUNDING;
    let r = (x - k * LN_2[0]) - k * LN_2[1];
    let power_of_two = f32::from_bits(shifted.to_bits().wrapping_add(EXPONENT_BIAS) << MANTISSA_BITS);
    let value = (polynomial(r, POLYNOMIAL) * r * r + r + 1.0) * power_of_two;
    let value = if x < LOWEST { 0.0 } else { value };
    if x > HIGHEST { f32::INFINITY } else { value }
}

/// The logistic function, 1 / (1 + e^−x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// From here on tanh comes from e^x; below, 1 − e^−2x would cancel.
const TANH_BY_POLYNOMIAL: f32 = 0.625;

/// (tanh x − x) / x³ in x² on |x| < 0.625, highest power first: Cephes 2.8, `tanhf`.
const TANH_POLYNOMIAL: [f32; 5] =
    [-5.704_988_7e-3, 2.063_908_9e-2, -5.373_971_6e-2, 0.133_314_42, -0.333_332_82];

/// The hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let square = x * x;
    let near = polynomial(square, TANH_POLYNOMIAL) * square * x + x;
    let decay = exp(-2.0 * x.abs());
    let far = ((1.0 - decay) / (1.0 + decay)).copysign(x);
    if x.abs() < TANH_BY_POLYNOMIAL { near } else { far }
}

/// Horner's rule, highest power first.
#[inline(always)]
pub(crate) fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients[1..].iter().fold(coefficients[0], |sum, coefficient| sum * x + coefficient)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The greatest error of `found` against f64, in units in the last place, on a grid over [from, to].
    fn worst_error(from: f32, to: f32, found: fn(f32) -> f32, expected: fn(f64) -> f64) -> f64 {
        const STEPS: u32 = 1_000_000;
        let mut worst = 0.0f64;
        for i in 0..=STEPS {
            let x = from + (to - from) * (i as f32 / STEPS as f32);
            let exact = expected(f64::from(x));
            let nearest = (exact as f32).abs();
            let unit = f64::from(nearest.next_up()) - f64::from(nearest);
            worst = worst.max((f64::from(found(x)) - exact).abs() / unit);
        }
        worst
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for (from, to) in [(LOWEST, HIGHEST), (-1.0, 1.0), (-1e-3, 1e-3)] {
            let worst = worst_error(from, to, exp, f64::exp);
            assert!(worst <= 2.0, "{worst} units on [{from}, {to}]");
        }
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn exp_saturates_outside_and_keeps_nan() {
        for x in [-87.01, -104.0, -1e4, -1e38, f32::NEG_INFINITY] {
            assert_eq!(exp(x), 0.0, "{x}");
        }
        for x in [88.01, 1e4, 1e38, f32::INFINITY] {
            assert_eq!(exp(x), f32::INFINITY, "{x}");
        }
        assert!(exp(f32::NAN).is_nan());
    }

    /// A few roundings each: the division, the sum below it and those of `exp`.
    #[test]
    fn sigmoid_and_tanh_are_within_a_few_units() {
        for (from, to) in [(-80.0, 80.0), (-2.0, 2.0), (-1e-3, 1e-3)] {
            let worst = worst_error(from, to, sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
            assert!(worst <= 4.0, "sigmoid: {worst} units on [{from}, {to}]");
            let worst = worst_error(from, to, tanh, f64::tanh);
            assert!(worst <= 4.0, "tanh: {worst} units on [{from}, {to}]");
        }
        assert_eq!((sigmoid(-1e4), sigmoid(1e4)), (0.0, 1.0));
        assert_eq!((tanh(-1e4), tanh(1e4)), (-1.0, 1.0));
        assert!(sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    }
}
