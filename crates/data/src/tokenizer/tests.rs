use std::fs;

use proptest::prelude::*;

use super::*;
use crate::{Place, Row, split_words};

const TEXT: &str = "The lower the newest, the wider the slowest. Low, lower, lowest; new, newer, newest.";

fn train(config: &TokenizerConfig, text: &str) -> Tokenizer {
    Tokenizer::train(config, split_words(text).into_iter().map(|word| &text[word])).unwrap()
}

fn config(model: TokenizerModel) -> TokenizerConfig {
    TokenizerConfig { model, ..TokenizerConfig::default() }
}

fn encode_word(tokenizer: &Tokenizer, word: &str) -> Vec<u32> {
    tokenizer.encode(word, std::slice::from_ref(&(0..word.len()))).unwrap().ids
}

fn pieces(tokenizer: &Tokenizer, word: &str) -> Vec<String> {
    encode_word(tokenizer, word).iter().map(|&id| tokenizer.inner.id_to_token(id).unwrap()).collect()
}

#[test]
fn frequent_words_are_one_piece_and_rare_ones_several() {
    for model in [TokenizerModel::Wordpiece, TokenizerModel::Bpe] {
        let tokenizer = train(&config(model), TEXT);
        assert_eq!(pieces(&tokenizer, "THE"), ["the"], "{model:?}");
        assert_eq!(pieces(&tokenizer, "lower"), ["lower"], "{model:?}");
        assert!(pieces(&tokenizer, "lowewst").len() > 1, "{model:?}");
    }
}

#[test]
fn unknown_characters() {
    let [wordpiece, bpe] =
        [TokenizerModel::Wordpiece, TokenizerModel::Bpe].map(|model| train(&config(model), TEXT));
    assert_eq!(pieces(&wordpiece, "lower→→"), ["[UNK]"]);
    assert_eq!(pieces(&bpe, "lower→→"), ["lower", "[UNK]"]);
    for tokenizer in [&wordpiece, &bpe] {
        assert_eq!(tokenizer.unknown_id(), 0);
        assert_eq!(tokenizer.inner.token_to_id("[MASK]"), Some(1));
        assert_eq!(pieces(tokenizer, "日本"), ["[UNK]"]);
        let long = "low".repeat(1 << 20);
        assert!(!pieces(tokenizer, &long).is_empty());
    }
}

#[test]
fn case_is_kept_on_demand() {
    let kept = TokenizerConfig { lowercase: false, ..TokenizerConfig::default() };
    assert_eq!(pieces(&train(&kept, "The The the the"), "The"), ["The"]);
    assert_eq!(pieces(&train(&kept, "the the"), "THE"), ["[UNK]"]);
}

#[test]
fn no_words_make_a_vocabulary_of_two() {
    let tokenizer = train(&TokenizerConfig::default(), "");
    assert_eq!(tokenizer.vocabulary_size(), 2);
    assert_eq!(tokenizer.encode("a b", &[0..1, 2..3]).unwrap().ids, [0, 0]);
    assert_eq!(tokenizer.encode("", &[]).unwrap().piece_offsets, [0]);
}

#[test]
fn long_texts_are_cut_between_words() {
    let cut = TokenizerConfig { max_tokens: 5, vocabulary_size: 0, ..TokenizerConfig::default() };
    let tokenizer = train(&cut, "abc cab");
    let encode = |text: &str| tokenizer.encode(text, &split_words(text)).unwrap();
    let encoded = encode("abc a abc a");
    assert_eq!((encoded.piece_offsets, encoded.truncated_words), (vec![0, 3, 4], 2));
    let encoded = encode("abcabc a");
    assert_eq!(
        (encoded.piece_offsets, encoded.truncated_words),
        (vec![0, 5], 1),
        "a first word loses its end"
    );
}

#[test]
fn words_met_before_change_nothing() {
    let trained = train(&TokenizerConfig { max_tokens: 9, ..TokenizerConfig::default() }, TEXT);
    let json = trained.to_json().unwrap();
    let texts = [TEXT, "the lowest", "", "Newest → lowewst?", "THE THE the the the the the the the the the"];
    let row = |text: &&str| Row::from_text(*text, Place::new("a", 1));
    let rows: Vec<Row> = texts.iter().cycle().take(200).map(row).collect();
    let fresh = |row: &Row| Tokenizer::from_json(&json).unwrap().encode(&row.text, &row.words).unwrap();
    let alone: Vec<Encoded> = rows[..5].iter().map(fresh).collect();
    assert!(alone[0].truncated_words > 0 && alone[4].truncated_words == 2);
    let expected: Vec<Encoded> = alone.iter().cycle().take(200).cloned().collect();
    for threads in [1, 2, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let tokenizer = Tokenizer::from_json(&json).unwrap();
        for _ in 0..2 {
            assert_eq!(pool.install(|| tokenizer.encode_rows(&rows).unwrap()), expected);
        }
    }
}

#[test]
fn json_keeps_everything() {
    for model in [TokenizerModel::Wordpiece, TokenizerModel::Bpe] {
        let tokenizer = train(&TokenizerConfig { max_tokens: 7, ..config(model) }, TEXT);
        let json = tokenizer.to_json().unwrap();
        let again = Tokenizer::from_json(&json).unwrap();
        assert_eq!(again.to_json().unwrap(), json);
        assert_eq!(again.max_tokens(), 7);
        let encode = |tokenizer: &Tokenizer| tokenizer.encode(TEXT, &split_words(TEXT)).unwrap();
        assert_eq!(encode(&again), encode(&tokenizer));
    }
}

/// Words over few letters: many pairs of pieces are equally frequent.
fn many_ties() -> String {
    let mut state = 1_u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ["a", "b", "c", "d", " "][(state >> 16) as usize % 5]
    };
    (0..20_000).map(|_| letter()).collect()
}

#[test]
fn training_gives_the_same_bytes_at_any_number_of_threads() {
    let text = many_ties();
    for model in [TokenizerModel::Wordpiece, TokenizerModel::Bpe] {
        let config = TokenizerConfig { vocabulary_size: 600, ..config(model) };
        let once = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(&config, &text).to_json().unwrap())
        };
        let first = once(1);
        assert!(first.contains("\"[UNK]\": 0,"));
        for threads in [1, 1, 2, 2, 4, 8] {
            assert!(once(threads) == first, "{model:?} with {threads} threads");
        }
    }
}

#[test]
fn a_table_reads_a_file_or_trains() {
    let folder = tempfile::tempdir().unwrap();
    let trained = train(&TokenizerConfig::default(), TEXT);
    fs::write(folder.path().join("tokenizer.json"), trained.to_json().unwrap()).unwrap();
    let table: TokenizerConfig = toml::from_str("path = 'tokenizer.json'\nmax_tokens = 9").unwrap();
    let read = Tokenizer::new(&table, folder.path(), []).unwrap();
    assert_eq!((read.vocabulary_size(), read.max_tokens()), (trained.vocabulary_size(), 9));
    let new = Tokenizer::new(&TokenizerConfig::default(), folder.path(), ["a"]).unwrap();
    assert_eq!(new.vocabulary_size(), 3);
}

#[test]
fn ways_to_break_a_tokenizer() {
    let message = |json: &str| Tokenizer::from_json(json).unwrap_err().to_string();
    assert_eq!(
        message("{"),
        "tokenizer.json: not a `tokenizer.json` as the tokenizers library writes it (EOF while parsing an object at line 1 column 1)"
    );
    let json = train(&TokenizerConfig::default(), "a").to_json().unwrap();
    let nameless = json.replace("[UNK]", "[HM]").replace(r#""unk_token": "[HM]""#, r#""unk_token": "x""#);
    assert_eq!(
        message(&nameless),
        "tokenizer.json: no unknown token: the vocabulary needs `[UNK]` or `<unk>`"
    );
    let none = TokenizerConfig { max_tokens: 0, ..TokenizerConfig::default() };
    let error = Tokenizer::train(&none, ["a"]).unwrap_err().to_string();
    assert_eq!(error, "tokenizer: `max_tokens` must be greater than 0, found 0");
    let error = Tokenizer::from_file(Path::new("nowhere/tokenizer.json"), 8).unwrap_err();
    assert!(matches!(error, Error::MissingFile { .. }), "{error}");
}

proptest! {
    #[test]
    fn every_word_has_a_piece_and_pieces_do_not_depend_on_neighbours(text in "[a-zA-Zéß→日 \u{301}\u{200b}.,]{0,60}") {
        let words = split_words(&text);
        for model in [TokenizerModel::Wordpiece, TokenizerModel::Bpe] {
            let tokenizer = train(&config(model), TEXT);
            let encoded = tokenizer.encode(&text, &words).unwrap();
            prop_assert_eq!(encoded.piece_offsets.len(), words.len() + 1);
            prop_assert_eq!(encoded.words(), words.len());
            prop_assert_eq!(encoded.piece_offsets.last().copied(), Some(encoded.pieces() as u32));
            for (word, range) in words.iter().zip(encoded.piece_offsets.windows(2)) {
                let alone = encode_word(&tokenizer, &text[word.clone()]);
                prop_assert!(!alone.is_empty());
                prop_assert_eq!(&encoded.ids[range[0] as usize..range[1] as usize], &alone[..]);
            }
        }
    }
}
