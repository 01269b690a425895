use polytask_data::{Place, Row};
use polytask_task::conformance;
use polytask_tensor::{Offsets, RandomKey};

use super::*;

const VOCABULARY: usize = 50;
const MASK: u32 = 1;

/// A text of special pieces around `words` words with two pieces each; the first piece of the last word is unknown.
fn hidden(task: &MaskedLanguageModel, words: usize, random: RandomKey, first_block: u64) -> Vec<HiddenPiece> {
    let ids = ids(words);
    let words: Vec<Range<usize>> = (0..words).map(|word| 1 + 2 * word..3 + 2 * word).collect();
    let (vocabulary, mask, unknown) = (VOCABULARY, MASK, 0);
    task.hide(Pieces { ids: &ids, words: &words, vocabulary, mask, unknown, random, first_block })
}

fn ids(words: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..2 * words as u32 + 2).map(|place| 4 + place % 40).collect();
    if words > 0 {
        ids[2 * words - 1] = 0;
    }
    ids
}

fn key(stream: u64) -> RandomKey {
    RandomKey { seed: 7, stream }
}

fn places(hidden: &[HiddenPiece]) -> Vec<usize> {
    hidden.iter().map(|hidden| hidden.place).collect()
}

#[test]
fn it_conforms() {
    let texts = ["a late goal", "the vote was close", "rain again tomorrow", "a second goal was late"];
    let rows: Vec<Row> = texts
        .iter()
        .enumerate()
        .map(|(line, text)| Row::from_text(*text, Place::new("x.txt", line + 1)))
        .collect();
    conformance::check(r#"type = "masked_language_model""#, &rows, "");
    let keys = "type = \"masked_language_model\"\nprobability = 0.5\nwhole_words = false";
    conformance::check(keys, &rows, "");
}

/// Of 20,000 draws a share of 0.15 has a standard deviation of 0.0025, one of 0.8 of 3,000 of 0.007.
#[test]
fn the_shares_are_those_asked_for() {
    for whole_words in [true, false] {
        let task = MaskedLanguageModel { whole_words, ..Default::default() };
        let (words, mut stand_ins) = (10_000, Vec::new());
        let ids = ids(words);
        for HiddenPiece { place, stand_in } in hidden(&task, words, key(1), 0) {
            stand_ins.push((stand_in, ids[place]));
        }
        let share = |count: usize, of: usize| count as f64 / of as f64;
        let all = stand_ins.len();
        let masked = stand_ins.iter().filter(|(stand_in, _)| *stand_in == MASK).count();
        let kept = stand_ins.iter().filter(|(stand_in, piece)| stand_in == piece).count();
        assert!((share(all, 2 * words) - 0.15).abs() < 0.011, "{all}");
        assert!((share(masked, all) - 0.802).abs() < 0.03, "{masked} of {all}");
        assert!((share(kept, all) - 0.102).abs() < 0.03, "{kept} of {all}");
        assert!(stand_ins.iter().all(|(stand_in, _)| (*stand_in as usize) < VOCABULARY));
    }
}

#[test]
fn whole_words_are_hidden_whole() {
    let task = MaskedLanguageModel { probability: 0.3, whole_words: true };
    let found = places(&hidden(&task, 100, key(1), 0));
    // The last word begins with the unknown piece.
    let inner = found.iter().filter(|&&place| place < 199);
    assert!(inner.clone().all(|place| found.contains(&(((place - 1) ^ 1) + 1))), "{found:?}");
    assert!(inner.count() > 20);
}

#[test]
fn special_and_unknown_pieces_are_never_hidden_and_one_other_always_is() {
    for whole_words in [true, false] {
        let all = MaskedLanguageModel { probability: 1.0, whole_words };
        let expected: Vec<usize> = (1..7).filter(|&place| place != 5).collect();
        assert_eq!(places(&hidden(&all, 3, key(1), 0)), expected);
        let few = MaskedLanguageModel { probability: 0.0, whole_words };
        for stream in 0..20 {
            let found = hidden(&few, 3, key(stream), 0);
            let least = if whole_words { 1..=2 } else { 1..=1 };
            assert!(least.contains(&found.len()), "{found:?}");
        }
        assert_eq!(hidden(&all, 0, key(1), 0), []);
    }
}

#[test]
fn a_draw_is_a_function_of_its_key_and_place() {
    let task = MaskedLanguageModel::default();
    let draw = |stream, first| hidden(&task, 40, key(stream), first);
    assert_eq!(draw(1, 0), draw(1, 0));
    assert_ne!(draw(1, 0), draw(2, 0));
    assert_ne!(draw(1, 0), draw(1, 1000));
}

/// Two texts with two and one hidden pieces, by hand: p = 1/4 each, then e² / (e² + 3).
#[test]
fn accuracy_and_perplexity_are_over_pieces() {
    let task = MaskedLanguageModel::default();
    let logits = Tensor::new([vec![0.0; 8], vec![0.0, 2.0, 0.0, 0.0]].concat(), &[3, 4]).unwrap();
    let (texts, pieces) = (Offsets::from_lengths([2, 0, 1]), [0, 3, 1]);
    let output = TaskOutput { logits: &logits, texts: &texts, pieces: &pieces, parameters: &[] };
    let predictions = task.decode(output).unwrap();
    let predicted: Vec<&Target> = predictions.iter().map(|prediction| &prediction.target).collect();
    let report = task.report(&[], &predicted).unwrap();
    assert_eq!((report.value, report.examples), (2.0 / 3.0, 3));
    let last = 2f64.exp() / (2f64.exp() + 3.0);
    let perplexity = (16.0 / last).powf(1.0 / 3.0);
    assert!((report.summary[0].1 - perplexity).abs() < 1e-5, "{report:?} {perplexity}");
    let loss = f64::from(task.loss(output, &[]).unwrap().item().unwrap());
    assert!((loss.exp() - perplexity).abs() < 1e-5);
}

#[test]
fn nothing_hidden_is_no_figure() {
    let report = MaskedLanguageModel::default().report(&[], &[]).unwrap();
    assert!(report.value.is_nan());
}
