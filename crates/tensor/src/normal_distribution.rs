//! The standard normal distribution, for gelu.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::exponential::{exp, polynomial};

/// Φ(x) and φ(x) of the standard normal, Φ within 10⁻⁷: Φ(x) = ½ + ½ erf(z), z = x / √2.
///
/// Where |z| < 1, erf is a polynomial: Cephes 2.8, `erff`. Beyond, Φ(−|x|) = ½ erfc(|z|) ≈ ½ (a₁ t + … + a₅ t⁵) e^(−z²)
/// with t = 1 / (1 + p |z|): Abramowitz and Stegun, *Handbook of Mathematical Functions*, 7.1.26.
#[inline(always)]
pub(crate) fn standard_normal(x: f32) -> (f32, f32) {
    const NEAR: [f32; 7] = [
        7.853_861_4e-5,
        -8.010_193_6e-4,
        5.188_327_7e-3,
        -2.685_381_2e-2,
        0.112_835_85,
        -0.376_126_26,
        FRAC_2_SQRT_PI,
    ];
    const FAR: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    const P: f32 = 0.327_591_1;
    const FRAC_1_SQRT_2_PI: f32 = 0.398_942_3;
    let z = x * FRAC_1_SQRT_2;
    let exponential = exp(-0.5 * x * x);
    let near = 0.5 + 0.5 * z * polynomial(z * z, NEAR);
    let t = 1.0 / (1.0 + P * z.abs());
    let tail = 0.5 * polynomial(t, FAR) * t * exponential;
    let far = if x < 0.0 { tail } else { 1.0 - tail };
    (if z.abs() < 1.0 { near } else { far }, FRAC_1_SQRT_2_PI * exponential)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Φ against a numerical integral of φ in f64 (Simpson's rule, error below 10⁻¹²).
    #[test]
    fn the_distribution_is_within_a_ten_millionth() {
        let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let step = 1e-2;
        let mut exact = 0.5;
        for i in 0..800 {
            let x = f64::from(i) * step;
            for (x, exact) in [(x, exact), (-x, 1.0 - exact)] {
                let rounded = x as f32;
                let exact = exact + density(x) * (f64::from(rounded) - x);
                let error = (f64::from(standard_normal(rounded).0) - exact).abs();
                assert!(error <= 1e-7, "Φ({x}) is off by {error:e}");
            }
            exact += step / 6.0 * (density(x) + 4.0 * density(x + step / 2.0) + density(x + step));
        }
    }
}
