//! Training of a vocabulary.

use std::collections::{BTreeMap, BTreeSet};

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{Lowercase, NFKC, Sequence};
use tokenizers::{
    AddedToken, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, Tokenizer, Trainer,
};

use super::{TokenizerConfig, TokenizerModel};

const UNKNOWN: &str = "[UNK]";
const MASK: &str = "[MASK]";
/// Marks a piece that does not start its word.
const PREFIX: &str = "##";
/// Longer words teach nothing; WordPiece cuts no longer ones either.
const LONGEST_WORD: usize = 100;

pub(super) fn train<'a>(
    config: &TokenizerConfig,
    words: impl IntoIterator<Item = &'a str>,
) -> tokenizers::Result<Tokenizer> {
    let normalizer = normalizer(config.lowercase);
    let counts = count(words, &normalizer)?;
    let bpe = learn(config, &counts)?;
    let model = match config.model {
        TokenizerModel::Wordpiece => ModelWrapper::WordPiece(WordPiece::from_bpe(&bpe)),
        TokenizerModel::Bpe => ModelWrapper::BPE(bpe),
    };
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer))?;
    tokenizer.add_special_tokens([AddedToken::from(UNKNOWN, true), AddedToken::from(MASK, true)])?;
    Ok(tokenizer)
}

fn normalizer(lowercase: bool) -> NormalizerWrapper {
    let mut steps = vec![NFKC.into()];
    if lowercase {
        steps.push(Lowercase.into());
    }
    Sequence::new(steps).into()
}

fn count<'a>(
    words: impl IntoIterator<Item = &'a str>,
    normalizer: &NormalizerWrapper,
) -> tokenizers::Result<BTreeMap<String, usize>> {
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    for word in words {
        *written.entry(word).or_default() += 1;
    }
    let mut counts = BTreeMap::new();
    for (word, count) in written {
        if word.chars().nth(LONGEST_WORD).is_none() {
            let mut normalized = NormalizedString::from(word);
            normalizer.normalize(&mut normalized)?;
            *counts.entry(normalized.get().to_string()).or_default() += count;
        }
    }
    Ok(counts)
}

fn learn(config: &TokenizerConfig, counts: &BTreeMap<String, usize>) -> tokenizers::Result<BPE> {
    // The trainer meets the words in the order of a hash map and would number the characters that do not
    // start a word as it meets them, other in each run: they are given to it in order, as special tokens.
    let inner: BTreeSet<char> = counts.keys().flat_map(|word| word.chars().skip(1)).collect();
    let first = [UNKNOWN.to_string(), MASK.to_string()];
    let ordered = first.into_iter().chain(inner.into_iter().map(|c| format!("{PREFIX}{c}")));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(config.vocabulary_size)
        .min_frequency(config.min_frequency)
        .continuing_subword_prefix(PREFIX.into())
        .special_tokens(ordered.map(|token| AddedToken::from(token, true)).collect())
        .show_progress(false)
        .build();
    let repeat = |word: &str| Ok(vec![word.to_string(); counts.get(word).copied().unwrap_or_default()]);
    trainer.feed(counts.keys(), repeat)?;
    let mut bpe = BPE::default();
    trainer.train(&mut bpe)?;
    bpe.unk_token = Some(UNKNOWN.into());
    bpe.fuse_unk = true;
    Ok(bpe)
}
