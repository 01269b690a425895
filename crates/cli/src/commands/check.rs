use std::process::ExitCode;

use anyhow::Result;

use crate::check::{Level, check};
use crate::configuration::ConfigurationArguments;
use crate::console::{print, print_json};

/// Reads configuration and data, and says what is good, doubtful or wrong; trains nothing.
///
/// Exit code 1 if anything is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    configuration: ConfigurationArguments,
    /// Prints the findings as a JSON list.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let findings = check(&self.configuration.read()?)?;
        if self.json {
            print_json(&findings)?;
        } else {
            findings.iter().try_for_each(print)?;
        }
        let failed = findings.iter().any(|finding| finding.level == Level::Failure);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
