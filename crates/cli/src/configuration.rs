//! The configuration that `check` and `train` read.

use std::path::{Path, PathBuf, absolute};

use anyhow::Result;
use polytask_config::Document;
use polytask_data::Paths;
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
    document: Document,
    /// The folder at which its relative paths start.
    pub(crate) base: PathBuf,
}

impl ConfigurationArguments {
    /// The file with the assignments.
    pub(crate) fn read(&self) -> Result<Configuration> {
        let mut document = Document::read(&self.config)?;
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

    /// The text with all paths absolute, which holds wherever the model folder lies.
    pub(crate) fn with_absolute_paths(&self) -> Result<String> {
        let config = self.config()?;
        let mut document = self.document.clone();
        for data in &config.data {
            let mut set = |key: &str, paths: &Paths| -> Result<()> {
                let name = serde_json::to_string(&data.name)?;
                Ok(document.set(&format!("data.{name}.{key}={}", self.absolute(paths)?))?)
            };
            set("train", &data.train)?;
            data.dev.as_ref().map_or(Ok(()), |dev| set("dev", dev))?;
        }
        if let Some(path) = &config.tokenizer.path {
            document.set(&format!("tokenizer.path={}", self.absolute(&Paths::One(path.clone()))?))?;
        }
        Ok(document.to_toml())
    }

    /// The paths as a TOML value. A basic string of TOML is written like a string of JSON.
    fn absolute(&self, paths: &Paths) -> Result<String> {
        let absolute = |path: &PathBuf| Ok(absolute(self.base.join(path))?);
        let text = match paths {
            Paths::One(path) => serde_json::to_string(&absolute(path)?),
            Paths::Many(paths) => {
                serde_json::to_string(&paths.iter().map(absolute).collect::<Result<Vec<_>>>()?)
            }
        };
        Ok(text?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_the_rest_stays() {
        let text = "[[data]]\nname = 'a b'\ntrain = ['x.jsonl', '/y.jsonl'] # two\ndev = \"z's.jsonl\"\n\n\
                    [[tasks]]\nname = 'c'\ntype = 'classification'\nlabel = 'a b.c'\n\n\
                    [tokenizer]\npath = 'tokenizer.json'\n";
        let document = Document::parse("train.toml", text).unwrap();
        let written = Configuration { document, base: "/data".into() }.with_absolute_paths().unwrap();
        let expected = text
            .replace("['x.jsonl', '/y.jsonl']", r#"["/data/x.jsonl","/y.jsonl"]"#)
            .replace("\"z's.jsonl\"", "\"/data/z's.jsonl\"")
            .replace("'tokenizer.json'", "\"/data/tokenizer.json\"");
        assert_eq!(written, expected);
    }
}
