//! Against transformers: `tests/golden/pretrained.py` wrote what its tokenizers make of some texts.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::*;
use crate::split_words;

const FAMILIES: [&str; 5] = ["bert", "distilbert", "roberta", "electra", "modernbert"];

/// What transformers makes of a text; special pieces stand for no bytes.
#[derive(Deserialize)]
struct Golden {
    text: String,
    ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    special: Vec<usize>,
}

fn folder(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/pretrained").join(family)
}

fn check(tokenizer: &Tokenizer, tokens: &Path) -> usize {
    let goldens: Vec<Golden> = serde_json::from_str(&std::fs::read_to_string(tokens).unwrap()).unwrap();
    for Golden { text, ids, offsets, special } in &goldens {
        let pieces = tokenizer.pieces(text).unwrap();
        assert_eq!(&pieces.iter().map(|piece| piece.id).collect::<Vec<_>>(), ids, "{text:?}");
        let found: Vec<_> = pieces.iter().map(|piece| (piece.bytes.start, piece.bytes.end)).collect();
        assert_eq!(&found, offsets, "{text:?}");
        let found: Vec<usize> = (0..pieces.len()).filter(|&place| pieces[place].is_special).collect();
        assert_eq!(&found, special, "{text:?}");
        // The words take all of it.
        let encoded = tokenizer.encode(text, &split_words(text)).unwrap();
        assert_eq!(&encoded.ids, ids, "{text:?}");
    }
    goldens.len()
}

#[test]
fn pieces_and_their_places_are_those_of_transformers() {
    for family in FAMILIES {
        let tokenizer = Tokenizer::from_pretrained(&folder(family), 512).unwrap();
        assert!(check(&tokenizer, &folder(family).join("tokens.json")) > 20);
    }
}

/// `python3 tests/golden/pretrained_real.py MODEL OUT TEXTS` writes OUT/tokens.json for a real model and real texts.
#[test]
fn pieces_of_real_texts_are_those_of_transformers() {
    let (Ok(model), Ok(golden)) =
        (std::env::var("POLYTASK_PRETRAINED"), std::env::var("POLYTASK_PRETRAINED_GOLDEN"))
    else {
        eprintln!(
            "skipped: POLYTASK_PRETRAINED and POLYTASK_PRETRAINED_GOLDEN name no real model and its golden values"
        );
        return;
    };
    let tokenizer = Tokenizer::from_pretrained(Path::new(&model), 512).unwrap();
    let texts = check(&tokenizer, &Path::new(&golden).join("tokens.json"));
    eprintln!("{texts} texts");
}

#[test]
fn a_tokenizer_that_was_written_is_the_same_one() {
    let tokenizer = Tokenizer::from_pretrained(&folder("bert"), 100).unwrap();
    let text = "a cat, naïve?";
    let again = Tokenizer::from_json(&tokenizer.to_json().unwrap()).unwrap();
    assert_eq!(again.max_tokens(), 100);
    assert_eq!(again.for_whole_texts().pieces(text).unwrap(), tokenizer.pieces(text).unwrap());
}

#[test]
fn a_text_is_cut_between_words_and_keeps_its_special_pieces() {
    let cut = |text: &str, max_tokens| {
        let tokenizer = Tokenizer::from_pretrained(&folder("bert"), max_tokens).unwrap();
        let whole = tokenizer.pieces(text).unwrap();
        let encoded = tokenizer.encode(text, &split_words(text)).unwrap();
        assert!(encoded.pieces() <= max_tokens);
        assert_eq!(encoded.ids.first().copied(), whole.first().map(|piece| piece.id));
        assert_eq!(encoded.ids.last().copied(), whole.last().map(|piece| piece.id));
        (encoded.piece_offsets, encoded.truncated_words)
    };
    // One letter, one piece, of which none makes a word of the vocabulary.
    assert_eq!(cut("zx q", 5), (vec![1, 3, 4], 0));
    assert_eq!(cut("zx qj", 6), (vec![1, 3, 5], 0));
    assert_eq!(cut("zx qj", 5), (vec![1, 3], 1));
    assert_eq!(cut("zxqj zx", 4), (vec![1, 3], 1));
    assert_eq!(cut("", 4), (vec![1], 0));
}

#[test]
fn a_folder_without_a_tokenizer_and_one_with_half_a_vocabulary_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = || Tokenizer::from_pretrained(folder.path(), 10).unwrap_err().to_string();
    assert!(error().contains("tokenizer.json: no such file"), "{}", error());
    std::fs::write(folder.path().join("vocab.txt"), "[UNK]\n[CLS]\na\n").unwrap();
    assert!(
        error().ends_with("vocab.txt: no piece `[SEP]`: a vocabulary of BERT has one a line"),
        "{}",
        error()
    );
    std::fs::write(folder.path().join("tokenizer.json"), "{").unwrap();
    assert!(error().contains("tokenizer.json: not a `tokenizer.json`"), "{}", error());
}
