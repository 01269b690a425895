//! Word-shape features: what a word looks like, apart from its pieces.
//!
//! Four hashes of each word, to look up in hashed embedding tables: its lower-cased form, prefix, suffix
//! and shape, as in the MultiHashEmbed layer of spaCy (Miranda, Kádár, Boyd, Van Landeghem, Søgaard,
//! Honnibal 2022, "Multi hash embeddings in spaCy", arXiv:2212.09255). They help with rare names, which
//! pieces tear apart. Differences from spaCy: prefix and suffix are lower-cased, and the prefix has
//! three characters instead of one.

/// Number of features of a word.
pub const SHAPE_FEATURES: usize = 4;

/// Longest run of one class of characters that the shape shows.
const LONGEST_RUN: usize = 4;

/// The features of a word: lower-cased form, first three characters, last three characters (both
/// lower-cased), shape. The shape of `Berlin-2024` is `Xxxxx-dddd`: upper case `X`, other letters `x`,
/// digits `d`, anything else itself, runs cut at four.
///
/// Each is a 32-bit hash that is the same on every platform and in every version.
pub fn word_shapes(word: &str) -> [u32; SHAPE_FEATURES] {
    let lower = word.to_lowercase();
    let suffix = lower.char_indices().rev().nth(2).map_or(0, |(start, _)| start);
    [
        hash(0, lower.chars()),
        hash(1, lower.chars().take(3)),
        hash(2, lower.get(suffix..).unwrap_or_default().chars()),
        hash(3, shape(word)),
    ]
}

fn shape(word: &str) -> impl Iterator<Item = char> {
    let (mut last, mut run) = ('\0', 0);
    word.chars().map(class).filter(move |&class| {
        run = if class == last { run + 1 } else { 1 };
        last = class;
        run <= LONGEST_RUN
    })
}

fn class(character: char) -> char {
    match character {
        c if c.is_uppercase() => 'X',
        c if c.is_alphabetic() => 'x',
        c if c.is_numeric() => 'd',
        c => c,
    }
}

/// FNV-1a with 32 bits over the feature's number and the characters in UTF-8 (Fowler, Noll, Vo 1991).
fn hash(feature: u8, characters: impl Iterator<Item = char>) -> u32 {
    let add = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    characters.fold(add(0x811c_9dc5, feature), |hash, character| {
        character.encode_utf8(&mut [0; 4]).bytes().fold(hash, add)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(word: &str) -> String {
        shape(word).collect()
    }

    #[test]
    fn shapes_are_those_of_spacy() {
        // The cases of spaCy's own test of its word shapes (spacy/tests/lang/test_attrs.py).
        for (word, shape) in [
            ("Nasa", "Xxxx"),
            ("capitalized", "xxxx"),
            ("999999999", "dddd"),
            ("C3P0", "XdXd"),
            (",", ","),
            ("\n", "\n"),
            ("``,-", "``,-"),
        ] {
            assert_eq!(shape_of(word), shape);
        }
        assert_eq!(shape_of("Berlin-2024"), "Xxxxx-dddd");
    }

    #[test]
    fn hashes_are_fnv_1a() {
        // 0xbf9cf968 is the published value of "foobar"; here the salt stands for its first byte.
        let plain = |text: &str| {
            text.bytes()
                .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        };
        assert_eq!(plain("foobar"), 0xbf9c_f968);
        assert_eq!(hash(b'f', "oobar".chars()), 0xbf9c_f968);
        assert_eq!(hash(b'n', "aïve".chars()), plain("naïve"));
    }

    #[test]
    fn features_differ_in_what_they_look_at() {
        let [lower, prefix, suffix, shape] = word_shapes("Singing");
        assert_eq!(word_shapes("SINGING")[..3], [lower, prefix, suffix]);
        assert_ne!(word_shapes("SINGING")[3], shape);
        assert_eq!(word_shapes("sinus")[1], prefix);
        assert_eq!(word_shapes("ring")[2], suffix);
        assert_eq!(word_shapes("Talking")[3], shape);
        assert_ne!(prefix, hash(2, "sin".chars()), "features have different salts");
        assert_eq!(word_shapes("é")[2], hash(2, "é".chars()), "a short word is its own suffix");
    }
}
