use polytask_config::{Document, keys, plugin, summary};
use serde_json::Value;

use super::passed;
use crate::{Task, TaskSettings};

const UNKNOWN_KEY: &str = "key_that_no_task_has";

/// The task that a `[[tasks]]` table makes.
pub(super) fn read(configuration: &str) -> Box<dyn Task> {
    passed("reading the configuration", try_read(configuration))
}

fn try_read(configuration: &str) -> polytask_config::Result<Box<dyn Task>> {
    let table = format!("[[tasks]]\nname = \"task\"\nlabel = \"data.label\"\n{configuration}\n");
    let document = Document::parse("conformance.toml", &table)?;
    let mut tasks = document.root().sections("tasks")?;
    let table = tasks.remove(0);
    let (_, task): (TaskSettings, _) = table.read_shared_and_plugin("task")?;
    Ok(task)
}

/// Checks what needs no labels: documentation, unknown keys, the round trip of an unfitted task.
pub(super) fn check(configuration: &str, task: &dyn Task) {
    round_trip(task);
    let found = try_read(&format!("{configuration}\n{UNKNOWN_KEY} = 1"));
    assert!(found.is_err(), "an unknown key is read without an error");

    let mut saved = saved(task);
    let name = saved["type"].as_str().unwrap_or_default().to_owned();
    let schema = (passed("looking up the type", plugin("task", &name)).schema)();
    let documented = keys(&schema);
    assert!(!summary(&schema).is_empty(), "the struct of `{name}` has no doc comment");
    for key in &documented {
        assert!(!key.doc.is_empty(), "the key `{}` of `{name}` has no doc comment", key.name);
    }
    let Some(fields) = saved.as_object_mut() else { panic!("a task is saved as an object; found {saved}") };
    for key in fields.keys().filter(|key| *key != "type") {
        assert!(
            documented.iter().any(|known| known.name == *key),
            "`{key}` is saved but is no key of `{name}`"
        );
    }
    fields.insert(UNKNOWN_KEY.into(), 1.into());
    let found = serde_json::from_value::<Box<dyn Task>>(saved);
    assert!(found.is_err(), "`{name}` takes an unknown key: add #[serde(deny_unknown_fields)]");
}

/// The task as it comes back after being saved; what it would save then must be the same.
pub(super) fn round_trip(task: &dyn Task) -> Box<dyn Task> {
    let text = passed("saving the task", serde_json::to_string(task));
    let loaded: Box<dyn Task> = passed("loading the saved task", serde_json::from_str(&text));
    assert_eq!(saved(task), saved(loaded.as_ref()), "the task changes by being saved and loaded");
    loaded
}

fn saved(task: &dyn Task) -> Value {
    passed("saving the task", serde_json::to_value(task))
}
