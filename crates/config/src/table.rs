//! One table of a document, read into structs and plugins.

use crate::check::{check_table, describe_value};
use crate::document::at;
use crate::place::KeyPath;
use crate::plugin::known_names;
use crate::schema::Node;
use crate::{Document, Error, Place, Result, did_you_mean, plugin};
use schemars::{JsonSchema, Schema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The key that names a plugin, which is also its typetag tag.
const TYPE: &str = "type";

/// One table of a [`Document`].
#[derive(Debug, Clone)]
pub struct Table<'a> {
    document: &'a Document,
    path: KeyPath,
    heading: String,
    number: Option<usize>,
    values: Map<String, Value>,
}

impl<'a> Table<'a> {
    pub(crate) fn root(document: &'a Document) -> Table<'a> {
        let (heading, values) = ("the top level".to_owned(), document.values.clone());
        Table { document, path: KeyPath::new(), heading, number: None, values }
    }

    /// What messages call this table: `[trainer]`, `[[tasks]] #2`.
    pub fn name(&self) -> String {
        self.number.map_or_else(|| self.heading.clone(), |number| format!("{} #{number}", self.heading))
    }

    /// Where the value of `key` was written; if it was not, where this table was.
    pub fn place(&self, key: &str) -> Place {
        self.document.places.value(&self.below(key))
    }

    /// An error at the place of `key`, for a fault that only the caller can see: an unknown data set, say.
    pub fn error_at(&self, key: &str, message: impl Into<String>) -> Error {
        at(self.place(key), message)
    }

    /// Refuses every key that is not in `known`. For the root: nobody reads a section with a misspelt name.
    ///
    /// # Errors
    /// The first unknown key, with the nearest known one or all of them.
    pub fn check_sections(&self, known: &[&str]) -> Result<()> {
        match self.values.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let near = did_you_mean(key, known.iter().copied());
                let remedy = if near.is_empty() { format!("; known: {}", known.join(", ")) } else { near };
                let place = self.document.places.key(&self.below(key));
                Err(at(place, format!("unknown section `{key}`{remedy}")))
            }
        }
    }

    /// The table `[key]`; an empty one if the document does not have it, so that all its defaults hold.
    ///
    /// # Errors
    /// `key` is no table.
    pub fn section_or_empty(&self, key: &str) -> Result<Table<'a>> {
        match self.values.get(key) {
            None => Ok(self.child(key, Map::new())),
            Some(Value::Object(values)) => Ok(self.child(key, values.clone())),
            Some(other) => {
                let message = format!("`{key}` must be one table [{key}], found {}", describe_value(other));
                Err(self.error_at(key, message))
            }
        }
    }

    /// The list of tables `[[key]]`, empty if the document has none.
    ///
    /// # Errors
    /// `key` is no list of tables.
    pub fn sections(&self, key: &str) -> Result<Vec<Table<'a>>> {
        let refuse = |found: &Value| {
            let found = describe_value(found);
            self.error_at(key, format!("`{key}` must be a list of tables [[{key}]], found {found}"))
        };
        let elements = match self.values.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(elements)) => elements,
            Some(other) => return Err(refuse(other)),
        };
        let element = |(index, element): (usize, &Value)| {
            let values = element.as_object().ok_or_else(|| refuse(element))?;
            let mut table = self.child(key, values.clone());
            table.path.push(index.to_string());
            table.heading = format!("[{}]", table.heading);
            table.number = Some(index + 1);
            Ok(table)
        };
        elements.iter().enumerate().map(element).collect()
    }

    /// The table as a `T`, to which all its keys must belong.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong type or out of its range, a missing key, or what `T` itself refuses.
    pub fn read<T: JsonSchema + DeserializeOwned>(&self) -> Result<T> {
        self.check(&self.values, &[&schema_for!(T)], &self.name())?;
        self.deserialize(self.values.clone(), &self.name())
    }

    /// The table as a plugin: `P` is a `Box<dyn Trait>` of typetag with the tag `type`. Where `type` is missing,
    /// `default_name` is chosen.
    ///
    /// # Errors
    /// An unknown type, no type and no default, or as for [`Table::read`].
    pub fn read_plugin<P: DeserializeOwned>(&self, kind: &str, default_name: Option<&str>) -> Result<P> {
        let (name, schema) = self.plugin(kind, default_name)?;
        let scope = self.scope(&name);
        let mut keys = self.values.clone();
        keys.shift_remove(TYPE);
        self.check(&keys, &[&schema], &scope)?;
        self.deserialize(tag_first(name, keys), &scope)
    }

    /// The table as a plugin beside the keys that all plugins of this kind share: those of `S` are taken out
    /// first, the rest belongs to the plugin.
    ///
    /// # Errors
    /// As for [`Table::read_plugin`].
    pub fn read_shared_and_plugin<S, P>(&self, kind: &str) -> Result<(S, P)>
    where
        S: JsonSchema + DeserializeOwned,
        P: DeserializeOwned,
    {
        let (name, schema) = self.plugin(kind, None)?;
        let scope = self.scope(&name);
        let shared_schema = schema_for!(S);
        let mut keys = self.values.clone();
        keys.shift_remove(TYPE);
        self.check(&keys, &[&shared_schema, &schema], &scope)?;
        let is_shared = |key: &str| Node::new(&shared_schema).property(key).is_some();
        let (shared, keys) = keys.into_iter().partition(|(key, _)| is_shared(key));
        Ok((self.deserialize(shared, &scope)?, self.deserialize(tag_first(name, keys), &scope)?))
    }

    /// Name and key schema of the plugin that `type` chooses.
    fn plugin(&self, kind: &str, default_name: Option<&str>) -> Result<(String, Schema)> {
        let name = match (self.values.get(TYPE), default_name) {
            (Some(Value::String(name)), _) => name,
            (Some(other), _) => {
                let found = describe_value(other);
                let message = format!("`type` in {}: expected string, found {found}", self.name());
                return Err(self.error_at(TYPE, message));
            }
            (None, Some(name)) => name,
            (None, None) => {
                let message = format!("{} lacks the key `type` {}", self.name(), known_names(kind));
                return Err(self.error_at(TYPE, message));
            }
        };
        let plugin = plugin(kind, name).map_err(|error| self.error_at(TYPE, error.to_string()))?;
        Ok((name.to_owned(), (plugin.schema)()))
    }

    /// `[[tasks]] type = "ner"`
    fn scope(&self, plugin_name: &str) -> String {
        format!("{} type = \"{plugin_name}\"", self.heading)
    }

    fn check(&self, values: &Map<String, Value>, schemas: &[&Schema], scope: &str) -> Result<()> {
        let nodes: Vec<_> = schemas.iter().map(|schema| Node::new(schema)).collect();
        check_table(values, &nodes, scope).map_err(|fault| {
            let path = [self.path.as_slice(), &fault.path].concat();
            let places = &self.document.places;
            at(if fault.at_key { places.key(&path) } else { places.value(&path) }, fault.message)
        })
    }

    /// What passed the check, but breaks a rule of the type's own `Deserialize`, is reported at the table.
    fn deserialize<T: DeserializeOwned>(&self, values: Map<String, Value>, scope: &str) -> Result<T> {
        serde_json::from_value(Value::Object(values))
            .map_err(|error| at(self.document.places.value(&self.path), format!("{scope}: {error}")))
    }

    fn below(&self, key: &str) -> KeyPath {
        [self.path.as_slice(), &[key.to_owned()]].concat()
    }

    fn child(&self, key: &str, values: Map<String, Value>) -> Table<'a> {
        let heading = match self.heading.trim_matches(['[', ']']) {
            _ if self.path.is_empty() => format!("[{key}]"),
            parent => format!("[{parent}.{key}]"),
        };
        Table { document: self.document, path: self.below(key), heading, number: None, values }
    }
}

/// typetag deserializes a plugin without a detour only if the tag is the first key.
fn tag_first(name: String, keys: Map<String, Value>) -> Map<String, Value> {
    std::iter::once((TYPE.to_owned(), Value::String(name))).chain(keys).collect()
}
