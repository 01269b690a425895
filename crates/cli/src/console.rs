//! What goes to standard output and what to standard error.

use std::fmt::{self, Display};
use std::io::{self, Write};

use serde::Serialize;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Writes a line of results to standard output.
pub(crate) fn print(line: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// Writes a value to standard output as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(print(serde_json::to_string(value)?)?)
}

/// Writes a line to standard error. Where nobody reads it there is nobody to tell.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether the reader of the output went away, as `head` does.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

/// The error with its causes, each said once: many messages hold their cause already.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if message.is_empty() {
            message = cause;
        } else if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

/// From now on warnings of all crates go to standard error, but for those of requests that `hf-hub` makes anew or gives up:
/// an error of ours says what came of it.
pub(crate) fn show_warnings() {
    let shown = Targets::new().with_default(LevelFilter::WARN).with_target("hf_hub", LevelFilter::OFF);
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).event_format(Warning).finish();
    // A program that calls `run` may have a subscriber of its own.
    let _ = subscriber.with(shown).try_init();
}

/// `warning: …`
struct Warning;

impl<S, N> FormatEvent<S, N> for Warning
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let is_error = *event.metadata().level() == Level::ERROR;
        write!(writer, "{}: ", if is_error { "error" } else { "warning" })?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Rows as text columns, two spaces apart; the last column is as wide as it likes.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let line = |row: &Vec<String>| {
        let cells =
            row.iter().enumerate().map(|(column, cell)| format!("{cell:0$}", width(column).unwrap_or(0)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let inner = anyhow!("no such file");
        let error = inner.context("a.toml: no such file").context("cannot train");
        assert_eq!(message(&error), "cannot train: a.toml: no such file");
    }

    #[test]
    fn a_broken_pipe_is_found_below_other_errors() {
        let pipe: anyhow::Result<()> = Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("answering");
        assert!(is_broken_pipe(&pipe.unwrap_err()));
        let other: anyhow::Result<()> = Err(io::Error::from(io::ErrorKind::NotFound)).context("answering");
        assert!(!is_broken_pipe(&other.unwrap_err()));
    }

    #[test]
    fn columns_line_up() {
        let rows = [["é", "b"], ["ccc", "d"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(columns(&rows), "é    b\nccc  d");
    }
}
