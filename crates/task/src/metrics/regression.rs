//! The report for predicted numbers.
//!
//! ```text
//! R² = 1 − Σ (gᵢ − pᵢ)² / Σ (gᵢ − ḡ)²
//! Pearson correlation = Σ (gᵢ − ḡ)(pᵢ − p̄) / √(Σ (gᵢ − ḡ)² Σ (pᵢ − p̄)²)
//! ```

use super::{Report, ratio};

/// The report of a regression; the main metric is R²: 1 is perfect, 0 is as good as the mean of the gold values,
/// and below 0 is worse than it.
///
/// The summary has the mean absolute error and the root mean squared error, in the unit of the values, and the
/// Pearson correlation, −1 to 1. Where all gold values are equal, R² is 1 if every prediction is exact and else 0
/// (as in scikit-learn); a correlation with a constant is 0. A value that is not a number makes the figures NaN.
pub fn regression_report(gold: &[f64], predicted: &[f64]) -> Report {
    let pairs: Vec<(f64, f64)> = gold.iter().copied().zip(predicted.iter().copied()).collect();
    let count = pairs.len() as f64;
    let sum = |term: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|&(g, p)| term(g, p)).sum::<f64>();

    let (gold_mean, predicted_mean) = (ratio(sum(&|g, _| g), count), ratio(sum(&|_, p| p), count));
    let absolute_error = sum(&|g, p| (g - p).abs());
    let squared_error = sum(&|g, p| (g - p).powi(2));
    let gold_spread = sum(&|g, _| (g - gold_mean).powi(2));
    let predicted_spread = sum(&|_, p| (p - predicted_mean).powi(2));
    let together = sum(&|g, p| (g - gold_mean) * (p - predicted_mean));

    let r_squared = match (gold_spread == 0.0, squared_error == 0.0) {
        (true, exact) => f64::from(exact && count > 0.0),
        (false, _) => 1.0 - squared_error / gold_spread,
    };
    Report {
        metric: "R²".to_owned(),
        value: r_squared,
        summary: vec![
            ("mean absolute error".to_owned(), ratio(absolute_error, count)),
            ("root mean squared error".to_owned(), ratio(squared_error, count).sqrt()),
            ("Pearson correlation".to_owned(), ratio(together, (gold_spread * predicted_spread).sqrt())),
        ],
        classes: Vec::new(),
        averages: Vec::new(),
        examples: pairs.len(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::testing::{assert_near, figure};
    use super::*;

    /// Made by `tests/golden/make_regression.py` with scikit-learn and NumPy.
    const GOLDEN: &str = include_str!("../../tests/golden/regression.json");

    #[derive(Deserialize)]
    struct Case {
        gold: Vec<f64>,
        predicted: Vec<f64>,
        r_squared: f64,
        mean_absolute_error: f64,
        root_mean_squared_error: f64,
        pearson: f64,
    }

    #[test]
    fn agrees_with_scikit_learn() {
        for case in serde_json::from_str::<Vec<Case>>(GOLDEN).unwrap() {
            let report = regression_report(&case.gold, &case.predicted);
            assert_near(report.value, case.r_squared);
            assert_near(figure(&report, "mean absolute error"), case.mean_absolute_error);
            assert_near(figure(&report, "root mean squared error"), case.root_mean_squared_error);
            assert_near(figure(&report, "Pearson correlation"), case.pearson);
        }
    }

    #[test]
    fn constant_gold_values() {
        assert_eq!(regression_report(&[2.0, 2.0], &[2.0, 2.0]).value, 1.0);
        assert_eq!(regression_report(&[2.0, 2.0], &[2.0, 3.0]).value, 0.0);
        assert_eq!(regression_report(&[], &[]).value, 0.0);
    }

    #[test]
    fn not_a_number_shows() {
        assert!(regression_report(&[1.0, 2.0], &[1.0, f64::NAN]).value.is_nan());
    }
}
