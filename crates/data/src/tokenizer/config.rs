//! The `[tokenizer]` table.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How words become pieces of a vocabulary.
///
/// Without `path`, a vocabulary is trained on the words of the training data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerConfig {
    /// A `tokenizer.json` to use instead of training; the keys below, except `max_tokens`, then do nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// How a word is cut by the trained vocabulary.
    pub model: TokenizerModel,
    /// Number of pieces in the vocabulary; more only if the texts have more different characters.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub vocabulary_size: usize,
    /// Whether words are lower-cased first. Case stays visible in the word-shape features.
    pub lowercase: bool,
    /// Two pieces that occur side by side less often are not joined to one.
    pub min_frequency: u64,
    /// The most tokens of a text. A longer one is cut off between two words.
    #[schemars(range(min = 1, max = 65_536))]
    pub max_tokens: usize,
}

impl Default for TokenizerConfig {
    fn default() -> TokenizerConfig {
        TokenizerConfig {
            path: None,
            model: TokenizerModel::default(),
            vocabulary_size: 8000,
            lowercase: true,
            min_frequency: 2,
            max_tokens: 512,
        }
    }
}

/// How a word is cut into pieces. Both vocabularies are trained by byte pair encoding over characters
/// (Sennrich, Haddow, Birch 2016, arXiv:1508.07909).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerModel {
    /// The longest piece first, from the left (Schuster, Nakajima 2012). A word with a character that the
    /// vocabulary lacks is unknown as a whole.
    #[default]
    Wordpiece,
    /// Pieces are joined in the order in which training joined them. Only the characters that the
    /// vocabulary lacks are unknown.
    Bpe,
}
