//! Reports for texts with one label each, and with any number of labels each.

use super::counts::{Counts, scores};
use super::{ClassScore, Report, ratio};

/// The report of a single-label classifier; the main metric is the accuracy.
///
/// `gold` and `predicted` hold indices into `labels`; an index outside it is never right and belongs to no class.
/// As in scikit-learn's `classification_report`, a class that occurs neither in `gold` nor in `predicted` has no
/// row and no part in the averages.
pub fn classification_report(labels: &[String], gold: &[u32], predicted: &[u32]) -> Report {
    let mut counts = named(labels);
    let mut correct = 0;
    for (&gold, &predicted) in gold.iter().zip(predicted) {
        correct += usize::from(gold == predicted && (gold as usize) < labels.len());
        if let Some((_, count)) = counts.get_mut(gold as usize) {
            count.add(true, predicted == gold);
        }
        if gold != predicted
            && let Some((_, count)) = counts.get_mut(predicted as usize)
        {
            count.add(false, true);
        }
    }
    counts.retain(|(_, count)| count.gold + count.predicted > 0);

    let examples = gold.len().min(predicted.len());
    let (classes, averages) = scores(&counts);
    Report {
        metric: "accuracy".to_owned(),
        value: ratio(correct as f64, examples as f64),
        summary: f1_figures(&averages).to_vec(),
        classes,
        averages: averages.to_vec(),
        examples,
    }
}

/// The report of a classifier that decides on each label by itself; the main metric is the micro F1.
///
/// A row of `gold` or `predicted` says of each label whether it applies, `[labels]`; what a row lacks is false.
/// The summary has the subset accuracy: the share of rows with every label right. Every label has its row and its
/// part in the averages, as in scikit-learn.
pub fn multilabel_report(labels: &[String], gold: &[Vec<bool>], predicted: &[Vec<bool>]) -> Report {
    let mut counts = named(labels);
    let mut correct = 0;
    for (gold, predicted) in gold.iter().zip(predicted) {
        let mut all_right = true;
        for (index, (_, count)) in counts.iter_mut().enumerate() {
            let has = |row: &[bool]| row.get(index).copied().unwrap_or(false);
            count.add(has(gold), has(predicted));
            all_right &= has(gold) == has(predicted);
        }
        correct += usize::from(all_right);
    }

    let examples = gold.len().min(predicted.len());
    let (classes, averages) = scores(&counts);
    let [(metric, value), macro_f1, weighted_f1] = f1_figures(&averages);
    let subset_accuracy = ("subset accuracy".to_owned(), ratio(correct as f64, examples as f64));
    Report {
        metric,
        value,
        summary: vec![subset_accuracy, macro_f1, weighted_f1],
        classes,
        averages: averages.to_vec(),
        examples,
    }
}

fn named(labels: &[String]) -> Vec<(&str, Counts)> {
    labels.iter().map(|label| (label.as_str(), Counts::default())).collect()
}

/// Micro, macro and weighted F1 as figures with their names.
pub(super) fn f1_figures([micro, r#macro, weighted]: &[ClassScore; 3]) -> [(String, f64); 3] {
    [
        ("micro F1".to_owned(), micro.f1),
        ("macro F1".to_owned(), r#macro.f1),
        ("weighted F1".to_owned(), weighted.f1),
    ]
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::testing::{GoldenScore, assert_near, assert_scores, figure};
    use super::*;

    /// Made by `tests/golden/make_classification.py` with scikit-learn.
    const GOLDEN: &str = include_str!("../../tests/golden/classification.json");

    #[derive(Deserialize)]
    struct Golden {
        single: Vec<Case<u32>>,
        multi: Vec<Case<Vec<u8>>>,
    }

    #[derive(Deserialize)]
    struct Case<T> {
        labels: Vec<String>,
        gold: Vec<T>,
        predicted: Vec<T>,
        accuracy: f64,
        classes: Vec<GoldenScore>,
        averages: Vec<GoldenScore>,
    }

    fn golden() -> Golden {
        serde_json::from_str(GOLDEN).unwrap()
    }

    #[test]
    fn single_label_agrees_with_scikit_learn() {
        for case in golden().single {
            let report = classification_report(&case.labels, &case.gold, &case.predicted);
            assert_near(report.value, case.accuracy);
            assert_near(figure(&report, "macro F1"), case.averages[1].2);
            assert_scores(&report.classes, &case.classes);
            assert_scores(&report.averages, &case.averages);
        }
    }

    #[test]
    fn multilabel_agrees_with_scikit_learn() {
        let rows = |rows: &[Vec<u8>]| -> Vec<Vec<bool>> {
            rows.iter().map(|row| row.iter().map(|&applies| applies == 1).collect()).collect()
        };
        for case in golden().multi {
            let report = multilabel_report(&case.labels, &rows(&case.gold), &rows(&case.predicted));
            assert_near(report.value, case.averages[0].2);
            assert_near(figure(&report, "subset accuracy"), case.accuracy);
            assert_scores(&report.classes, &case.classes);
            assert_scores(&report.averages, &case.averages);
        }
    }

    #[test]
    fn nothing_scored_is_zero_and_no_panic() {
        let labels = ["a".to_owned()];
        assert_eq!(classification_report(&labels, &[], &[]).value, 0.0);
        assert_eq!(multilabel_report(&labels, &[], &[]).value, 0.0);
    }

    #[test]
    fn unknown_index_is_never_right() {
        let report = classification_report(&["a".to_owned()], &[0, 7, 7], &[7, 7, 0]);
        assert_eq!((report.value, report.examples), (0.0, 3));
    }
}
