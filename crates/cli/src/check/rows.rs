//! The rows of each data set, and what is on both sides of training and measuring.

use std::collections::BTreeMap;

use polytask_data::{DataSet, Place};

use super::{Finding, PLACES};

/// Fewer rows to train on teach little.
const FEW_TRAINING_ROWS: usize = 100;

/// Fewer rows to measure on measure badly: at 50, one text is two points of accuracy.
const FEW_DEV_ROWS: usize = 50;

pub(super) fn check(sets: &[DataSet]) -> Vec<Finding> {
    let train: BTreeMap<&str, &Place> =
        sets.iter().flat_map(|set| &set.train).rev().map(|row| (row.text.as_str(), &row.place)).collect();
    sets.iter().flat_map(|set| [Some(amounts(set)), overlap(set, &train)]).flatten().collect()
}

fn amounts(set: &DataSet) -> Finding {
    let subject = format!("data {}", set.name);
    let (train, dev) = (set.train.len(), set.dev.len());
    let rows = format!("{train} rows to train on, {dev} to measure on");
    if dev == 0 {
        let remedy = "set `dev` or `dev_fraction`, or nothing tells which epoch is the best";
        return Finding::warning(subject, format!("{rows}; {remedy}"));
    }
    match (train < FEW_TRAINING_ROWS, dev < FEW_DEV_ROWS) {
        (true, _) => {
            Finding::warning(subject, format!("{rows}; few to train on (under {FEW_TRAINING_ROWS})"))
        }
        (_, true) => Finding::warning(subject, format!("{rows}; few to measure on (under {FEW_DEV_ROWS})")),
        _ => Finding::good(subject, rows),
    }
}

/// Texts that are measured on and also trained on, in whatever data set: their metrics tell little.
fn overlap(set: &DataSet, train: &BTreeMap<&str, &Place>) -> Option<Finding> {
    let both = set.dev.iter().filter_map(|row| Some((train.get(row.text.as_str())?, &row.place)));
    let count = both.clone().count();
    let places =
        both.take(PLACES).map(|(train, dev)| format!("{dev} is {train}")).collect::<Vec<_>>().join(", ");
    let message =
        || format!("{count} of {} texts to measure on are also trained on: {places}", set.dev.len());
    (count > 0).then(|| Finding::warning(format!("data {}", set.name), message()))
}
