//! What a download says on standard error while it runs.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use polytask_trainer::Download;

const TEMPLATE: &str = "{prefix} [{bar:20}] {bytes}/{total_bytes} {binary_bytes_per_sec}";

/// A bar a file, on a terminal alone.
#[derive(Debug)]
pub(crate) struct DownloadBar(ProgressBar);

impl Default for DownloadBar {
    fn default() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self(bar)
    }
}

impl Download for DownloadBar {
    fn started(&mut self, file: &str, size: u64) {
        self.0.reset();
        self.0.set_prefix(file.to_owned());
        self.0.set_length(size);
    }

    fn received(&mut self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn finished(&mut self) {
        self.0.finish_and_clear();
    }
}
