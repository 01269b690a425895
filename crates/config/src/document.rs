//! A parsed TOML file whose values remember where they were written.

use crate::place::Places;
use crate::view::table_to_json;
use crate::{Error, Place, Result, Table, set};
use serde_json::{Map, Value};
use std::path::Path;
use toml_edit::{DocumentMut, Key, Value as TomlValue};

/// A configuration: one TOML file, and the assignments from the command line on top of it.
///
/// Every key and value remembers its line and column, or the assignment it came from, and errors name it.
#[derive(Debug, Clone)]
pub struct Document {
    /// What [`Document::to_toml`] writes, comments and all.
    pub(crate) toml: DocumentMut,
    /// The same values for serde.
    pub(crate) values: Map<String, Value>,
    pub(crate) places: Places,
}

impl Document {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8, or as for [`Document::parse`].
    pub fn read(path: &Path) -> Result<Document> {
        let bytes = std::fs::read(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
        let name = path.display().to_string();
        match str::from_utf8(&bytes) {
            Ok(text) => Document::parse(&name, text),
            Err(error) => {
                let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let place = Place::in_file(&name, &valid, valid.len());
                Err(at(place, "the text is not UTF-8 from here; save the file as UTF-8"))
            }
        }
    }

    /// Parses the text of a TOML file; `file_name` is what errors call it.
    ///
    /// # Errors
    /// The text is not TOML 1.1, or has a date, a time, `nan` or `inf`, which no configuration takes.
    pub fn parse(file_name: &str, text: &str) -> Result<Document> {
        let parsed =
            toml_edit::Document::parse(text).map_err(|error| syntax_error(file_name, text, &error))?;
        let places = Places::of(file_name, text, parsed.as_table());
        let values =
            table_to_json(parsed.as_table()).map_err(|(path, message)| at(places.value(&path), message))?;
        Ok(Document { toml: parsed.into_mut(), values, places })
    }

    /// Sets one value: `trainer.epochs=3`, `encoder.width=64`, `tasks.intent.weight=2`.
    ///
    /// An element of a list of tables is chosen by its `name`; tables that do not exist yet are made. The right
    /// side is a TOML value; what is none is taken as a string, so `optimizer.type=adamw` needs no quotes.
    /// Whether the key exists shows when the table is read, and that error names this assignment.
    ///
    /// # Errors
    /// The assignment has no `=` or no valid key, goes through something that is no table, names an element
    /// that does not exist, or its value is refused as in [`Document::parse`]. The document is then unchanged.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let fault = |message| at(Place::Set(assignment.to_owned()), message);
        let (keys, value) = set::parse(assignment).map_err(fault)?;
        self.assign(&keys, value, assignment)
    }

    /// [`Document::set`] with the keys one by one, which may then hold any character, and a value that is one.
    ///
    /// ```
    /// # use polytask_config::Document;
    /// let mut document = Document::parse("train.toml", "[[data]]\nname = 'a=b'\n")?;
    /// document.set_at(&["data", "a=b", "train"], "x.csv")?;
    /// assert_eq!(document.to_toml(), "[[data]]\nname = 'a=b'\ntrain = \"x.csv\"\n");
    /// # Ok::<(), polytask_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Document::set`].
    pub fn set_at(&mut self, keys: &[&str], value: impl Into<TomlValue>) -> Result<()> {
        let keys: Vec<Key> = keys.iter().map(|key| Key::new(*key)).collect();
        let value = value.into();
        let path = keys.iter().map(|key| key.display_repr()).collect::<Vec<_>>().join(".");
        let assignment = format!("{path}={value}");
        self.assign(&keys, value, &assignment)
    }

    fn assign(&mut self, keys: &[Key], value: TomlValue, assignment: &str) -> Result<()> {
        let fault = |message| at(Place::Set(assignment.to_owned()), message);
        let mut toml = self.toml.clone();
        let path = set::assign(toml.as_item_mut(), "the top level", keys, value).map_err(fault)?;
        self.values = table_to_json(toml.as_table()).map_err(|(_, message)| fault(message))?;
        self.toml = toml;
        self.places.set(&path, assignment);
        Ok(())
    }

    /// All values, those of the assignments among them.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The document as TOML with the assignments folded in and the comments kept.
    pub fn to_toml(&self) -> String {
        self.toml.to_string()
    }

    /// The top level of the document.
    pub fn root(&self) -> Table<'_> {
        Table::root(self)
    }
}

pub(crate) fn at(place: Place, message: impl Into<String>) -> Error {
    Error::At { place, message: message.into() }
}

/// The parser's message with the text that it stumbled over.
fn syntax_error(file_name: &str, text: &str, error: &toml_edit::TomlError) -> Error {
    let span = error.span().unwrap_or_default();
    let place = Place::in_file(file_name, text, span.start);
    let found = text.get(span).filter(|found| !found.trim().is_empty() && !found.contains('\n'));
    let found = found.map(|found| format!(", at `{found}`")).unwrap_or_default();
    at(place, format!("not valid TOML: {}{found}", error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = r#"[ab]\.[cd]|[ab]\.[cd]\.e|trainer\.(epochs|f)|tasks\.intent\.[gh]|k|l\."a b""#;
    const VALUE: &str = r"[0-9]{1,3}|0\.5|true|\[1, 2\]|\{ x = 1 \}|[a-z ]{0,5}|'q'";

    proptest! {
        /// What a model folder stores is read back as what was trained with.
        #[test]
        fn what_is_written_reads_back_the_same(assignments in prop::collection::vec((KEY, VALUE), 0..6)) {
            let text = "a = { c = 1 }\nb.d = 2\n[trainer]\nepochs = 5\n[[tasks]]\nname = 'intent'\n";
            let mut document = Document::parse("train.toml", text).unwrap();
            for (key, value) in assignments {
                let before = document.values.clone();
                // Refused where it would go through a value that is no table; then nothing changes.
                if document.set(&format!("{key}={value}")).is_err() {
                    prop_assert_eq!(&document.values, &before);
                }
            }
            let again = Document::parse("again.toml", &document.to_toml()).unwrap();
            prop_assert_eq!(again.values, document.values);
        }

        /// No input panics: it is a document or an error with a place.
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]a-c.=\"'{}#0-9\\n é,]{0,40}", assignment in "[a-c.=\"\\[]{0,9}") {
            if let Ok(mut document) = Document::parse("train.toml", &text) {
                let _ = document.set(&assignment);
            }
        }
    }
}
