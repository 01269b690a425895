//! A cursor over the JSON Schema that schemars makes of a type.
//!
//! Only what schemars 1.2 emits for configuration structs is understood: scalars, lists, maps, nested structs
//! (`$ref`), `Option` (a null beside it), enums (`enum`, or `oneOf` of `const` when a variant has a doc comment)
//! and untagged enums (`anyOf`).

use serde_json::{Map, Value};

/// A schema inside a root schema.
#[derive(Clone, Copy)]
pub(crate) struct Node<'s> {
    root: &'s Value,
    here: &'s Value,
}

impl<'s> Node<'s> {
    pub(crate) fn new(schema: &'s schemars::Schema) -> Node<'s> {
        Node { root: schema.as_value(), here: schema.as_value() }
    }

    pub(crate) fn get(self, keyword: &str) -> Option<&'s Value> {
        self.here.get(keyword)
    }

    pub(crate) fn child(self, keyword: &str) -> Option<Node<'s>> {
        self.get(keyword).map(|here| Node { here, ..self })
    }

    fn text(self, keyword: &str) -> Option<&'s str> {
        self.get(keyword).and_then(Value::as_str)
    }

    pub(crate) fn number(self, keyword: &str) -> Option<f64> {
        self.get(keyword).and_then(Value::as_f64)
    }

    /// The node behind `$ref`, and the only alternative beside null.
    pub(crate) fn resolved(self) -> Node<'s> {
        if let Some(target) = self.text("$ref").and_then(|path| self.root.pointer(path.strip_prefix('#')?)) {
            return Node { here: target, ..self }.resolved();
        }
        match self.alternatives().as_slice() {
            [only] => only.resolved(),
            _ => self,
        }
    }

    /// The branches of `anyOf` or `oneOf`, without null.
    pub(crate) fn alternatives(self) -> Vec<Node<'s>> {
        let branches = self.get("anyOf").or_else(|| self.get("oneOf")).and_then(Value::as_array);
        let nodes = branches.into_iter().flatten().map(|here| Node { here, ..self });
        nodes.filter(|node| node.text("type") != Some("null")).collect()
    }

    /// The accepted strings with their doc comments, if the type is an enum of unit variants.
    pub(crate) fn choices(self) -> Option<Vec<(&'s str, &'s str)>> {
        let node = self.resolved();
        if let Some(names) = node.get("enum").and_then(Value::as_array) {
            return names.iter().map(|name| Some((name.as_str()?, ""))).collect();
        }
        if let Some(name) = node.text("const") {
            return Some(vec![(name, node.text("description").unwrap_or_default())]);
        }
        let branches: Option<Vec<_>> = node.alternatives().into_iter().map(Node::choices).collect();
        branches.map(|branches| branches.concat()).filter(|choices| !choices.is_empty())
    }

    /// The accepted JSON types, without null.
    fn types(self) -> Vec<&'s str> {
        let types = match self.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        types.into_iter().filter(|name| *name != "null").collect()
    }

    /// Whether the value has the type that this node asks for, whatever its range or content.
    pub(crate) fn has_type_of(self, value: &Value) -> bool {
        let node = self.resolved();
        let alternatives = node.alternatives();
        if !alternatives.is_empty() {
            return alternatives.iter().any(|node| node.has_type_of(value));
        }
        let types = node.types();
        types.is_empty()
            || types.iter().any(|name| match *name {
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                _ => false,
            })
    }

    pub(crate) fn properties(self) -> Option<&'s Map<String, Value>> {
        self.resolved().get("properties").and_then(Value::as_object)
    }

    pub(crate) fn property(self, key: &str) -> Option<Node<'s>> {
        self.properties()?.get(key).map(|here| Node { here, ..self })
    }

    pub(crate) fn property_names(self) -> impl Iterator<Item = &'s str> {
        self.properties().into_iter().flatten().map(|(key, _)| key.as_str())
    }

    pub(crate) fn required(self) -> impl Iterator<Item = &'s str> {
        let names = self.resolved().get("required").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The node's own doc comment, else that of the type it refers to.
    pub(crate) fn doc(self) -> &'s str {
        self.text("description").or_else(|| self.resolved().text("description")).unwrap_or_default()
    }

    /// Whether the number fits a Rust type of 32 bits, where this is one; TOML's own have 64.
    pub(crate) fn fits_format(self, number: f64) -> bool {
        match self.text("format") {
            Some("int32") => (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number),
            Some("uint32") => number <= f64::from(u32::MAX),
            Some("float") => number.abs() <= f64::from(f32::MAX),
            _ => true,
        }
    }

    /// The type in a reader's words: `integer ≥ 1`, `"a" | "b"`, `string or list of string`.
    pub(crate) fn describe(self) -> String {
        let node = self.resolved();
        if let Some(choices) = node.choices() {
            return join(choices.iter().map(|(name, _)| format!("\"{name}\"")), " | ");
        }
        let alternatives = node.alternatives();
        if !alternatives.is_empty() {
            return join(alternatives.into_iter().map(Node::describe), " or ");
        }
        let types = node.types();
        if types.is_empty() {
            "any value".into()
        } else {
            join(types.iter().map(|name| node.phrase(name)), " or ")
        }
    }

    fn phrase(self, type_name: &str) -> String {
        let of = |keyword: &str| self.child(keyword).filter(|node| node.here.is_object());
        let of = |keyword| of(keyword).map(|node| format!(" of {}", node.describe())).unwrap_or_default();
        match type_name {
            "integer" | "number" => format!("{type_name}{}", self.range()),
            "string" => format!("string{}", self.length("minLength", "maxLength")),
            "array" => format!("list{}{}", of("items"), self.length("minItems", "maxItems")),
            "object" => format!("table{}", of("additionalProperties")),
            other => other.to_owned(),
        }
    }

    fn range(self) -> String {
        if let (Some(minimum), Some(maximum)) = (self.number("minimum"), self.number("maximum")) {
            return format!(" from {minimum} to {maximum}");
        }
        let signs =
            [("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")];
        let bounds = signs.iter().filter_map(|(word, sign)| Some(format!(" {sign} {}", self.number(word)?)));
        bounds.collect::<Vec<_>>().join(",")
    }

    fn length(self, minimum: &str, maximum: &str) -> String {
        match (self.number(minimum), self.number(maximum)) {
            (None, None) => String::new(),
            (Some(minimum), None) => format!(", at least {minimum} long"),
            (None, Some(maximum)) => format!(", at most {maximum} long"),
            (Some(minimum), Some(maximum)) if minimum == maximum => format!(", {minimum} long"),
            (Some(minimum), Some(maximum)) => format!(", {minimum} to {maximum} long"),
        }
    }
}

fn join(parts: impl Iterator<Item = String>, separator: &str) -> String {
    let mut parts: Vec<_> = parts.collect();
    parts.dedup();
    parts.join(separator)
}
