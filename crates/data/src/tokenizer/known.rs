//! Words met before. Words repeat: almost all of a text's need not be cut into pieces anew.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::SHAPE_FEATURES;

/// The most words that are kept; the frequent ones come early.
const WORDS: usize = 1 << 17;

/// Longer words hardly come again.
const LONGEST: usize = 64;

/// The pieces of a word and its shape features.
#[derive(Clone)]
pub(super) struct Word {
    pub(super) pieces: Vec<u32>,
    pub(super) shapes: [u32; SHAPE_FEATURES],
}

/// Words with what they come to: a function of the word alone, so that it makes no difference which are kept.
#[derive(Default)]
pub(super) struct KnownWords(RwLock<HashMap<Box<str>, Word>>);

impl KnownWords {
    /// All that are kept, to be looked up.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, HashMap<Box<str>, Word>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a word while there is room.
    pub(super) fn keep(&self, text: &str, word: Word) {
        if text.len() > LONGEST || self.read().len() >= WORDS {
            return;
        }
        let mut words = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if words.len() < WORDS {
            words.insert(text.into(), word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_and_so_long_words_are_kept() {
        let known = KnownWords::default();
        let word = Word { pieces: vec![1], shapes: [0; SHAPE_FEATURES] };
        known.keep(&"a".repeat(LONGEST + 1), word.clone());
        assert!(known.read().is_empty());
        (0..WORDS + 1).for_each(|number| known.keep(&number.to_string(), word.clone()));
        assert_eq!(known.read().len(), WORDS);
    }
}
