//! The configuration that `check` and `train` read.

use std::path::{Path, PathBuf};

use anyhow::Result;
use polytask_config::Document;
use polytask_trainer::Config;

/// A configuration file, and assignments on top of it.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigurationArguments {
    /// The configuration, a TOML file.
    config: PathBuf,
    /// Sets a key of the configuration, such as `trainer.epochs=3`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A configuration as it was read.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) document: Document,
    /// The folder at which its relative paths start.
    pub(crate) base: PathBuf,
}

impl ConfigurationArguments {
    /// The file with the assignments.
    pub(crate) fn read(&self) -> Result<Configuration> {
        self.read_with(|_| Ok(()))
    }

    /// The file with what `complete` adds to it, then the assignments.
    pub(crate) fn read_with(
        &self,
        complete: impl FnOnce(&mut Document) -> Result<()>,
    ) -> Result<Configuration> {
        let mut document = Document::read(&self.config)?;
        complete(&mut document)?;
        self.set.iter().try_for_each(|assignment| document.set(assignment))?;
        let base = self.config.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(Configuration { document, base })
    }
}

impl Configuration {
    /// The configuration, checked.
    pub(crate) fn config(&self) -> Result<Config> {
        Ok(Config::read(&self.document)?)
    }
}
