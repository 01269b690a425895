//! A data set: the rows to train on and the rows to measure on.

use std::collections::BTreeSet;
use std::path::Path;

use crate::read::read_file;
use crate::{DataConfig, Error, Paths, Result, Row};

/// The rows of a data set, in the order of their files.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSet {
    /// The name in the configuration.
    pub name: String,
    /// The rows to train on.
    pub train: Vec<Row>,
    /// The rows to measure on; none when the configuration has neither `dev` nor `dev_fraction`.
    pub dev: Vec<Row>,
}

impl DataSet {
    /// Reads the files of a `[[data]]` table with the labels of the wanted columns.
    ///
    /// Relative paths start at `base`, the folder of the configuration file. A byte order mark is skipped; lines may
    /// end in CRLF. A row without a single word is left out, with one warning a file. A label that is null, missing or
    /// a blank string or field is no label.
    ///
    /// # Errors
    /// With file and line: a file that is missing, is not UTF-8, has no rows or an unknown ending; a broken
    /// line; no column of the text; a value that its column cannot hold; a span outside of its text. A label
    /// column that no training file has; a table that has both `dev` and `dev_fraction`, or a fraction which
    /// leaves one of the two parts without a row.
    pub fn read(config: &DataConfig, base: &Path, columns: &[String]) -> Result<DataSet> {
        if config.train.as_slice().is_empty() {
            return Err(config.error("`train` names no file"));
        }
        let (mut train, missing) = read_files(&config.train, config, base, columns)?;
        if let Some(fault) = missing.into_iter().next() {
            return Err(fault);
        }
        let dev = match (&config.dev, config.dev_fraction) {
            (Some(_), Some(_)) => return Err(config.error("set either `dev` or `dev_fraction`, not both")),
            (Some(paths), None) => read_dev_files(paths, config, base, columns)?,
            (None, Some(fraction)) => hold_out(config, &mut train, fraction)?,
            (None, None) => Vec::new(),
        };
        Ok(DataSet { name: config.name.clone(), train, dev })
    }

    /// Reads only the rows to measure on; without a label column they have no such labels. The training files are not opened, unless `dev_fraction` takes the rows
    /// from them.
    ///
    /// # Errors
    /// As for [`DataSet::read`].
    pub fn read_dev(config: &DataConfig, base: &Path, columns: &[String]) -> Result<Vec<Row>> {
        match (&config.dev, config.dev_fraction) {
            (Some(paths), None) => read_dev_files(paths, config, base, columns),
            (None, None) => Ok(Vec::new()),
            (_, Some(_)) => Ok(DataSet::read(config, base, columns)?.dev),
        }
    }
}

/// The rows of all files, and a fault for each wanted column that none of them has.
fn read_files(
    paths: &Paths,
    config: &DataConfig,
    base: &Path,
    columns: &[String],
) -> Result<(Vec<Row>, Vec<Error>)> {
    let mut rows = Vec::new();
    let mut known = BTreeSet::new();
    for path in paths.as_slice() {
        let file = read_file(&base.join(path), config, columns)?;
        rows.extend(file.rows);
        known.extend(file.columns);
    }
    let files = || paths.as_slice().iter().map(|path| base.join(path).display().to_string());
    let fault = |column: &String| Error::ColumnInNoRow {
        files: files().collect::<Vec<_>>().join(", "),
        column: column.clone(),
        known: known.iter().cloned().collect(),
    };
    Ok((rows, columns.iter().filter(|column| !known.contains(*column)).map(fault).collect()))
}

fn read_dev_files(paths: &Paths, config: &DataConfig, base: &Path, columns: &[String]) -> Result<Vec<Row>> {
    let (rows, missing) = read_files(paths, config, base, columns)?;
    missing.iter().for_each(|fault| tracing::warn!("{fault}"));
    Ok(rows)
}

/// Splits off the last `fraction` of the rows, rounded to the nearest whole number.
fn hold_out(config: &DataConfig, train: &mut Vec<Row>, fraction: f64) -> Result<Vec<Row>> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(config.error(format!("`dev_fraction` must lie between 0 and 1, found {fraction}")));
    }
    let held_out = (train.len() as f64 * fraction).round() as usize;
    if held_out == 0 || held_out >= train.len() {
        let rows = train.len();
        return Err(config.error(format!(
            "`dev_fraction = {fraction}` of {rows} rows leaves {held_out} to measure on and {} to train on; \
             each needs one at least",
            rows - held_out
        )));
    }
    Ok(train.split_off(train.len() - held_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dev_fraction: Option<f64>, dev: Option<Paths>) -> Result<DataSet> {
        let folder = tempfile::tempdir().unwrap();
        let rows: String = (0..10).map(|n| format!("{{\"text\": \"number {n}\"}}\n")).collect();
        std::fs::write(folder.path().join("a.jsonl"), rows).unwrap();
        let train = Paths::One("a.jsonl".into());
        let config = DataConfig { name: "a".into(), train, dev, dev_fraction, ..DataConfig::default() };
        DataSet::read(&config, folder.path(), &[])
    }

    fn texts(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.text.as_str()).collect()
    }

    #[test]
    fn the_last_part_is_held_out() {
        let set = read(Some(0.2), None).unwrap();
        assert_eq!(set.train.len(), 8);
        assert_eq!(texts(&set.dev), ["number 8", "number 9"]);
    }

    #[test]
    fn files_follow_one_another() {
        let twice = Paths::Many(vec!["a.jsonl".into(), "a.jsonl".into()]);
        let set = read(None, Some(twice)).unwrap();
        assert_eq!((set.train.len(), set.dev.len()), (10, 20));
        assert_eq!(texts(&set.dev[9..11]), ["number 9", "number 0"]);
    }

    #[test]
    fn the_rows_to_measure_on_need_no_training_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dev.jsonl"), "{\"text\": \"a word\"}\n").unwrap();
        let train = Paths::One("missing.jsonl".into());
        let dev = Some(Paths::One("dev.jsonl".into()));
        let mut config = DataConfig { name: "a".into(), train, dev, ..DataConfig::default() };
        assert_eq!(texts(&DataSet::read_dev(&config, folder.path(), &[]).unwrap()), ["a word"]);
        config.dev = None;
        assert_eq!(DataSet::read_dev(&config, folder.path(), &[]).unwrap(), []);
        config.dev_fraction = Some(0.5);
        let error = DataSet::read_dev(&config, folder.path(), &[]).unwrap_err().to_string();
        assert!(error.contains("missing.jsonl: no such file"), "{error}");
    }

    /// A file of each format that lacks the column `label`, and one that has it.
    const WITHOUT: [(&str, &str); 3] = [
        ("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\", \"lable\": \"x\"}\n"),
        ("b.csv", "text,lable\na,x\n"),
        ("c.conll", "a O\n"),
    ];
    const WITH: (&str, &str) = ("d.jsonl", "{\"text\": \"a\", \"label\": \"x\"}\n");

    /// Reads the column `label` of some of these files.
    fn labels(train: &[&str], dev: Option<&str>) -> std::result::Result<DataSet, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in WITHOUT.iter().chain([&WITH]) {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let train = Paths::Many(train.iter().map(Into::into).collect());
        let dev = dev.map(|dev| Paths::One(dev.into()));
        let config = DataConfig { name: "a".into(), train, dev, ..DataConfig::default() };
        DataSet::read(&config, folder.path(), &["label".into()])
            .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn a_label_column_must_stand_in_one_training_file() {
        for ((name, _), known) in WITHOUT.iter().zip(["lable, text", "lable, text", "tags, tokens"]) {
            let message = labels(&[name], Some("d.jsonl")).unwrap_err();
            let expected = format!("{name}: no row has a column `label` (found: {known})");
            assert!(message.starts_with(&expected), "{message}");
            let set = labels(&[name, "d.jsonl"], None).unwrap();
            assert!(set.train[0].labels.is_empty() && set.train.last().unwrap().labels.contains_key("label"));
            let set = labels(&["d.jsonl"], Some(name)).unwrap();
            assert!(set.dev.iter().all(|row| row.labels.is_empty()), "{name}");
        }
        let message = labels(&["a.jsonl", "b.csv"], None).unwrap_err();
        let expected =
            "a.jsonl, b.csv: no row has a column `label` (found: lable, text); did you mean `lable`?";
        assert_eq!(message, expected);
    }

    #[test]
    fn contradictions_are_refused() {
        let message = |fraction, dev| read(Some(fraction), dev).unwrap_err().to_string();
        assert_eq!(
            message(0.1, Some(Paths::One("a.jsonl".into()))),
            "data set `a`: set either `dev` or `dev_fraction`, not both"
        );
        assert_eq!(message(1.5, None), "data set `a`: `dev_fraction` must lie between 0 and 1, found 1.5");
        assert_eq!(
            message(0.01, None),
            "data set `a`: `dev_fraction = 0.01` of 10 rows leaves 0 to measure on and 10 to train on; \
             each needs one at least"
        );
        let none = DataConfig { name: "a".into(), ..DataConfig::default() };
        let error = DataSet::read(&none, Path::new(""), &[]).unwrap_err();
        assert_eq!(error.to_string(), "data set `a`: `train` names no file");
    }
}
