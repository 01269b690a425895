//! The documentation of keys out of doc comments.

use polytask_config::{Key, keys, markdown_table, summary};
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Decoder {
    /// The best path.
    Viterbi,
    /// The best label of each token.
    Greedy,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Pooling {
    Mean,
    First,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Clip {
    norm: f32,
    value: Option<f32>,
}

/// Marks names.
///
/// With a second paragraph.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Ner {
    /// How a path is
    /// chosen.
    decoder: Decoder,
    /// Another, a | b.
    second: Option<Decoder>,
    pooling: Pooling,
    /// Columns.
    columns: OneOrMany,
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    rate: f32,
    #[schemars(range(min = 1))]
    layers: Option<usize>,
    betas: [f32; 2],
    weights: BTreeMap<String, f64>,
    clip: Clip,
    free: Option<serde_json::Value>,
}

impl Default for Ner {
    fn default() -> Self {
        Ner {
            decoder: Decoder::Viterbi,
            second: None,
            pooling: Pooling::First,
            columns: OneOrMany::Many(vec!["a".into(), "b".into()]),
            rate: 0.1,
            layers: None,
            betas: [0.9, 0.999],
            weights: BTreeMap::new(),
            clip: Clip { norm: 1e-8, value: None },
            free: None,
        }
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Source {
    /// The file.
    path: String,
    limit: Option<u64>,
}

#[test]
fn a_struct_is_one_table() {
    let expected = "\
| key | type | default | meaning |
|---|---|---|---|
| `decoder` | \"viterbi\" \\| \"greedy\" | `\"viterbi\"` | How a path is chosen. |
| `second` | \"viterbi\" \\| \"greedy\" | – | Another, a \\| b. |
| `pooling` | \"mean\" \\| \"first\" | `\"first\"` |  |
| `columns` | string or list of string | `[\"a\", \"b\"]` | Columns. |
| `rate` | number > 0, < 1 | `0.1` |  |
| `layers` | integer ≥ 1 | – |  |
| `betas` | list of number, 2 long | `[0.9, 0.999]` |  |
| `weights` | table of number | `{}` |  |
| `clip` | table | `{ norm = 1e-8 }` |  |
| `free` | any value | – |  |

`decoder`:

- `viterbi`: The best path.
- `greedy`: The best label of each token.

`second`:

- `viterbi`: The best path.
- `greedy`: The best label of each token.
";
    assert_eq!(markdown_table(&keys(&schema_for!(Ner))), expected);
}

#[test]
fn a_key_without_default_is_required_unless_optional() {
    let key = |name: &str, kind: &str, doc: &str, required| Key {
        name: name.into(),
        kind: kind.into(),
        default: None,
        doc: doc.into(),
        choices: Vec::new(),
        required,
    };
    let expected = [key("path", "string", "The file.", true), key("limit", "integer ≥ 0", "", false)];
    assert_eq!(keys(&schema_for!(Source)), expected);
    assert!(
        markdown_table(&keys(&schema_for!(Source))).contains("| `path` | string | required | The file. |\n")
    );
}

#[test]
fn a_default_has_the_digits_that_were_written() {
    let keys = keys(&schema_for!(Ner));
    assert_eq!(keys[4].default, Some(json!(0.1)));
    assert_eq!(keys[6].default, Some(json!([0.9, 0.999])));
}

#[test]
fn the_summary_is_the_doc_comment_of_the_struct() {
    assert_eq!(summary(&schema_for!(Ner)), "Marks names.\n\nWith a second paragraph.");
    assert_eq!(summary(&schema_for!(Source)), "");
}

#[test]
fn a_struct_without_keys_has_no_table() {
    #[derive(JsonSchema)]
    struct Unit;
    #[derive(JsonSchema)]
    struct Empty {}
    assert_eq!(markdown_table(&keys(&schema_for!(Unit))), "");
    assert_eq!(markdown_table(&keys(&schema_for!(Empty))), "");
}
