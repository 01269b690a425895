//! Values against a schema, before serde sees them: serde would lose the place.

use crate::key::toml_text;
use crate::place::KeyPath;
use crate::schema::Node;
use crate::{did_you_mean, nearest};
use serde_json::{Map, Value};

/// What is wrong, and at which key below the checked table.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) path: KeyPath,
    /// The key itself is wrong, not its value.
    pub(crate) at_key: bool,
    pub(crate) message: String,
}

impl Fault {
    fn at_value(message: String) -> Fault {
        Fault { path: Vec::new(), at_key: false, message }
    }

    fn below(mut self, key: &str) -> Fault {
        self.path.insert(0, key.to_owned());
        self
    }
}

/// Checks a table whose keys may belong to any of `schemas`; `scope` is its name in messages. Reports the first
/// fault in the order of the document, then missing keys.
pub(crate) fn check_table(
    values: &Map<String, Value>,
    schemas: &[Node<'_>],
    scope: &str,
) -> Result<(), Fault> {
    for (key, value) in values {
        let Some(node) = schemas.iter().find_map(|schema| schema.property(key)) else {
            let message = unknown_key(key, schemas, scope);
            return Err(Fault { path: vec![key.clone()], at_key: true, message });
        };
        check_value(value, node, key, scope).map_err(|fault| fault.below(key))?;
    }
    let required =
        schemas.iter().flat_map(|schema| schema.required().map(move |key| (key, schema.property(key))));
    for (key, node) in required {
        if !values.contains_key(key) {
            let kind = node.map(Node::describe).unwrap_or_default();
            return Err(Fault::at_value(format!("{scope} lacks the key `{key}` ({kind})")));
        }
    }
    Ok(())
}

fn unknown_key(key: &str, schemas: &[Node<'_>], scope: &str) -> String {
    let known: Vec<_> = schemas.iter().flat_map(|schema| schema.property_names()).collect();
    let remedy = match nearest(key, known.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => "; it has no keys".to_owned(),
        None => format!("; its keys: {}", known.join(", ")),
    };
    format!("unknown key `{key}` in {scope}{remedy}")
}

fn check_value(value: &Value, node: Node<'_>, name: &str, scope: &str) -> Result<(), Fault> {
    let node = node.resolved();
    let unexpected = || {
        let (expected, found) = (node.describe(), describe_value(value));
        let bits =
            if value.as_f64().is_none_or(|number| node.fits_format(number)) { "" } else { " of 32 bits" };
        Err(Fault::at_value(format!("`{name}` in {scope}: expected {expected}{bits}, found {found}")))
    };
    if let (Some(choices), Some(text)) = (node.choices(), value.as_str()) {
        return check_choice(text, &choices, name, scope);
    }
    let alternatives = node.alternatives();
    if !alternatives.is_empty() {
        let same_type: Vec<_> = alternatives.into_iter().filter(|node| node.has_type_of(value)).collect();
        return match same_type.as_slice() {
            [only] => check_value(value, *only, name, scope),
            many if many.iter().any(|node| check_value(value, *node, name, scope).is_ok()) => Ok(()),
            _ => unexpected(),
        };
    }
    if !node.has_type_of(value) || !in_bounds(value, node) {
        return unexpected();
    }
    match value {
        Value::Array(elements) => check_elements(elements, node, name, scope),
        Value::Object(values) => check_object(values, node, name, scope),
        _ => Ok(()),
    }
}

fn check_choice(text: &str, choices: &[(&str, &str)], name: &str, scope: &str) -> Result<(), Fault> {
    let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
    if names.contains(&text) {
        return Ok(());
    }
    let near = did_you_mean(text, names.iter().copied());
    let message = format!("`{name}` in {scope}: unknown value `{text}` (known: {}){near}", names.join(", "));
    Err(Fault::at_value(message))
}

fn check_elements(elements: &[Value], node: Node<'_>, name: &str, scope: &str) -> Result<(), Fault> {
    let Some(element_node) = node.child("items") else { return Ok(()) };
    for (index, element) in elements.iter().enumerate() {
        check_value(element, element_node, &format!("{name}[{index}]"), scope)
            .map_err(|fault| fault.below(&index.to_string()))?;
    }
    Ok(())
}

/// A nested struct has properties, a map has a schema for all its values.
fn check_object(values: &Map<String, Value>, node: Node<'_>, name: &str, scope: &str) -> Result<(), Fault> {
    let inner_scope = format!("`{name}` of {scope}");
    if node.properties().is_some() {
        return check_table(values, &[node], &inner_scope);
    }
    let Some(value_node) = node.child("additionalProperties") else { return Ok(()) };
    for (key, value) in values {
        check_value(value, value_node, key, &inner_scope).map_err(|fault| fault.below(key))?;
    }
    Ok(())
}

fn in_bounds(value: &Value, node: Node<'_>) -> bool {
    let within = |number: f64, minimum: &str, maximum: &str| {
        node.number(minimum).is_none_or(|bound| number >= bound)
            && node.number(maximum).is_none_or(|bound| number <= bound)
    };
    match value {
        Value::Number(number) => number.as_f64().is_none_or(|number| {
            within(number, "minimum", "maximum")
                && node.number("exclusiveMinimum").is_none_or(|bound| number > bound)
                && node.number("exclusiveMaximum").is_none_or(|bound| number < bound)
                && node.fits_format(number)
        }),
        Value::String(text) => within(text.chars().count() as f64, "minLength", "maxLength"),
        Value::Array(elements) => within(elements.len() as f64, "minItems", "maxItems"),
        _ => true,
    }
}

/// A value in an error message: `string "three"`, `integer 3`, `list of 2`.
pub(crate) fn describe_value(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => format!("boolean {value}"),
        Value::Number(number) if number.is_f64() => format!("number {value}"),
        Value::Number(_) => format!("integer {value}"),
        Value::String(_) => format!("string {}", toml_text(value)),
        Value::Array(elements) => format!("list of {}", elements.len()),
        Value::Object(_) => "table".to_owned(),
    }
}
