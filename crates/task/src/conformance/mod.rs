//! The conformance kit: one call that puts a task type through everything the trainer will do to it.
//!
//! ```text
//! configuration ─▶ Task ─fit─▶ Bench (head on random states) ─▶ laws
//! ```
//!
//! Everything here panics with a message where a law is broken: it is made for `#[test]` functions.
#![allow(clippy::panic, reason = "a test fails by a panic")]

mod bench;
mod configuration;
mod laws;

use std::fmt::Display;

use polytask_data::Row;

use self::bench::Bench;
use crate::Text;

/// Checks a task type, registered under `"task"`, on the labels that `rows` have in `column`.
///
/// `configuration` is what a user writes below `[[tasks]]`: `type = "…"` and the type's own keys. A few rows of some words
/// are enough, two at least with labels that differ, so that a linear head on random states can learn them; rows
/// without a label are welcome.
///
/// What holds when it returns:
/// - Each key is documented, unknown keys are refused, and what the task saves, fitted or not, is read back the same.
/// - A label that makes no sense is an error and no panic.
/// - The loss is a mean over the texts with a label: others change nothing, a batch taken twice has the same loss, and
///   that of a batch is the mean of its parts' losses, each weighted by its denominator.
/// - A gradient, the right one, reaches every parameter, and following it makes the loss fall.
/// - A batch decodes as its texts do one by one, with an empty text and a text of one word among them.
/// - A saved and loaded task decodes the same, and 1, 2 and 4 threads give the same bits.
/// - No prediction has a better report than the gold labels.
/// - At piece level, which has no labels and no answers: what is hidden is of the text, and the same for the same draw.
///
/// # Panics
/// One of these does not hold.
pub fn check(configuration: &str, rows: &[Row], column: &str) {
    let mut task = configuration::read(configuration);
    configuration::check(configuration, task.as_ref());

    let labels: Vec<_> =
        rows.iter().filter_map(|row| Some((row.labels.get(column)?, Text::from(row)))).collect();
    passed("fit", task.fit(&labels));
    let reloaded = configuration::round_trip(task.as_ref());

    let bench = Bench::new(task, rows, column);
    laws::foreign_labels_do_not_panic(&bench);
    laws::other_texts_do_not_change_the_loss(&bench);
    laws::a_batch_taken_twice_has_the_same_loss(&bench);
    laws::a_gradient_reaches_every_parameter(&bench);
    laws::the_loss_of_a_batch_is_that_of_its_parts(&bench);
    laws::a_batch_decodes_as_its_texts_do(&bench);
    if bench.task.level().needs_labels() {
        laws::predictions_have_the_form_of_targets(&bench);
        laws::gold_is_best(&bench);
    } else {
        laws::hidden_pieces_are_of_the_text(&bench);
    }
    laws::saved_and_loaded_are_equal(&bench, &Bench::new(reloaded, rows, column));
    laws::threads_change_nothing(&bench);
    laws::the_loss_falls(bench);
}

/// The value, or a panic that says which step failed and why.
#[track_caller]
fn passed<T, E: Display>(step: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{step} failed: {error:#}"),
    }
}

#[cfg(test)]
mod tests;
