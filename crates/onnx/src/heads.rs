//! What the tasks read of a text's states, and their heads.

use polytask_model::{ModelConfig, ModelTask, Pooling};
use polytask_task::Level;
use polytask_tensor::ops;

use crate::graph::{Value, dimension, int, ints};
use crate::layers::{Layers, States};
use crate::proto::Dimension;
use crate::{Error, PIECES, Result};

/// One output a task that answers.
pub(crate) fn outputs(layers: &mut Layers<'_>, config: &ModelConfig, states: &States) -> Result<()> {
    for task in config.tasks.iter().filter(|task| task.task.level().needs_labels()) {
        let name = &task.settings.name;
        if layers.graph.holds(name) {
            return Err(Error::TaskName(name.clone()));
        }
        let states = match config.task_attention.layer_mix {
            true => &mix(layers, name, &states.layers)?,
            false => &states.last,
        };
        let (inputs, rows) = inputs(layers, task, config.task_attention.pooling, states)?;
        let logits = layers.linear(&inputs, &format!("tasks.{name}.head"))?;
        layers.graph.output(&logits, name, &[rows, dimension(task.task.outputs())]);
    }
    Ok(())
}

/// Σ_l softmax(w)_l X_l over the embeddings and what each layer gives.
fn mix(layers: &mut Layers<'_>, task: &str, states: &[Value]) -> Result<Value> {
    let shares = ops::softmax(layers.values(&format!("tasks.{task}.layer_mix"))?)?;
    let weighted: Vec<Value> = states
        .iter()
        .zip(shares.data())
        .map(|(states, &share)| {
            let share = layers.graph.number(share);
            layers.multiply(states, &share)
        })
        .collect();
    Ok(layers.graph.node("Sum", &weighted.iter().collect::<Vec<_>>(), &[]))
}

/// What a task's head gets, and how many rows of it.
fn inputs(
    layers: &mut Layers<'_>,
    task: &ModelTask,
    pooling: Pooling,
    states: &Value,
) -> Result<(Value, Dimension)> {
    // The head is linear: the mean over a word's pieces may as well be taken of what it gives.
    if task.task.level() != Level::Text {
        return Ok((states.clone(), Dimension::Name(PIECES.into())));
    }
    let pooled = match pooling {
        Pooling::Attention => attention(layers, &task.settings.name, states)?,
        Pooling::First => {
            let first = layers.graph.integers(&[0]);
            layers.graph.node("Gather", &[states, &first], &[])
        }
        Pooling::Mean => layers.graph.node("ReduceMean", &[states], &[ints("axes", &[0])]),
    };
    Ok((pooled, dimension(1)))
}

/// What the queries β of a task gather, side by side `[1, heads · width]`: Σ_i softmax_i(βᵀ x_i) x_i.
fn attention(layers: &mut Layers<'_>, task: &str, states: &Value) -> Result<Value> {
    let name = format!("tasks.{task}.attention.query");
    let queries = layers.parameter(&name)?;
    let across = layers.transpose(states, &[1, 0]);
    let scores = layers.graph.node("MatMul", &[&queries, &across], &[]);
    let weights = layers.graph.node("Softmax", &[&scores], &[int("axis", -1)]);
    let gathered = layers.graph.node("MatMul", &[&weights, states], &[]);
    Ok(layers.reshape(&gathered, &[1, -1]))
}
