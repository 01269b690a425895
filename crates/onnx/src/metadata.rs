//! What a program needs beside the logits to answer: labels, and the tasks' own parameters.

use polytask_model::{Model, ModelTask};
use polytask_task::Level;
use polytask_tensor::{Parameters, Tensor};
use serde_json::{Map, Value, json};

use crate::Result;
use crate::proto::StringStringEntryProto;

/// The entries of `metadata_props`.
pub(crate) fn properties(model: &Model) -> Result<Vec<StringStringEntryProto>> {
    let tasks = model.config().tasks.iter().filter(|task| task.task.level().needs_labels());
    let tasks = tasks.map(|task| description(task, model.parameters()));
    let tasks = Value::Array(tasks.collect::<Result<_>>()?);
    let entries = [
        ("polytask", env!("CARGO_PKG_VERSION").to_string()),
        ("max_tokens", model.tokenizer().max_tokens().to_string()),
        ("tasks", tasks.to_string()),
    ];
    Ok(entries.map(|(key, value)| StringStringEntryProto { key: key.into(), value }).into())
}

fn description(task: &ModelTask, parameters: &Parameters) -> Result<Value> {
    let level = match task.task.level() {
        Level::Text => "text",
        Level::Word => "word",
        Level::Piece => "piece",
    };
    Ok(json!({
        "name": task.settings.name,
        "level": level,
        "outputs": task.task.outputs(),
        "task": serde_json::to_value(&task.task)?,
        "parameters": own_parameters(&task.settings.name, parameters),
    }))
}

/// The parameters of a task that are not in the graph, such as a CRF's, by their names within the task.
fn own_parameters(task: &str, parameters: &Parameters) -> Map<String, Value> {
    let prefix = format!("tasks.{task}.");
    let own = parameters.iter().filter_map(|(_, parameter)| {
        let name = parameter.name.strip_prefix(&prefix)?;
        let is_in_graph = ["head.", "attention.", "layer_mix"].iter().any(|part| name.starts_with(part));
        (!is_in_graph).then(|| (name.to_string(), lists(parameter.tensor())))
    });
    own.collect()
}

/// A list, or of a matrix a list a row.
fn lists(tensor: &Tensor) -> Value {
    match *tensor.shape() {
        [_, columns] if columns > 0 => tensor.data().chunks(columns).collect(),
        _ => json!(tensor.data()),
    }
}
