//! Ctrl-C while training.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::console::say;

/// The exit code of a run that was interrupted: 128 and the number of SIGINT.
pub(crate) const EXIT_CODE: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C is only noted, and the second ends the process.
pub(crate) fn catch() -> anyhow::Result<()> {
    let note = || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(EXIT_CODE.into());
        }
        say("stopping after this batch; Ctrl-C once more stops at once, without a checkpoint");
    };
    ctrlc::set_handler(note).context("Ctrl-C cannot be caught")
}

/// Whether Ctrl-C was pressed.
pub(crate) fn is_requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
