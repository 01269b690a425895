//! Words to pieces.

mod config;
mod encode;
mod known;
mod pretrained;
mod train;
mod whole;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokenizers::models::ModelWrapper;
use tokenizers::{PostProcessor, TruncationParams};

pub use config::{TokenizerConfig, TokenizerModel};
pub use encode::Encoded;
pub use whole::Piece;

use crate::{Error, Result};
use known::KnownWords;

/// Cuts words into pieces of a vocabulary: each word alone, so that every piece belongs to one word, or, as pretrained
/// encoders expect it, [a whole text](Tokenizer::for_whole_texts) with its special pieces.
///
/// It is kept as a `tokenizer.json` of the `tokenizers` library; `truncation.max_length` there is
/// the most tokens of a text.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary_size: usize,
    unknown_id: u32,
    max_tokens: usize,
    whole_texts: bool,
    known: Arc<KnownWords>,
}

impl Tokenizer {
    /// The tokenizer that a `[tokenizer]` table asks for: read from its `path` (relative paths start at
    /// `base`, the folder of the configuration file), else trained on these words.
    ///
    /// # Errors
    /// Those of [`Tokenizer::from_file`] and [`Tokenizer::train`].
    pub fn new<'a>(
        config: &TokenizerConfig,
        base: &Path,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Tokenizer> {
        match &config.path {
            Some(path) => Tokenizer::from_file(&base.join(path), config.max_tokens),
            None => Tokenizer::train(config, words),
        }
    }

    /// Trains a vocabulary on words, each as often as it occurs. Order does not matter, and neither does
    /// the number of threads. Token 0 is `[UNK]`, token 1 `[MASK]`.
    ///
    /// # Errors
    /// `max_tokens` is 0.
    pub fn train<'a>(
        config: &TokenizerConfig,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Tokenizer> {
        let failed = |error: tokenizers::Error| fault("tokenizer", error);
        let inner = train::train(config, words).map_err(failed)?;
        Tokenizer::finish(inner, "tokenizer", Some(config.max_tokens))
    }

    /// Reads a `tokenizer.json`, such as a pretrained model has.
    ///
    /// # Errors
    /// The file is missing or broken, has no unknown token, or adds as many special tokens as
    /// `max_tokens` to a text.
    pub fn from_file(path: &Path, max_tokens: usize) -> Result<Tokenizer> {
        let json = crate::read::load(path)?;
        Tokenizer::parse(&json, &path.display().to_string(), Some(max_tokens))
    }

    /// The tokenizer that [`Tokenizer::to_json`] wrote.
    ///
    /// # Errors
    /// The text is no `tokenizer.json`, or has no unknown token.
    pub fn from_json(json: &str) -> Result<Tokenizer> {
        Tokenizer::parse(json, "tokenizer.json", None)
    }

    /// The tokenizer as the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// The tokenizer cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        let failed = |error: tokenizers::Error| fault("tokenizer.json", error);
        let mut inner = self.inner.clone();
        let truncation = TruncationParams { max_length: self.max_tokens, ..TruncationParams::default() };
        inner.with_truncation(Some(truncation)).map_err(failed)?;
        inner.to_string(true).map_err(failed)
    }

    /// Number of token ids: one more than the greatest.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// The token of what the vocabulary cannot spell.
    pub fn unknown_id(&self) -> u32 {
        self.unknown_id
    }

    /// The token that stands for a hidden one, where the vocabulary has it: `[MASK]` or `<mask>`.
    pub fn mask_id(&self) -> Option<u32> {
        ["[MASK]", "<mask>"].into_iter().find_map(|token| self.inner.token_to_id(token))
    }

    /// The most tokens of a text; what follows is cut off.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The same tokenizer, for texts of at most `max_tokens`.
    ///
    /// # Errors
    /// The special tokens alone are as many.
    pub fn with_max_tokens(self, max_tokens: usize) -> Result<Tokenizer> {
        let whole_texts = self.whole_texts;
        let tokenizer = Tokenizer::finish(self.inner, "tokenizer", Some(max_tokens))?;
        Ok(Tokenizer { whole_texts, ..tokenizer })
    }

    fn parse(json: &str, origin: &str, max_tokens: Option<usize>) -> Result<Tokenizer> {
        let inner = json.parse().map_err(|error: tokenizers::Error| {
            fault(origin, format!("not a `tokenizer.json` as the tokenizers library writes it ({error})"))
        })?;
        Tokenizer::finish(inner, origin, max_tokens)
    }

    /// `max_tokens` without a value is the one in the JSON, or its default.
    fn finish(
        mut inner: tokenizers::Tokenizer,
        origin: &str,
        max_tokens: Option<usize>,
    ) -> Result<Tokenizer> {
        let kept = inner.get_truncation().map(|truncation| truncation.max_length);
        let max_length = max_tokens.or(kept).unwrap_or(TokenizerConfig::default().max_tokens);
        let added = inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if max_length <= added {
            return Err(fault(
                origin,
                format!("`max_tokens` must be greater than {added}, found {max_length}"),
            ));
        }
        // Texts are cut between words, which the library does not know.
        inner.with_truncation(None).map_err(|error| fault(origin, error))?;
        inner.with_padding(None);
        let unknown_id = unknown_id(&inner)
            .ok_or_else(|| fault(origin, "no unknown token: the vocabulary needs `[UNK]` or `<unk>`"))?;
        let vocabulary_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        let (whole_texts, known) = Default::default();
        Ok(Tokenizer { inner, vocabulary_size, unknown_id, max_tokens: max_length, whole_texts, known })
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary_size", &self.vocabulary_size)
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

fn unknown_id(tokenizer: &tokenizers::Tokenizer) -> Option<u32> {
    let named = match tokenizer.get_model() {
        ModelWrapper::WordPiece(model) => Some(model.unk_token.as_str()),
        ModelWrapper::WordLevel(model) => Some(model.unk_token.as_str()),
        ModelWrapper::BPE(model) => model.unk_token.as_deref(),
        ModelWrapper::Unigram(_) => None,
    };
    named.into_iter().chain(["[UNK]", "<unk>"]).find_map(|token| tokenizer.token_to_id(token))
}

fn fault(origin: &str, message: impl ToString) -> Error {
    Error::Tokenizer { origin: origin.into(), message: message.to_string() }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod pretrained_tests;
