//! The tokenizer of a pretrained model's folder.

use std::path::Path;

use serde::Deserialize;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Model};

use super::{Tokenizer, fault};
use crate::{Error, Result};

/// What a vocabulary of BERT must hold, in the order of its usual ids.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// What `tokenizer_config.json` says beside a `vocab.txt`; the defaults are those of transformers' `BertTokenizer`.
#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    do_lower_case: bool,
    tokenize_chinese_chars: bool,
    strip_accents: Option<bool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { do_lower_case: true, tokenize_chinese_chars: true, strip_accents: None }
    }
}

impl Tokenizer {
    /// The tokenizer of a Hugging Face folder, for whole texts of at most `max_tokens`: its `tokenizer.json`, or else a
    /// word-piece tokenizer of its `vocab.txt` as BERT has it.
    ///
    /// # Errors
    /// There is neither file, or it is broken.
    pub fn from_pretrained(folder: &Path, max_tokens: usize) -> Result<Tokenizer> {
        let (json, vocabulary) = (folder.join("tokenizer.json"), folder.join("vocab.txt"));
        if json.exists() || !vocabulary.exists() {
            return Ok(Self::from_file(&json, max_tokens)?.for_whole_texts());
        }
        let settings = folder.join("tokenizer_config.json");
        let settings = match settings.exists() {
            true => serde_json::from_str(&crate::read::load(&settings)?)
                .map_err(|error| fault(&settings.display().to_string(), error))?,
            false => Settings::default(),
        };
        let origin = vocabulary.display().to_string();
        let inner = word_piece(&vocabulary, &settings, &origin)?;
        Ok(Self::finish(inner, &origin, Some(max_tokens))?.for_whole_texts())
    }
}

/// A piece a line, whose number is its id.
fn word_piece(vocabulary: &Path, settings: &Settings, origin: &str) -> Result<tokenizers::Tokenizer> {
    // The library's own reader says nothing of what is wrong with a file.
    crate::read::load(vocabulary)?;
    let [_, unknown, start, end, _] = SPECIAL;
    let failed = |error: tokenizers::Error| -> Error { fault(origin, error) };
    let model =
        WordPiece::builder().files(origin.into()).unk_token(unknown.into()).build().map_err(failed)?;
    let id = |piece: &str| -> Result<(String, u32)> {
        let missing = || fault(origin, format!("no piece `{piece}`: a vocabulary of BERT has one a line"));
        Ok((piece.into(), model.token_to_id(piece).ok_or_else(missing)?))
    };
    let (_, start, end) = (id(unknown)?, id(start)?, id(end)?);
    let known = SPECIAL.into_iter().filter(|piece| model.token_to_id(piece).is_some());
    let known: Vec<AddedToken> = known.map(|piece| AddedToken::from(piece, true)).collect();
    let Settings { do_lower_case, tokenize_chinese_chars, strip_accents } = *settings;
    let mut inner = tokenizers::Tokenizer::new(model);
    let normalizer = BertNormalizer::new(true, tokenize_chinese_chars, strip_accents, do_lower_case);
    inner.with_normalizer(Some(normalizer)).map_err(failed)?;
    inner.with_pre_tokenizer(Some(BertPreTokenizer));
    inner.with_post_processor(Some(BertProcessing::new(end, start)));
    inner.add_special_tokens(known).map_err(failed)?;
    Ok(inner)
}
