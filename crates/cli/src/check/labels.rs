//! The labels of each task: how many, of which classes, and which of them are odd or refused.

use polytask_data::{DataSet, Row};
use polytask_model::ModelTask;
use polytask_task::Target;

use super::{Finding, PLACES};

/// A class with so large a share of the labels is nearly all that a task can learn.
const SKEWED_SHARE: f64 = 0.9;

/// A class that is rarer is hardly learnt.
const RARE_CLASS: usize = 5;

/// The rare classes that are named.
const NAMED_CLASSES: usize = 10;

/// The task must be fitted.
pub(super) fn check(task: &ModelTask, sets: &[DataSet]) -> Vec<Finding> {
    let subject = format!("task {}", task.settings.name);
    let mut findings = Vec::new();
    let (mut trained_on, mut odd, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for set in sets {
        if !task.task.level().needs_labels() && task.settings.label.names(&set.name) {
            findings.push(texts(&subject, set));
        }
        let Some(column) = task.settings.label.column(&set.name) else { continue };
        let (train, dev) = (Labels::of(task, &set.train, column), Labels::of(task, &set.dev, column));
        findings.push(amounts(&subject, set, &train, &dev));
        trained_on.extend(train.targets);
        odd.extend(train.odd.into_iter().chain(dev.odd));
        refused.extend(train.refused.into_iter().chain(dev.refused));
    }
    let counts = task.task.label_counts(&trained_on.iter().collect::<Vec<_>>());
    findings.extend(classes(&subject, &counts));
    if !odd.is_empty() {
        findings.push(Finding::warning(&subject, listed("oddities in labels", &odd)));
    }
    if !refused.is_empty() {
        findings.push(Finding::failure(&subject, listed("labels that cannot be used", &refused)));
    }
    findings
}

/// The labels of some rows as the task sees them.
#[derive(Default)]
struct Labels {
    /// Those that it takes.
    targets: Vec<Target>,
    /// What it finds odd about single ones, with the place.
    odd: Vec<String>,
    /// Why it refuses the others, with the place.
    refused: Vec<String>,
}

impl Labels {
    fn of(task: &ModelTask, rows: &[Row], column: &str) -> Self {
        let mut labels = Self::default();
        for (row, label) in rows.iter().filter_map(|row| Some((row, row.labels.get(column)?))) {
            match task.task.target(label, row.into()) {
                Ok(target) => labels.targets.push(target),
                Err(error) => labels.refused.push(format!("{}: {error:#}", row.place)),
            }
            let odd = task.task.findings(label, row.into()).into_iter();
            labels.odd.extend(odd.map(|finding| format!("{}: {finding}", row.place)));
        }
        labels
    }

    fn len(&self) -> usize {
        self.targets.len() + self.refused.len()
    }
}

/// Of a task that reads no labels.
fn texts(subject: &str, set: &DataSet) -> Finding {
    let (train, dev) = (set.train.len(), set.dev.len());
    Finding::good(subject, format!("{train} texts to train on, {dev} to measure on, in data {}", set.name))
}

fn amounts(subject: &str, set: &DataSet, train: &Labels, dev: &Labels) -> Finding {
    let labels =
        format!("{} labels to train on, {} to measure on, in data {}", train.len(), dev.len(), set.name);
    match dev.len() == 0 && !set.dev.is_empty() {
        true => Finding::warning(subject, format!("{labels}; it is not measured there")),
        false => Finding::good(subject, labels),
    }
}

/// The share of the most common class, and the classes that hardly occur.
fn classes(subject: &str, counts: &[(String, usize)]) -> Vec<Finding> {
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    let Some((most_common, most)) = counts.iter().max_by_key(|(_, count)| count).filter(|_| counts.len() > 1)
    else {
        return Vec::new();
    };
    let share = *most as f64 / total.max(1) as f64;
    let message =
        format!("{} classes, the most common is `{most_common}` ({:.0} %)", counts.len(), share * 100.0);
    let mut findings = vec![match share > SKEWED_SHARE {
        true => Finding::warning(subject, format!("{message}: the others may never be predicted")),
        false => Finding::good(subject, message),
    }];
    let rare = counts.iter().filter(|(_, count)| *count < RARE_CLASS);
    let names = rare.clone().take(NAMED_CLASSES).map(|(name, count)| format!("`{name}` ({count})"));
    let names = names.collect::<Vec<_>>().join(", ");
    let (number, total) = (rare.count(), counts.len());
    if number > 0 {
        let message =
            format!("{number} of {total} classes have fewer than {RARE_CLASS} training labels: {names}");
        findings.push(Finding::warning(subject, message));
    }
    findings
}

/// `labels that cannot be used: 12`, and the first of them, a line each.
fn listed(what: &str, all: &[String]) -> String {
    let first: String = all.iter().take(PLACES).map(|one| format!("\n    {one}")).collect();
    let more = all.len().saturating_sub(PLACES);
    let more = if more > 0 { format!("\n    … and {more} more") } else { String::new() };
    format!("{what}: {}{first}{more}", all.len())
}
