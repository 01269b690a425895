use std::process::ExitCode;

use anyhow::{Result, bail};
use polytask_config::{Document, TomlValue};

use super::train::Train;

/// The name of the one task.
const TASK: &str = "pieces";

/// Trains an encoder on texts without labels.
///
/// All rows of all data sets are read, plain text files (.txt, one text a line) or others, and the encoder learns to find
/// pieces that are hidden from it: the configuration is one for `train` without [[tasks]], to which the task `pieces` of type
/// masked_language_model is added (`--set tasks.pieces.probability=0.3` changes it). The result is a model folder, which
/// `type = "pretrained"` with its `path` under [encoder] takes as a start. Everything else is as with `train`.
#[derive(Debug, clap::Args)]
pub(crate) struct Pretrain {
    #[command(flatten)]
    train: Train,
}

impl Pretrain {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        self.train.run_on(&self.train.configuration.read_with(add_task)?)
    }
}

fn add_task(document: &mut Document) -> Result<()> {
    if document.values().contains_key("tasks") {
        bail!("`polytask pretrain` brings its own task: leave [[tasks]] out, or use `polytask train`");
    }
    let sets = document.values().get("data").and_then(|data| data.as_array()).into_iter().flatten();
    let names: TomlValue = sets.filter_map(|set| set["name"].as_str()).collect();
    let task: TomlValue = [("name", TASK.into()), ("type", "masked_language_model".into()), ("label", names)]
        .into_iter()
        .collect();
    Ok(document.set_at(&["tasks"], [task].into_iter().collect::<TomlValue>())?)
}
