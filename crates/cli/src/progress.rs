//! What training says on standard error while it runs.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use polytask_trainer::{EpochRecord, Observer, StepProgress};

use crate::{console, interrupt};

/// The losses stand last: on a narrow terminal the end is what is cut off.
const TEMPLATE: &str = "{prefix} [{bar:10}] {eta} left {wide_msg}";

/// A bar on a terminal, and a line an epoch in any case.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    bar: ProgressBar,
    epochs: u64,
}

impl ProgressLine {
    /// Hidden where standard error is no terminal.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self { bar, epochs: 0 }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn place(&self, step: &StepProgress) {
        self.bar.set_length(step.batches);
        self.bar.set_position(step.progress.batches);
    }
}

impl Observer for ProgressLine {
    fn started(&mut self, step: &StepProgress) {
        self.epochs = step.epochs;
        self.place(step);
        // What an earlier run did says nothing about the speed of this one.
        self.bar.reset_eta();
    }

    fn gpus_apart(&mut self, reason: &str) {
        self.bar.suspend(|| console::say(format_args!("gradients are summed in main memory ({reason})")));
    }

    fn batch(&mut self, step: &StepProgress) {
        if self.bar.is_hidden() {
            return;
        }
        self.place(step);
        let current = &step.progress.current;
        let losses = step.tasks.iter().zip(current.mean_losses());
        let losses = losses.filter_map(|(task, loss)| Some(format!("{task} {:.3}", loss?)));
        let losses = losses.collect::<Vec<_>>().join(" ");
        let speed = indicatif::HumanCount(current.tokens_per_second() as u64);
        let (epoch, epochs) = (step.progress.epoch + 1, step.epochs);
        self.bar.set_prefix(format!("epoch {epoch}/{epochs}"));
        self.bar.set_message(format!("{speed} tokens/s loss {losses}"));
    }

    fn epoch(&mut self, record: &EpochRecord, best: bool) {
        self.bar.suspend(|| console::say(epoch_line(record, self.epochs, best)));
    }

    fn should_stop(&mut self) -> bool {
        interrupt::is_requested()
    }
}

/// `epoch  3/10  4.1 s  loss intent 0.412 mood 0.630  dev intent accuracy 0.9100, mood accuracy 0.8000, mean 0.8550 *`
fn epoch_line(record: &EpochRecord, epochs: u64, best: bool) -> String {
    let width = epochs.to_string().len();
    let losses = record.losses.iter().map(|(task, loss)| format!(" {task} {loss:.3}")).collect::<String>();
    let dev = record.dev.iter().map(|(task, report)| format!("{task} {} {:.4}", report.metric, report.value));
    let dev =
        dev.chain(record.mean_metric.map(|mean| format!("mean {mean:.4}"))).collect::<Vec<_>>().join(", ");
    let dev = if dev.is_empty() { String::new() } else { format!("  dev {dev}") };
    let star = if best { " *" } else { "" };
    format!("epoch {:width$}/{epochs}  {:.1} s  loss{losses}{dev}{star}", record.epoch, record.seconds)
}
