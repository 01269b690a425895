//! What `polytask check` finds in a configuration and its data.

mod cost;
mod labels;
mod rows;

use std::fmt::{self, Display};

use anyhow::Result;
use polytask_trainer::{fit_tasks, prepare_data, read_data};
use serde::Serialize;

use crate::configuration::Configuration;

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

/// Reads everything that training reads, and says what is good, doubtful or wrong.
///
/// # Errors
/// The configuration or a file cannot be read.
pub(crate) fn check(configuration: &Configuration) -> Result<Vec<Finding>> {
    let mut config = configuration.config()?;
    let sets = read_data(&config, &configuration.base)?;
    let mut findings = rows::check(&sets);
    if let Err(error) = fit_tasks(&mut config.model, &sets) {
        findings.push(Finding::failure("tasks", error));
        return Ok(findings);
    }
    findings.extend(labels::check(&config.model, &sets));
    // With a label that its task refuses there is no more to prepare.
    if findings.iter().all(|finding| finding.level != Level::Failure) {
        let prepared = prepare_data(configuration.config()?, &sets, &configuration.base)?;
        findings.extend(cost::check(&prepared)?);
    }
    Ok(findings)
}
