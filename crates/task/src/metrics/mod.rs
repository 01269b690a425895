//! Metrics: from gold and predicted labels to a [`Report`].
//!
//! ```
//! use polytask_task::metrics::classification_report;
//! let labels = ["negative".to_owned(), "positive".to_owned()];
//! let report = classification_report(&labels, &[0, 1, 1, 0], &[0, 1, 0, 0]);
//! assert_eq!((report.metric.as_str(), report.value), ("accuracy", 0.75));
//! ```
//!
//! In every function the two slices are parallel; where one is longer, its surplus is not scored.
//! A ratio whose denominator is zero counts as 0 (scikit-learn's `zero_division=0`).

mod classification;
mod counts;
mod entities;
mod ordered;
mod regression;
mod report;

pub use classification::{classification_report, multilabel_report};
pub use entities::{EntitySpan, entity_report, spans};
pub use ordered::{mean_absolute_class_error, ordered_report, quadratic_weighted_kappa};
pub use regression::regression_report;
pub use report::{ClassScore, Report};

/// numerator / denominator, and 0 where the denominator is 0.
fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { 0.0 } else { numerator / denominator }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{ClassScore, Report};

    /// One row of a golden file: precision, recall, F1, support.
    pub(crate) type GoldenScore = (f64, f64, f64, usize);

    /// Both sides divide the same integers in double precision; only the order of the operations may differ.
    pub(crate) const TOLERANCE: f64 = 1e-12;

    #[track_caller]
    pub(crate) fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() <= TOLERANCE, "{actual} is not {expected}");
    }

    #[track_caller]
    pub(crate) fn assert_scores(actual: &[ClassScore], expected: &[GoldenScore]) {
        assert_eq!(actual.len(), expected.len());
        for (score, &(precision, recall, f1, support)) in actual.iter().zip(expected) {
            assert_near(score.precision, precision);
            assert_near(score.recall, recall);
            assert_near(score.f1, f1);
            assert_eq!(score.support, support, "{}", score.label);
        }
    }

    #[track_caller]
    pub(crate) fn figure(report: &Report, name: &str) -> f64 {
        report.summary.iter().find(|(figure, _)| figure == name).unwrap().1
    }
}
