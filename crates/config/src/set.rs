//! `trainer.epochs=3`: one assignment from the command line into a document.

use crate::did_you_mean;
use crate::place::KeyPath;
use crate::view::View;
use toml_edit::{InlineTable, Item, Key, Table, Value};

/// Splits `trainer.epochs=3` into its keys and its value. What is no TOML value is a string.
pub(crate) fn parse(assignment: &str) -> Result<(Vec<Key>, Value), String> {
    let form = "expected KEY=VALUE with a key like trainer.epochs";
    let (keys, value) = assignment.split_once('=').ok_or(form)?;
    let keys = Key::parse(keys.trim()).map_err(|error| format!("{form} ({})", error.message()))?;
    let mut value = value.trim().parse().unwrap_or_else(|_| Value::from(value.trim()));
    value.decor_mut().clear();
    Ok((keys, value))
}

/// Puts `value` at `keys` below `item`, makes the tables on the way, and returns the path in the document.
/// An element of a list of tables is chosen by its `name`.
pub(crate) fn assign(item: &mut Item, name: &str, keys: &[Key], value: Value) -> Result<KeyPath, String> {
    let Some((key, rest)) = keys.split_first() else {
        replace(item, value);
        return Ok(KeyPath::new());
    };
    let key = key.get();
    let new_table = new_table_in(item);
    let (step, child) = match element_named(item, name, key)? {
        Some(_) if rest.is_empty() => {
            return Err(format!("`{key}` is a whole table; set a key of it: {name}.{key}.KEY=VALUE"));
        }
        Some(index) => (index.to_string(), item.get_mut(index)),
        None => (key.to_owned(), item.get_mut(key)),
    };
    let child = child.ok_or_else(|| format!("`{name}` is not a table, so `{key}` cannot be set in it"))?;
    if child.is_none() && !rest.is_empty() {
        *child = new_table;
    }
    let mut path = assign(child, key, rest, value)?;
    path.insert(0, step);
    Ok(path)
}

/// An empty table, written the way in which its parent is written.
fn new_table_in(parent: &Item) -> Item {
    match parent.as_table() {
        Some(parent) => {
            let mut table = Table::new();
            table.set_implicit(true);
            table.set_dotted(parent.is_dotted());
            Item::Table(table)
        }
        None => Item::Value(InlineTable::new().into()),
    }
}

/// The index of the table with this `name` if `item` is a list.
fn element_named(item: &Item, list: &str, name: &str) -> Result<Option<usize>, String> {
    let View::List(elements) = View::of_item(item) else { return Ok(None) };
    let names: Vec<_> = elements.iter().map(|(_, element)| element.name().unwrap_or_default()).collect();
    if let Some(index) = names.iter().position(|known| *known == name) {
        return Ok(Some(index));
    }
    let near = did_you_mean(name, names.iter().copied());
    Err(format!("no element of `{list}` has the name `{name}` (names: {}){near}", names.join(", ")))
}

/// The comment beside the old value stays.
fn replace(item: &mut Item, mut value: Value) {
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}
