//! JSON lines: one object a line.

use serde_json::{Map, Value};

use super::{Rows, Wanted, Words};
use crate::{Error, Label, Place, Result, Row, Span};

pub(super) fn read(content: &str, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
    for (index, line) in content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if rows.full() {
            break;
        }
        let object = parse(line, rows.place(index + 1))?;
        let mut row = words(&object, &wanted.words, rows.place(index + 1))?;
        for column in wanted.labels {
            let Some(value) = object.get(column) else { continue };
            if let Some(label) = label(value, column, &row)? {
                row.labels.insert(column.clone(), label);
            }
        }
        rows.push(row);
        rows.columns.extend(object.into_iter().map(|(key, _)| key));
    }
    Ok(())
}

fn parse(line: &str, place: Place) -> Result<Map<String, Value>> {
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Error::NotAnObject { place, found: kind(&other) }),
        Err(error) => {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            let remedy = if error.is_eof() { "; write one whole object a line" } else { "" };
            Err(Error::BrokenJson { place, column: error.column(), message: format!("{message}{remedy}") })
        }
    }
}

fn words(object: &Map<String, Value>, words: &Words, place: Place) -> Result<Row> {
    let column = words.column();
    let value = match object.get(column) {
        Some(value) => value,
        None => {
            let known = object.keys().cloned().collect();
            return Err(Error::NoColumn { place, column: column.into(), known });
        }
    };
    match (words, value) {
        (Words::Text(_), Value::String(text)) => Ok(Row::from_text(text.as_str(), place)),
        (Words::Text(_), other) => Err(wrong_type(&place, column, "a string", kind(other))),
        (Words::Tokens(_), value) => match strings(value) {
            Some(tokens) => Ok(Row::from_tokens(tokens, place)),
            None => Err(wrong_type(&place, column, "a list of strings", kind(value))),
        },
    }
}

fn label(value: &Value, column: &str, row: &Row) -> Result<Option<Label>> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => Label::Text(text.clone()),
        Value::Bool(truth) => Label::Text(truth.to_string()),
        Value::Number(number) => Label::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            Label::Spans(spans(items, column, row)?)
        }
        other => match strings(other) {
            Some(names) => Label::List(names.into_iter().map(String::from).collect()),
            None => {
                let expected = "a string, a number, a list of strings or a list of {start, end, label}";
                return Err(wrong_type(&row.place, column, expected, kind(other)));
            }
        },
    }))
}

fn spans(items: &[Value], column: &str, row: &Row) -> Result<Vec<Span>> {
    let characters = row.text.chars().count();
    items
        .iter()
        .map(|item| {
            let span = span(item).ok_or_else(|| {
                let expected = "a list of {\"start\": first character, \"end\": character after the last, \
                                \"label\": string that is not empty}";
                wrong_type(&row.place, column, expected, item.to_string())
            })?;
            let (place, column) = (row.place.clone(), column.to_string());
            let Span { start, end, .. } = span;
            if start >= end {
                return Err(Error::SpanEmpty { place, column, start, end });
            }
            if end > characters {
                return Err(Error::SpanOutside { place, column, start, end, characters });
            }
            Ok(span)
        })
        .collect()
}

fn span(item: &Value) -> Option<Span> {
    let offset = |key| usize::try_from(item.get(key)?.as_u64()?).ok();
    Some(Span {
        start: offset("start")?,
        end: offset("end")?,
        label: item.get("label")?.as_str().filter(|label| !label.trim().is_empty())?.to_string(),
    })
}

fn strings(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

fn wrong_type(place: &Place, column: &str, expected: &'static str, found: impl Into<String>) -> Error {
    Error::WrongType { place: place.clone(), column: column.into(), expected, found: found.into() }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(items) if items.iter().all(Value::is_string) => "a list of strings",
        Value::Array(_) => "a list of other things than strings",
        Value::Object(_) => "an object",
    }
}
