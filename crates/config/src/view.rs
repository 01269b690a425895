//! One view of the many ways in which TOML writes tables and lists, and its values as JSON.

use crate::place::KeyPath;
use serde_json::{Map, Value as Json};
use std::ops::Range;
use toml_edit::{Item, TableLike, Value};

/// A part of a document.
pub(crate) enum View<'a> {
    /// `[a]`, `a.b = …` or `a = { … }`
    Table(&'a dyn TableLike),
    /// `[[a]]` or `a = [ … ]`; each element with its span, when the document still has spans.
    List(Vec<(Option<Range<usize>>, View<'a>)>),
    /// All else.
    Scalar(&'a Value),
}

impl<'a> View<'a> {
    pub(crate) fn of_item(item: &'a Item) -> View<'a> {
        match item {
            Item::Table(table) => View::Table(table),
            Item::ArrayOfTables(tables) => {
                View::List(tables.iter().map(|table| (table.span(), View::Table(table))).collect())
            }
            Item::Value(value) => View::of_value(value),
            // toml_edit's hole of a removed item, which its iterators skip.
            Item::None => View::List(Vec::new()),
        }
    }

    fn of_value(value: &'a Value) -> View<'a> {
        match value {
            Value::InlineTable(table) => View::Table(table),
            Value::Array(list) => {
                View::List(list.iter().map(|element| (element.span(), View::of_value(element))).collect())
            }
            scalar => View::Scalar(scalar),
        }
    }

    /// The text under `name`, if this is a table that has one.
    pub(crate) fn name(&self) -> Option<&'a str> {
        match self {
            View::Table(table) => table.get("name")?.as_str(),
            _ => None,
        }
    }

    /// The value as JSON, or the path and the reason why it has none.
    pub(crate) fn to_json(&self) -> Result<Json, (KeyPath, String)> {
        match self {
            View::Table(table) => table_to_json(*table).map(Json::Object),
            View::List(elements) => {
                let json = |(index, (_, element)): (usize, &(_, View<'_>))| {
                    element.to_json().map_err(below(&index.to_string()))
                };
                elements.iter().enumerate().map(json).collect::<Result<_, _>>().map(Json::Array)
            }
            View::Scalar(scalar) => scalar_to_json(scalar).map_err(|message| (Vec::new(), message)),
        }
    }
}

/// The table as JSON, keys in their order, or the path and the reason why it has none.
pub(crate) fn table_to_json(table: &dyn TableLike) -> Result<Map<String, Json>, (KeyPath, String)> {
    let json = |(key, item)| Ok((String::from(key), View::of_item(item).to_json().map_err(below(key))?));
    table.iter().map(json).collect()
}

fn below<E>(key: &str) -> impl Fn((KeyPath, E)) -> (KeyPath, E) {
    move |(mut path, message)| {
        path.insert(0, key.to_owned());
        (path, message)
    }
}

fn scalar_to_json(scalar: &Value) -> Result<Json, String> {
    match scalar {
        Value::String(text) => Ok(text.value().as_str().into()),
        Value::Integer(integer) => Ok((*integer.value()).into()),
        Value::Boolean(boolean) => Ok((*boolean.value()).into()),
        Value::Float(number) => serde_json::Number::from_f64(*number.value())
            .map(Json::Number)
            .ok_or_else(|| format!("{} is not a finite number", number.value().to_string().to_lowercase())),
        other => Err(format!(
            "no key takes a {}; if text is meant, write it in quotes",
            if other.is_datetime() { "date or time" } else { other.type_name() }
        )),
    }
}
