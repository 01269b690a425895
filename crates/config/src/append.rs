//! Lists of tables of one document behind those of another.

use crate::document::at;
use crate::{Document, Result};
use serde_json::Value;
use toml_edit::{ArrayOfTables, DocumentMut, Item};

impl Document {
    /// This document as TOML, with the elements of another one's lists of tables behind it: `[[data]]` and `[[tasks]]`, say.
    /// Of an element that both have, the other's is left out.
    ///
    /// ```
    /// # use polytask_config::Document;
    /// let ours = Document::parse("ours.toml", "[[data]]\nname = 'a'\n")?;
    /// let theirs = Document::parse("theirs.toml", "k = 1\n[[data]]\nname = 'a'\n[[data]]\nname = 'b'\n")?;
    /// assert_eq!(ours.with_lists_of(&theirs, &["data"])?, "[[data]]\nname = 'a'\n\n[[data]]\nname = 'b'\n");
    /// # Ok::<(), polytask_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// An element has the name of one of this document's, and is another one.
    pub fn with_lists_of(&self, other: &Document, lists: &[&str]) -> Result<String> {
        let (mut ours, mut theirs) = (self.toml.clone(), other.toml.clone());
        theirs.retain(|key, _| lists.contains(&key));
        for list in lists {
            let (known, added) = (elements(self, list), elements(other, list));
            for (index, element) in added.iter().enumerate() {
                let name = |element: &Value| element["name"].clone();
                if known.iter().any(|known| name(known) == name(element) && known != element) {
                    let place = other.places.value(&[(*list).to_owned(), index.to_string(), "name".into()]);
                    let message = format!(
                        "there is another {} in `{list}` already: give it another name",
                        name(element)
                    );
                    return Err(at(place, message));
                }
            }
            let mut tables = take_tables(&mut theirs, list);
            let mut is_new = added.iter().map(|element| !known.contains(element));
            tables.retain(|_| is_new.next().unwrap_or(true));
            theirs.insert(list, Item::ArrayOfTables(tables));
            // What is no list of `[[tables]]` in the text cannot go on behind it.
            if ours.get(list).is_some_and(|item| !item.is_array_of_tables()) {
                let tables = take_tables(&mut ours, list);
                ours.insert(list, Item::ArrayOfTables(tables));
            }
        }
        Ok(format!("{}\n\n{}\n", ours.to_string().trim_end(), theirs.to_string().trim()))
    }
}

fn elements(document: &Document, list: &str) -> Vec<Value> {
    document.values.get(list).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn take_tables(document: &mut DocumentMut, list: &str) -> ArrayOfTables {
    document.remove(list).and_then(|item| item.into_array_of_tables().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(ours: &str, theirs: &str) -> Result<String> {
        let (ours, theirs) = (Document::parse("a.toml", ours)?, Document::parse("b.toml", theirs)?);
        ours.with_lists_of(&theirs, &["data", "tasks"])
    }

    #[test]
    fn lists_in_any_form_go_on_in_the_text() {
        let ours =
            "# ours\ndata = [{ name = 'a', train = 'x' }]\n[[tasks]]\nname = 't'\n[trainer]\nepochs = 3\n";
        let theirs = "[trainer]\nepochs = 9\n\n# theirs\n[[data]]\nname = 'a'\ntrain = 'x'\n\
                      [[data]]\nname = 'b'\n[[tasks]]\nname = 'u'\nlabels = { x = 1 }\n";
        let text = appended(ours, theirs).unwrap();
        let values = Document::parse("c.toml", &text).unwrap().values().clone();
        let expected = serde_json::json!({
            "data": [{ "name": "a", "train": "x" }, { "name": "b" }],
            "tasks": [{ "name": "t" }, { "name": "u", "labels": { "x": 1 } }],
            "trainer": { "epochs": 3 },
        });
        assert_eq!(Value::from(values), expected, "{text}");
    }

    #[test]
    fn another_element_of_the_same_name_is_refused() {
        let error = appended("data = [{ name = 'a', train = 'x' }]", "[[data]]\nname = 'a'\ntrain = 'y'\n");
        let expected = "b.toml:2:8: there is another \"a\" in `data` already: give it another name";
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
}
