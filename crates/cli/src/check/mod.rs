//! What `polytask check` finds in a configuration and its data.

mod cost;
mod labels;
mod rows;

use std::fmt::{self, Display};
use std::path::Path;

use anyhow::Result;
use polytask_data::DataSet;
use polytask_model::ModelTask;
use polytask_trainer::{Config, Error, fit_task, prepare_data};
use serde::Serialize;

use crate::configuration::Configuration;
use crate::download::DownloadBar;

/// How many places of a finding are named.
const PLACES: usize = 3;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What was looked at: `data reviews`, `task mood`.
    subject: String,
    message: String,
}

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Good,
    /// Training is possible, but this deserves a look.
    Warning,
    /// Training is not possible.
    Failure,
}

impl Finding {
    fn good(subject: impl Display, message: impl Display) -> Self {
        Self::new(Level::Good, subject, message)
    }

    fn warning(subject: impl Display, message: impl Display) -> Self {
        Self::new(Level::Warning, subject, message)
    }

    fn failure(subject: impl Display, message: impl Display) -> Self {
        Self::new(Level::Failure, subject, message)
    }

    fn new(level: Level, subject: impl Display, message: impl Display) -> Self {
        Self { level, subject: subject.to_string(), message: message.to_string() }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.level {
            Level::Good => "✔",
            Level::Warning => "⚠",
            Level::Failure => "✘",
        };
        write!(f, "{mark} {}: {}", self.subject, self.message)
    }
}

/// Reads everything that training reads, and says what is good, doubtful or wrong. What depends on something that is
/// wrong is not looked at.
///
/// # Errors
/// The configuration cannot be read.
pub(crate) fn check(configuration: &Configuration) -> Result<Vec<Finding>> {
    let mut config = configuration.config()?;
    let (sets, mut findings) = read(&config, &configuration.base);
    findings.extend(rows::check(&sets));
    for task in config.model.tasks.iter_mut().filter(|task| is_read(task, &sets)) {
        findings.extend(match fit_task(task, &sets) {
            Ok(()) => labels::check(task, &sets),
            Err(error) => vec![Finding::failure(format!("task {}", task.settings.name), without_task(error))],
        });
    }
    if findings.iter().all(|finding| finding.level != Level::Failure) {
        let prepared =
            prepare_data(configuration.config()?, &sets, &configuration.base, &mut DownloadBar::default());
        let costs = prepared.and_then(|prepared| cost::check(&prepared));
        findings.extend(costs.unwrap_or_else(|error| vec![Finding::failure("training", error)]));
    }
    Ok(findings)
}

/// The data sets that can be read, and why the others cannot.
fn read(config: &Config, base: &Path) -> (Vec<DataSet>, Vec<Finding>) {
    let (mut sets, mut failures) = (Vec::new(), Vec::new());
    for data in &config.data {
        match DataSet::read(data, base, &config.columns(&data.name)) {
            Ok(set) => sets.push(set),
            Err(error) => failures.push(Finding::failure(format!("data {}", data.name), error)),
        }
    }
    (sets, failures)
}

/// Whether all data sets of the task could be read.
fn is_read(task: &ModelTask, sets: &[DataSet]) -> bool {
    task.settings.label.places().iter().all(|(name, _)| sets.iter().any(|set| set.name == *name))
}

/// The message of an error; the finding names the task.
fn without_task(error: Error) -> String {
    match error {
        Error::Fit { source, .. } => format!("{source:#}"),
        other => other.to_string(),
    }
}
