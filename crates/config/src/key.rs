//! The documentation of a struct's keys, out of its doc comments.

use crate::schema::Node;
use schemars::Schema;
use serde::Serialize;
use serde_json::Value;

/// One key of a configuration struct.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Key {
    /// What the user writes.
    pub name: String,
    /// The type in a reader's words: `integer ≥ 1`, `number`, `"a" | "b"`, `list of string`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value when the key is absent; none if the key is required, or if absent means absent.
    pub default: Option<Value>,
    /// The doc comment of the field.
    pub doc: String,
    /// The variants of an enum that have a doc comment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// Whether the key must be given.
    pub required: bool,
}

/// One value that a key may have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// What the user writes.
    pub name: String,
    /// The doc comment of the variant.
    pub doc: String,
}

/// The keys of a struct in the order of its fields.
pub fn keys(schema: &Schema) -> Vec<Key> {
    let root = Node::new(schema);
    let required: Vec<_> = root.required().collect();
    root.property_names()
        .filter_map(|name| Some((name, root.property(name)?)))
        .map(|(name, node)| Key {
            name: name.to_owned(),
            kind: node.describe(),
            default: node.get("default").filter(|value| !value.is_null()).map(shortest),
            doc: node.doc().to_owned(),
            choices: choices(node),
            required: required.contains(&name),
        })
        .collect()
}

/// The doc comment of the struct.
pub fn summary(schema: &Schema) -> String {
    Node::new(schema).doc().to_owned()
}

/// The keys as a Markdown table: key, type, default, meaning. What the choices of a key mean follows as a list. Empty if
/// there are no keys.
///
/// ```
/// use polytask_config::{keys, markdown_table, schemars::{JsonSchema, schema_for}};
/// #[derive(JsonSchema)]
/// #[schemars(crate = "polytask_config::schemars")]
/// struct Head {
///     /// Rows of the hidden layer.
///     width: u8,
/// }
/// let table = "| key | type | default | meaning |\n\
///              |---|---|---|---|\n\
///              | `width` | integer from 0 to 255 | required | Rows of the hidden layer. |\n";
/// assert_eq!(markdown_table(&keys(&schema_for!(Head))), table);
/// ```
pub fn markdown_table(keys: &[Key]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let rows = keys.iter().map(|key| {
        let default = match &key.default {
            Some(value) => format!("`{}`", toml_text(value)),
            None if key.required => "required".to_owned(),
            None => "–".to_owned(),
        };
        format!("| `{}` | {} | {} | {} |\n", key.name, cell(&key.kind), cell(&default), cell(&key.doc))
    });
    let table =
        "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned() + &rows.collect::<String>();
    table + &keys.iter().filter(|key| !key.choices.is_empty()).map(choice_list).collect::<String>()
}

fn choice_list(key: &Key) -> String {
    let item = |choice: &Choice| format!("- `{}`: {}\n", choice.name, line(&choice.doc));
    format!("\n`{}`:\n\n{}", key.name, key.choices.iter().map(item).collect::<String>())
}

/// One line, and no `|` that would end the cell.
fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}

fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn choices(node: Node<'_>) -> Vec<Choice> {
    let choices = node.choices().unwrap_or_default().into_iter();
    let documented = choices.filter(|(_, doc)| !doc.is_empty());
    documented.map(|(name, doc)| Choice { name: name.to_owned(), doc: doc.to_owned() }).collect()
}

/// A default without the digits that an `f32` gets when it is widened: 0.001, not 0.0010000000474974513.
fn shortest(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let wide = number.as_f64().unwrap_or_default();
            let narrow = wide as f32;
            let short = narrow.to_string().parse().ok().filter(|_| f64::from(narrow) == wide);
            short.unwrap_or(wide).into()
        }
        Value::Array(elements) => elements.iter().map(shortest).collect(),
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), shortest(value))).collect(),
        other => other.clone(),
    }
}

/// The value as a user would write it.
pub(crate) fn toml_text(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(toml_text).collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let entries = entries.iter().filter(|(_, value)| !value.is_null());
            let pairs: Vec<_> = entries.map(|(key, value)| format!("{key} = {}", toml_text(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        scalar => scalar.to_string(),
    }
}
