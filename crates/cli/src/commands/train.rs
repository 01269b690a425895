use std::error::Error as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use polytask_model::{Evaluation, ModelFolder};
use polytask_trainer::{
    Communicator, DeviceChoice, Ending, Error, Totals, Trainer, connect, prepare, with_absolute_paths,
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::configuration::{Configuration, ConfigurationArguments};
use crate::console::{message, print, print_json, say};
use crate::download::DownloadBar;
use crate::interrupt;
use crate::progress::ProgressLine;
use crate::resident::peak_resident_bytes;
use crate::trained::what_is_trained;

/// Trains a model.
///
/// After every epoch the folder holds the best model so far, the history and a checkpoint. Ctrl-C finishes the batch,
/// writes a checkpoint and ends with exit code 130; `--resume` goes on from there. Several processes train one model:
/// `torchrun --no-python --nproc-per-node 2 polytask train …`, or `mpirun` where the program is built with `--features mpi`.
#[derive(Debug, clap::Args)]
pub(crate) struct Train {
    #[command(flatten)]
    pub(super) configuration: ConfigurationArguments,
    /// The folder for the model; made if it does not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Goes on from the checkpoint in the folder; the configuration must be the same.
    #[arg(long)]
    resume: bool,
    /// On what to compute, instead of `device` in [trainer]: auto, cpu, cuda or cuda:NUMBER.
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Threads to compute with, instead of `threads` in [trainer]; 0 takes all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Prints one JSON object in the end instead of the reports.
    #[arg(long)]
    json: bool,
}

/// How a run went.
struct Outcome {
    ending: Ending,
    totals: Totals,
    steps: u64,
    parameters: usize,
    trained_parameters: usize,
    /// The reports of the model that was kept.
    evaluation: Evaluation,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary {
    /// Of training; measuring and saving left out.
    seconds: f64,
    steps: u64,
    tokens_per_s: f64,
    examples_per_s: f64,
    /// The share of a padded batch that would have been padding.
    padding: f64,
    peak_rss_mb: Option<f64>,
    parameters: usize,
    /// Those that are not frozen.
    trained_parameters: usize,
    /// The main metric of each task.
    dev: Map<String, Value>,
}

impl Train {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        self.run_on(&self.configuration.read()?)
    }

    /// Trains by a configuration, and prints the reports.
    pub(super) fn run_on(&self, configuration: &Configuration) -> Result<ExitCode> {
        let ranks = connect()?;
        let outcome =
            self.train(configuration, &ranks).inspect_err(|error| end_all(ranks.as_ref(), error))?;
        if ranks.rank() == 0 { self.report(&outcome) } else { Ok(exit_code(&outcome)) }
    }

    /// Prints how it went.
    fn report(&self, outcome: &Outcome) -> Result<ExitCode> {
        let folder = self.out.display();
        if outcome.ending == Ending::Interrupted {
            say(format_args!("interrupted; the same command with --resume goes on from {folder}"));
            return Ok(exit_code(outcome));
        }
        if outcome.ending == Ending::StoppedEarly {
            say("stopped early: the dev metrics no longer got better");
        }
        if self.json {
            print_json(&outcome.summary())?;
            return Ok(exit_code(outcome));
        }
        for (task, report) in &outcome.evaluation {
            print(format_args!("{task}\n{report}\n"))?;
        }
        print(format_args!("model: {folder}"))?;
        Ok(exit_code(outcome))
    }

    fn train(&self, configuration: &Configuration, ranks: &Arc<dyn Communicator>) -> Result<Outcome> {
        let mut config = configuration.config()?;
        config.trainer.device = self.device.unwrap_or(config.trainer.device);
        let folder = ModelFolder::new(&self.out);
        if ranks.rank() == 0 {
            self.check_use(&folder)?;
        }
        start_threads(self.threads.unwrap_or(config.trainer.threads))?;
        let text = with_absolute_paths(&configuration.document, &configuration.base)?;
        let prepared = prepare(config, &configuration.base, &mut DownloadBar::default())?;
        let mut trainer = match self.resume {
            true => Trainer::resume(prepared, text, &folder)?,
            false => Trainer::new(prepared, text)?,
        }
        .with_ranks(ranks.clone());
        if ranks.rank() == 0 {
            self.claim()?;
            say(what_computes(&trainer));
            say(what_is_trained(trainer.model()));
        }
        interrupt::catch()?;
        let mut progress = ProgressLine::new();
        let ending = trainer.run(&folder, &mut progress);
        progress.finish();
        Ok(Outcome {
            ending: ending?,
            totals: trainer.progress().total.clone(),
            steps: trainer.progress().step,
            parameters: trainer.model().parameters().count(),
            trained_parameters: trainer.model().parameters().trained_count(),
            evaluation: folder.evaluation()?.unwrap_or_default(),
        })
    }

    /// Refuses a folder that holds what this run would overwrite, or not what it goes on from.
    fn check_use(&self, folder: &ModelFolder) -> Result<()> {
        if self.resume && !folder.checkpoint().exists() {
            return Err(Error::NoCheckpoint { file: folder.checkpoint() }.into());
        }
        if !self.resume && folder.is_used() {
            return Err(Error::FolderInUse { folder: self.out.clone() }.into());
        }
        Ok(())
    }

    /// Makes the folder, and refuses one that cannot be written to.
    fn claim(&self) -> Result<()> {
        let probe = self.out.join(".polytask");
        let write = || fs::create_dir_all(&self.out).and_then(|()| fs::write(&probe, ""));
        let write = || write().and_then(|()| fs::remove_file(&probe));
        write().with_context(|| format!("{}: cannot be written to", self.out.display()))
    }
}

/// Ends the other ranks too, which would wait for this one.
fn end_all(ranks: &dyn Communicator, error: &anyhow::Error) {
    if ranks.size() > 1 {
        // In one piece: all ranks write to one place.
        say(format!("rank {}: error: {}", ranks.rank(), message(error)));
        ranks.abort();
    }
}

fn exit_code(outcome: &Outcome) -> ExitCode {
    match outcome.ending {
        Ending::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
        Ending::Finished | Ending::StoppedEarly => ExitCode::SUCCESS,
    }
}

/// The device; why it is no GPU where one was looked for.
fn what_computes(trainer: &Trainer) -> String {
    let device = trainer.device();
    match trainer.no_gpu() {
        Some(reason) => format!("device: {device} ({reason})"),
        None => format!("device: {device}"),
    }
}

/// A program that calls `run` may have started its threads already; the result does not depend on their number.
pub(super) fn start_threads(threads: usize) -> Result<()> {
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build_global() {
        // Of the reasons, only that of the system has a cause.
        Err(error) if error.source().is_some() => Err(error)
            .with_context(|| format!("cannot start {threads} threads; ask for fewer with --threads")),
        _ => Ok(()),
    }
}

impl Outcome {
    fn summary(&self) -> Summary {
        let Totals { seconds, examples, .. } = self.totals;
        let value = |report: &polytask_task::metrics::Report| Value::from(report.value);
        Summary {
            seconds,
            steps: self.steps,
            tokens_per_s: self.totals.tokens_per_second(),
            examples_per_s: examples as f64 / seconds.max(f64::MIN_POSITIVE),
            padding: self.totals.padding(),
            peak_rss_mb: peak_resident_bytes().map(|bytes| bytes as f64 / 1e6),
            parameters: self.parameters,
            trained_parameters: self.trained_parameters,
            dev: self.evaluation.iter().map(|(task, report)| (task.clone(), value(report))).collect(),
        }
    }
}
