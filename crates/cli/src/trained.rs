//! How much of a model is trained.

use indicatif::HumanCount;
use polytask_model::Model;

/// `training 294,912 of 22,713,216 parameters (1.3 %); the others are frozen`, as things stand.
pub(crate) fn what_is_trained(model: &Model) -> String {
    let (all, trained) = (model.parameters().count(), model.parameters().trained_count());
    let [all_shown, trained_shown] = [all, trained].map(|count| HumanCount(count as u64));
    if trained == all {
        return format!("training all {all_shown} parameters");
    }
    let share = 100.0 * trained as f64 / all.max(1) as f64;
    format!("training {trained_shown} of {all_shown} parameters ({share:.1} %); the others are frozen")
}
