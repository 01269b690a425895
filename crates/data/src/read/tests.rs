//! What each format may hold, and one test for each way to break a file.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{Label, Span};

/// Reads a file of this name and content; the folder's name is taken out of error messages.
fn read_with(
    name: &str,
    content: impl AsRef<[u8]>,
    columns: &[&str],
    change: impl FnOnce(&mut DataConfig),
) -> std::result::Result<Vec<Row>, String> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(name), content).unwrap();
    let mut config = DataConfig { name: "set".into(), ..DataConfig::default() };
    change(&mut config);
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let here = format!("{}/", folder.path().display());
    read_file(&folder.path().join(name), &config, &columns)
        .map(|file| file.rows)
        .map_err(|error| error.to_string().replace(&here, ""))
}

fn read(name: &str, content: impl AsRef<[u8]>, columns: &[&str]) -> std::result::Result<Vec<Row>, String> {
    read_with(name, content, columns, |_| {})
}

fn fault(name: &str, content: impl AsRef<[u8]>, columns: &[&str]) -> String {
    read(name, content, columns).unwrap_err()
}

fn words(row: &Row) -> Vec<&str> {
    row.word_texts().collect()
}

fn list(names: &[&str]) -> Label {
    Label::List(names.iter().map(ToString::to_string).collect())
}

mod what_a_file_may_hold {
    use super::*;

    #[test]
    fn json_has_every_kind_of_label() {
        let content = r#"
            {"text": "Café au lait", "a": "x", "b": true, "c": 4.5, "d": ["p", "q"], "e": [], "f": null, "g": " "}

            {"text": "no labels"}
            {"text": "Café au lait", "s": [{"start": 0, "end": 4, "label": "drink", "by": "me"}]}
        "#;
        let rows = read("x.jsonl", content, &["a", "b", "c", "d", "e", "f", "g", "s"]).unwrap();
        assert_eq!(words(&rows[0]), ["Café", "au", "lait"]);
        let labels: Vec<_> =
            rows[0].labels.iter().map(|(column, label)| (column.as_str(), label.clone())).collect();
        let expected = [
            ("a", Label::Text("x".into())),
            ("b", Label::Text("true".into())),
            ("c", Label::Number(4.5)),
            ("d", list(&["p", "q"])),
            ("e", list(&[])),
        ];
        assert_eq!(labels, expected);
        assert!(rows[1].labels.is_empty());
        assert_eq!(rows[1].place.line, 4);
        assert_eq!(rows[2].labels["s"], Label::Spans(vec![Span { start: 0, end: 4, label: "drink".into() }]));
    }

    #[test]
    fn only_wanted_columns_are_kept() {
        let rows = read("x.jsonl", r#"{"text": "a", "x": "1", "y": {"any": 1}}"#, &["x"]).unwrap();
        assert_eq!(rows[0].labels.keys().collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn json_tokens_are_the_words() {
        let content = r#"{"words": ["New York", "", "!"], "tags": ["B", "O", "O"]}"#;
        let rows = read_with("x.ndjson", content, &["tags"], |config| config.tokens = Some("words".into()));
        let rows = rows.unwrap();
        assert_eq!(words(&rows[0]), ["New York", "_", "!"]);
        assert_eq!(rows[0].labels["tags"], list(&["B", "O", "O"]));
    }

    #[test]
    fn csv_quotes_fields() {
        let content = "text,label\n\"a, \"\"b\"\"\nc\", x \n\nd, \n";
        let rows = read("x.csv", content, &["label"]).unwrap();
        assert_eq!(rows[0].text, "a, \"b\"\nc");
        assert_eq!(rows[0].labels["label"], Label::Text("x".into()));
        assert_eq!(rows[1].labels.get("label"), None, "a blank field is no label");
        assert_eq!(rows.iter().map(|row| row.place.line).collect::<Vec<_>>(), [2, 5]);
    }

    #[test]
    fn tsv_keeps_quotes() {
        let content = "text\tlabel\n\"a\tx\nb\" c\ty\n";
        let rows = read("x.tsv", content, &["label"]).unwrap();
        assert_eq!(rows[0].text, "\"a");
        let quoting = |config: &mut DataConfig| config.quoting = Some(true);
        assert_eq!(
            read_with("x.tsv", "text\tlabel\n\"a\tb\"\tx\n", &["label"], quoting).unwrap()[0].text,
            "a\tb"
        );
    }

    #[test]
    fn another_delimiter_and_tokens() {
        let content = "tokens;label\na  b,c;x\n";
        let rows = read_with("x.csv", content, &["label"], |config| {
            config.delimiter = Some(';');
            config.tokens = Some("tokens".into());
        });
        assert_eq!(words(&rows.unwrap()[0]), ["a", "b,c"]);
    }

    #[test]
    fn plain_text_has_one_text_a_line() {
        let content = "\u{feff}A first text.\r\n\n  \nand\ta  second\n...\n";
        let rows = read("x.txt", content, &["label"]).unwrap();
        assert_eq!(
            rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(),
            ["A first text.", "and\ta  second", "..."]
        );
        assert_eq!(rows[1].place.line, 4);
        let few =
            |config: &mut DataConfig| (config.max_rows, config.tokens) = (Some(2), Some("words".into()));
        let rows = read_with("x.txt", content, &[], few).unwrap();
        assert_eq!((rows.len(), words(&rows[0])), (2, vec!["A", "first", "text."]));
    }

    #[test]
    fn conll_blocks_end_at_blank_lines() {
        let content = "-DOCSTART- O\n\nEU\tB-org\n\tO\n\t\nsays B-x\n\n \nyes\tO";
        let rows = read("x.conll", content, &["tags"]).unwrap();
        assert_eq!(rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(), ["EU _", "says", "yes"]);
        assert_eq!(rows[0].labels["tags"], list(&["B-org", "O"]));
        assert_eq!(rows.iter().map(|row| row.place.line).collect::<Vec<_>>(), [3, 6, 9]);
    }

    #[test]
    fn conll_columns_have_names() {
        let rows = read_with("x.txt", "EU NNP B-org\n", &["ner"], |config| {
            config.format = Some(Format::Conll);
            config.columns = ["word", "pos", "ner"].map(String::from).to_vec();
            config.tokens = Some("word".into());
        });
        let rows = rows.unwrap();
        assert_eq!((words(&rows[0]), &rows[0].labels["ner"]), (vec!["EU"], &list(&["B-org"])));
    }

    #[test]
    fn byte_order_marks_and_crlf_change_nothing() {
        for (name, content) in [
            ("x.jsonl", "{\"text\": \"a\", \"tags\": \"x\"}\n\n{\"text\": \"b\", \"tags\": \"y\"}\n"),
            ("x.csv", "text,tags\na,x\nb,y\n"),
            ("x.tsv", "text\ttags\na\tx\nb\ty\n"),
            ("x.conll", "a\tx\n\nb\ty\n"),
        ] {
            let labels = |rows: Vec<Row>| -> Vec<_> {
                rows.into_iter().map(|row| (row.place.line, row.text, row.labels)).collect()
            };
            let plain = labels(read(name, content, &["tags"]).unwrap());
            let windows = format!("\u{feff}{}", content.replace('\n', "\r\n"));
            assert_eq!(labels(read(name, windows, &["tags"]).unwrap()), plain, "{name}");
            assert_eq!(plain.len(), 2);
        }
    }

    #[test]
    fn rows_without_a_word_are_left_out() {
        let rows = read("x.csv", "text,label\n,x\n  ,y\na,z\n", &["label"]).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].place.line, 4);
    }

    #[test]
    fn max_rows_stops_early() {
        let limit = |config: &mut DataConfig| config.max_rows = Some(2);
        let cases = [
            ("x.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\nbroken"),
            ("x.csv", "text\na\nb\nbro,ken"),
            ("x.conll", "a O\n\nb O\n\nbroken"),
        ];
        for (name, content) in cases {
            assert_eq!(read_with(name, content, &[], limit).unwrap().len(), 2, "{name}");
        }
    }

    #[test]
    fn a_line_may_be_ten_megabytes_long() {
        let long = "word ".repeat(2 << 20);
        let json =
            format!("{{\"text\": \"{long}\", \"s\": [{{\"start\": 5, \"end\": 9, \"label\": \"w\"}}]}}\n");
        assert_eq!(read("x.jsonl", json, &["s"]).unwrap()[0].words.len(), 2 << 20);
        assert_eq!(read("x.csv", format!("text,s\n{long},y\n"), &["s"]).unwrap()[0].words.len(), 2 << 20);
    }
}

mod ways_to_break_a_file {
    use super::*;

    #[test]
    fn missing() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("reviews.jsonl"), "").unwrap();
        let path = folder.path().join("review.jsonl");
        let error = read_file(&path, &DataConfig::default(), &[]).unwrap_err();
        let folder = folder.path().display();
        assert_eq!(
            error.to_string(),
            format!(
                "{folder}/review.jsonl: no such file; looked in the folder {folder}; did you mean `reviews.jsonl`?"
            )
        );
    }

    #[test]
    fn a_folder_instead_of_a_file() {
        let folder = TempDir::with_suffix(".csv").unwrap();
        let error = read_file(folder.path(), &DataConfig::default(), &[]).unwrap_err();
        assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    }

    #[test]
    fn empty() {
        let message = |name| format!("{name}: no rows: a file of texts needs at least one text with a word");
        assert_eq!(fault("x.jsonl", "\n\n", &["label"]), message("x.jsonl"));
        assert_eq!(fault("x.csv", "", &["label"]), message("x.csv"));
        assert_eq!(fault("x.tsv", "text\tlabel\n", &["label"]), message("x.tsv"));
        assert_eq!(fault("x.conll", "-DOCSTART- O\n\n", &["tags"]), message("x.conll"));
        assert_eq!(fault("x.jsonl", r#"{"text": " "}"#, &[]), message("x.jsonl"));
    }

    #[test]
    fn unknown_ending() {
        assert_eq!(
            fault("x.md", "a", &[]),
            "x.md: the ending tells no format (known: .jsonl .ndjson .json-lines .csv .tsv .conll .iob .bio .txt); \
             set `format` in [[data]]"
        );
    }

    #[test]
    fn broken_json() {
        assert_eq!(
            fault("x.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\",}\n", &[]),
            "x.jsonl:2:14: broken JSON: trailing comma"
        );
        assert_eq!(
            fault("x.jsonl", "{\"text\": \"b", &[]),
            "x.jsonl:1:11: broken JSON: EOF while parsing a string; write one whole object a line"
        );
        for spread in ["{\n\"text\": \"a\"\n}\n", "[\n{\"text\": \"a\"}\n]\n"] {
            let message = fault("x.jsonl", spread, &[]);
            assert!(
                message.starts_with("x.jsonl:1:1: ") && message.ends_with("; write one whole object a line")
            );
        }
    }

    #[test]
    fn not_an_object() {
        assert_eq!(
            fault("x.jsonl", "{\"text\": \"a\"}\n[\"b\"]\n", &[]),
            "x.jsonl:2: a row must be a JSON object {…} on a line of its own, found a list of strings"
        );
    }

    #[test]
    fn ragged_csv() {
        let message = |line, found| {
            format!(
                "x.csv:{line}: expected 2 fields (text, label), found {found}; a field with the delimiter in it needs \
                 quotes (see `delimiter` and `quoting` in [[data]])"
            )
        };
        assert_eq!(fault("x.csv", "text,label\na,x\n\nb\n", &["label"]), message(4, 1));
        assert_eq!(fault("x.csv", "text,label\na,b,x\n", &["label"]), message(2, 3));
    }

    #[test]
    fn unclosed_quote() {
        let message = "x.csv:3: the quote that opens in this row is never closed; close it, or set \
                       `quoting = false` in [[data]]";
        assert_eq!(fault("x.csv", "label,text\nx,a\ny,\"b\nx,c\nx,d\n", &["label"]), message);
        assert_eq!(fault("x.csv", "label,text\nx,a\n\"y,b\nx,c\n", &["label"]), message);
    }

    #[test]
    fn delimiter_that_is_no_byte() {
        let error = read_with("x.csv", "text\na\n", &[], |config| config.delimiter = Some('→')).unwrap_err();
        assert_eq!(error, "data set `set`: `delimiter` must be one ASCII character, found `→`");
    }

    #[test]
    fn header_lacks_the_text() {
        assert_eq!(
            fault("x.tsv", "sentence\tlabel\na\tx\n", &["label"]),
            "x.tsv:1: no column `text` (found: sentence, label)"
        );
    }

    #[test]
    fn text_column_missing_in_a_row() {
        assert_eq!(
            fault("x.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"a\"}\n", &[]),
            "x.jsonl:2: no column `text` (found: txt); did you mean `txt`?"
        );
    }

    #[test]
    fn broken_utf8() {
        for name in ["x.jsonl", "x.csv", "x.conll"] {
            assert_eq!(
                fault(name, b"text\n\na \xff b\n", &[]),
                format!("{name}:3: not UTF-8 (byte 0xff); convert the file to UTF-8")
            );
        }
    }

    #[test]
    fn wrong_kind_of_text() {
        assert_eq!(
            fault("x.jsonl", r#"{"text": ["a"]}"#, &[]),
            "x.jsonl:1: column `text` must be a string, found a list of strings"
        );
        assert_eq!(
            fault("x.jsonl", r#"{"text": null}"#, &[]),
            "x.jsonl:1: column `text` must be a string, found null"
        );
    }

    #[test]
    fn wrong_kind_of_tokens() {
        let tokens = |config: &mut DataConfig| config.tokens = Some("tokens".into());
        assert_eq!(
            read_with("x.jsonl", r#"{"tokens": ["a", 1]}"#, &[], tokens).unwrap_err(),
            "x.jsonl:1: column `tokens` must be a list of strings, found a list of other things than strings"
        );
    }

    #[test]
    fn wrong_kind_of_label() {
        for (value, found) in [
            ("{\"x\": 1}", "an object"),
            ("[1, 2]", "a list of other things than strings"),
            ("[\"a\", {\"start\": 0}]", "a list of other things than strings"),
        ] {
            assert_eq!(
                fault("x.jsonl", format!(r#"{{"text": "a", "label": {value}}}"#), &["label"]),
                format!(
                    "x.jsonl:1: column `label` must be a string, a number, a list of strings or a list of \
                     {{start, end, label}}, found {found}"
                )
            );
        }
    }

    fn span_fault(span: &str) -> String {
        fault("x.jsonl", format!(r#"{{"text": "Café", "spans": [{span}]}}"#), &["spans"])
    }

    #[test]
    fn span_of_another_form() {
        for span in [
            r#"{"start":0,"end":1}"#,
            r#"{"start":-1,"end":1,"label":"x"}"#,
            r#"{"start":0.5,"end":1,"label":"x"}"#,
            r#"{"start":0,"end":1,"label":" "}"#,
        ] {
            assert_eq!(
                span_fault(span),
                format!(
                    "x.jsonl:1: column `spans` must be a list of {{\"start\": first character, \"end\": character \
                     after the last, \"label\": string that is not empty}}, found {span}"
                )
            );
        }
    }

    #[test]
    fn span_outside_the_text() {
        assert_eq!(
            span_fault(r#"{"start": 0, "end": 5, "label": "x"}"#),
            "x.jsonl:1: column `spans`: the span 0..5 ends behind the text, which has 4 characters"
        );
    }

    #[test]
    fn span_without_a_character() {
        assert_eq!(
            span_fault(r#"{"start": 2, "end": 2, "label": "x"}"#),
            "x.jsonl:1: column `spans`: the span 2..2 is empty: `start` must be smaller than `end`"
        );
    }

    #[test]
    fn conll_line_with_other_columns() {
        let message = |line, found| {
            format!(
                "x.conll:{line}: expected 2 fields (tokens, tags), found {found}; `columns` in [[data]] names \
                 the columns of the file"
            )
        };
        assert_eq!(fault("x.conll", "EU\tO\nsays\n", &["tags"]), message(2, 1));
        assert_eq!(fault("x.conll", "EU NNP I-NP B-org\n", &["tags"]), message(1, 4));
    }

    #[test]
    fn text_and_tokens_at_once() {
        let error = read_with("x.csv", "text\na\n", &[], |config| {
            (config.text, config.tokens) = (Some("text".into()), Some("tokens".into()));
        });
        assert_eq!(error.unwrap_err(), "data set `set`: set either `text` or `tokens`, not both");
        let error = read_with("x.conll", "a O\n", &[], |config| config.text = Some("text".into()));
        assert_eq!(
            error.unwrap_err(),
            "data set `set`: a CoNLL file has one word a line: set `tokens` instead of `text`"
        );
    }
}
