//! Figures for classes with an order, such as negative, neutral, positive: a near miss costs less than a far one.

use super::{Report, classification_report, ratio};

/// [`classification_report`] for labels given in their order, with the mean absolute error in classes and the
/// quadratic weighted kappa added to the summary.
pub fn ordered_report(labels: &[String], gold: &[u32], predicted: &[u32]) -> Report {
    let mut report = classification_report(labels, gold, predicted);
    report.summary.extend([
        ("mean absolute error in classes".to_owned(), mean_absolute_class_error(gold, predicted)),
        ("quadratic weighted kappa".to_owned(), quadratic_weighted_kappa(gold, predicted)),
    ]);
    report
}

/// How many classes a prediction is away from the gold class, on average.
pub fn mean_absolute_class_error(gold: &[u32], predicted: &[u32]) -> f64 {
    let distances = gold.iter().zip(predicted).map(|(&g, &p)| f64::from(g.abs_diff(p)));
    ratio(distances.sum(), gold.len().min(predicted.len()) as f64)
}

/// Agreement beyond chance with squared distances: 1 is perfect, 0 is chance (Cohen 1968).
///
/// ```text
/// κ = 1 − Σᵢ (gᵢ − pᵢ)² / (1/n Σᵢ Σⱼ (gᵢ − pⱼ)²)
///   = 1 − Σ (g − p)² / (Σ g² + Σ p² − 2 Σ g Σ p / n)
/// ```
///
/// Undefined, and 0 here, where both sides hold one and the same class only.
pub fn quadratic_weighted_kappa(gold: &[u32], predicted: &[u32]) -> f64 {
    let pairs: Vec<(f64, f64)> = gold.iter().zip(predicted).map(|(&g, &p)| (g.into(), p.into())).collect();
    let sum = |term: fn(f64, f64) -> f64| pairs.iter().map(|&(g, p)| term(g, p)).sum::<f64>();
    let observed = sum(|g, p| (g - p).powi(2));
    let by_chance =
        sum(|g, p| g * g + p * p) - 2.0 * ratio(sum(|g, _| g) * sum(|_, p| p), pairs.len() as f64);
    if by_chance == 0.0 { 0.0 } else { 1.0 - observed / by_chance }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::testing::{assert_near, figure};
    use super::*;

    /// Made by `tests/golden/make_classification.py` with scikit-learn.
    const GOLDEN: &str = include_str!("../../tests/golden/classification.json");

    #[derive(Deserialize)]
    struct Golden {
        single: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        labels: Vec<String>,
        gold: Vec<u32>,
        predicted: Vec<u32>,
        mean_absolute_error: f64,
        kappa: f64,
    }

    #[test]
    fn agrees_with_scikit_learn() {
        for case in serde_json::from_str::<Golden>(GOLDEN).unwrap().single {
            let report = ordered_report(&case.labels, &case.gold, &case.predicted);
            assert_near(figure(&report, "mean absolute error in classes"), case.mean_absolute_error);
            assert_near(figure(&report, "quadratic weighted kappa"), case.kappa);
        }
    }

    #[test]
    fn one_class_is_undefined_and_zero() {
        assert_eq!(quadratic_weighted_kappa(&[2, 2], &[2, 2]), 0.0);
        assert_eq!(quadratic_weighted_kappa(&[], &[]), 0.0);
    }
}
