//! The gradients of one step of plain descent, and how near they are to others.

use std::collections::BTreeMap;

use polytask_model::ModelFolder;
use polytask_tensor::{Parameter, Parameters, TensorFile};

/// Of two ways to the same sums of f32: the norm of the difference of all gradients, relative to theirs.
const OF_ALL: f64 = 1e-6;
/// The largest difference in one parameter's gradient, relative to its largest value.
const OF_ONE: f64 = 5e-6;

/// Settings with which what the optimizer keeps after the first step, g + 0 · m, is the gradient itself.
pub const PLAIN_DESCENT: [&str; 3] =
    ["optimizer.type=sgd", "optimizer.momentum=0.0", "trainer.gradient_clipping=0.0"];

/// Settings with which a pass draws nothing.
pub const WITHOUT_DROPOUT: [&str; 3] =
    ["encoder.dropout=0.0", "encoder.attention_dropout=0.0", "encoder.word_dropout=0.0"];

/// The gradient of each parameter in a run of one step, from the folder's checkpoint.
pub fn gradients_of_one_step(folder: &ModelFolder, parameters: &Parameters) -> BTreeMap<String, Vec<f32>> {
    let state = TensorFile::read(&folder.checkpoint()).unwrap();
    let gradient = |parameter: &Parameter| {
        let name = format!("optimizer.momentum.{}", parameter.name);
        state.tensor(&name, parameter.tensor().shape()).unwrap().data().to_vec()
    };
    parameters.iter().map(|(_, parameter)| (parameter.name.clone(), gradient(parameter))).collect()
}

/// Asserts that two ways to the same gradients agree but for rounding.
#[track_caller]
pub fn assert_same_gradients(found: &BTreeMap<String, Vec<f32>>, expected: &BTreeMap<String, Vec<f32>>) {
    assert!(found.keys().eq(expected.keys()));
    let (mut difference, mut all) = (0.0, 0.0);
    for ((name, found), expected) in found.iter().zip(expected.values()) {
        let (mut furthest, mut largest) = (0.0, 0.0);
        for (&found, &expected) in found.iter().zip(expected) {
            let (found, expected) = (f64::from(found), f64::from(expected));
            furthest = f64::max(furthest, (found - expected).abs());
            largest = f64::max(largest, expected.abs());
            difference += (found - expected).powi(2);
            all += expected.powi(2);
        }
        assert!(furthest <= OF_ONE * largest, "{name}: {furthest}, the largest is {largest}");
    }
    let (difference, all) = (f64::sqrt(difference), f64::sqrt(all));
    assert!(difference <= OF_ALL * all && all > 0.0, "{difference} in gradients of norm {all}");
}
