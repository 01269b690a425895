#![doc = include_str!("../README.md")]

mod check;
mod commands;
mod configuration;
mod console;
mod download;
mod interrupt;
mod progress;
mod reference;
mod resident;
mod trained;

use std::process::ExitCode;

use clap::Parser;

// A crate that nothing refers to is not linked, and what it registers does not exist.
use polytask_classification as _;
use polytask_masked_language_model as _;
use polytask_ner as _;
use polytask_sentiment as _;

pub use reference::reference;

/// Runs the command line of this process, with every plugin that is linked into it, and returns the exit code.
pub fn run() -> ExitCode {
    let arguments = commands::Arguments::parse();
    console::show_warnings();
    match arguments.verb.run() {
        Ok(code) => code,
        Err(error) if console::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            console::say(format_args!("error: {}", console::message(&error)));
            ExitCode::FAILURE
        }
    }
}
