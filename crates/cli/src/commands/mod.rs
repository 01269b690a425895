//! The verbs: each parses its arguments, calls a plain function and prints what it returns.

mod add_task;
mod check;
mod eval;
mod export;
mod info;
mod init;
mod merge;
mod predict;
mod pretrain;
mod quantize;
mod tasks;
mod train;

use std::process::ExitCode;

/// Trains one text model for many tasks, and answers with it.
#[derive(Debug, clap::Parser)]
#[command(name = "polytask", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Init(init::Init),
    Check(check::Check),
    Train(train::Train),
    AddTask(add_task::AddTask),
    Merge(merge::Merge),
    Pretrain(pretrain::Pretrain),
    Eval(eval::Eval),
    Predict(predict::Predict),
    Quantize(quantize::Quantize),
    Export(export::Export),
    Info(info::Info),
    Tasks(tasks::Tasks),
}

impl Verb {
    /// Does what was asked for.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Init(init) => init.run(),
            Verb::Check(check) => check.run(),
            Verb::Train(train) => train.run(),
            Verb::AddTask(add_task) => add_task.run(),
            Verb::Merge(merge) => merge.run(),
            Verb::Pretrain(pretrain) => pretrain.run(),
            Verb::Eval(eval) => eval.run(),
            Verb::Predict(predict) => predict.run(),
            Verb::Quantize(quantize) => quantize.run(),
            Verb::Export(export) => export.run(),
            Verb::Info(info) => info.run(),
            Verb::Tasks(tasks) => tasks.run(),
        }
    }
}
