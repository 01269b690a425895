//! Public data sets, read where they lie; each test says so and passes where they do not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail like the tests themselves")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::Path;

use polytask_data::{
    BatchLimits, DataConfig, DataSet, Label, Paths, Row, Tokenizer, TokenizerConfig, batches,
};

/// The data set in a folder, or nothing where the folder is not.
fn read(folder: &str, dev: Option<&str>, toml: &str, columns: &[&str]) -> Option<DataSet> {
    let base = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(folder);
    if !base.exists() {
        eprintln!("skipped: {} does not exist", base.display());
        return None;
    }
    let mut config: DataConfig = toml::from_str(&format!("name = '{folder}'\n{toml}")).unwrap();
    config.dev = dev.map(|dev| Paths::One(dev.into()));
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    Some(DataSet::read(&config, &base, &columns).unwrap())
}

fn sizes(set: &DataSet) -> (usize, usize) {
    (set.train.len(), set.dev.len())
}

/// How many different labels a column of single names has; every row has one.
fn classes(rows: &[Row], column: &str) -> usize {
    let names = rows.iter().map(|row| match &row.labels[column] {
        Label::Text(name) => name,
        other => panic!("{}: {other:?}", row.place),
    });
    names.collect::<std::collections::BTreeSet<_>>().len()
}

/// Fails unless every row has one tag for each word; how many tags begin a span.
fn spans(rows: &[Row], column: &str) -> usize {
    let begin = rows.iter().map(|row| match &row.labels[column] {
        Label::List(tags) if tags.len() == row.words.len() => {
            tags.iter().filter(|tag| tag.starts_with("B-")).count()
        }
        other => panic!("{}: {} words, {other:?}", row.place, row.words.len()),
    });
    begin.sum()
}

#[test]
fn snips() {
    let toml = "train = 'train.jsonl'\ntokens = 'tokens'";
    let Some(set) = read("snips", Some("dev.jsonl"), toml, &["intent", "slots"]) else { return };
    assert_eq!(sizes(&set), (13_084, 700));
    assert_eq!(classes(&set.train, "intent"), 7);
    assert!(spans(&set.train, "slots") > 13_084);
}

#[test]
fn sst2() {
    let toml = "train = 'train.tsv'\ntext = 'sentence'";
    let Some(set) = read("sst2", Some("dev.tsv"), toml, &["label"]) else { return };
    assert_eq!(sizes(&set), (6_920, 872));
    assert_eq!(classes(&set.train, "label"), 2);
}

#[test]
fn trec() {
    let toml = "train = 'train.csv'\ntext = 'question'\ndev_fraction = 0.1";
    let Some(set) = read("trec", None, toml, &["coarse", "fine"]) else { return };
    assert_eq!(sizes(&set), (5_452 - 545, 545));
    assert_eq!(classes(&set.train, "coarse"), 6);
    assert_eq!(set.train[0].text, "How did serfdom develop in and then leave Russia ?");
}

#[test]
fn wnut17() {
    let Some(set) = read("wnut17", Some("dev.conll"), "train = 'train.conll'", &["tags"]) else { return };
    assert_eq!(sizes(&set), (3_394, 1_009));
    // Derczynski et al. 2017, table 2: entities in training and development.
    assert_eq!((spans(&set.train, "tags"), spans(&set.dev, "tags")), (1_975, 836));
}

#[test]
fn a_trained_vocabulary_covers_new_texts() {
    let toml = "train = 'train.jsonl'\ntokens = 'tokens'";
    let Some(set) = read("snips", Some("dev.jsonl"), toml, &[]) else { return };
    let words = || set.train.iter().flat_map(Row::word_texts);
    let tokenizer = Tokenizer::train(&TokenizerConfig::default(), words()).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 8000);
    let encoded = tokenizer.encode_rows(&set.dev).unwrap();
    let words: usize = encoded.iter().map(|text| text.words()).sum();
    let pieces: usize = encoded.iter().map(|text| text.pieces()).sum();
    let unknown =
        encoded.iter().flat_map(|text| &text.ids).filter(|&&id| id == tokenizer.unknown_id()).count();
    assert!(unknown * 1000 < words, "{unknown} unknown of {words} words");
    assert!(pieces * 10 < words * 12, "{pieces} pieces of {words} words");
}

#[test]
fn batches_of_like_length_need_little_padding() {
    let Some(set) = read("sst2", None, "train = 'train.tsv'\ntext = 'sentence'", &[]) else { return };
    let words = || set.train.iter().flat_map(Row::word_texts);
    let tokenizer = Tokenizer::train(&TokenizerConfig::default(), words()).unwrap();
    let encoded = tokenizer.encode_rows(&set.train).unwrap();
    let lengths: Vec<usize> = encoded.iter().map(|text| text.pieces()).collect();
    let limits = BatchLimits { texts: 32, tokens: 4096 };
    // 1 − pieces / Σ over batches of texts × the longest text.
    let padding = |batches: &[Vec<usize>]| -> f64 {
        let longest = |batch: &Vec<usize>| batch.iter().map(|&text| lengths[text]).max().unwrap_or(0);
        let padded: usize = batches.iter().map(|batch| batch.len() * longest(batch)).sum();
        1.0 - lengths.iter().sum::<usize>() as f64 / padded as f64
    };
    let in_order: Vec<Vec<usize>> =
        (0..lengths.len()).collect::<Vec<_>>().chunks(32).map(<[_]>::to_vec).collect();
    let (sorted, unsorted) = (padding(&batches(&lengths, limits, 0, 0)), padding(&in_order));
    assert!(sorted < 0.1 && unsorted > 0.3, "padding {sorted:.3} sorted, {unsorted:.3} in file order");
}
