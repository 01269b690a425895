//! How people really write: in lower case, with typing errors, without apostrophes, in short forms.

use super::message::{Message, Piece};
use super::phrases::SHORT_FORMS;
use super::source::Source;

/// Applies the habits of a random writer. Entities change their case only.
pub(crate) fn roughen(message: &mut Message, source: &mut Source) {
    if source.chance(0.07) {
        each_word(message, shortened);
    }
    if source.chance(0.08) {
        each_word(message, |word| word.replace('\'', ""));
    }
    if source.chance(0.2) {
        for _ in 0..=source.below(2) {
            mistype(message, source);
        }
    }
    match source.below(100) {
        0..20 => each_piece(message, str::to_lowercase),
        20..22 => each_piece(message, str::to_uppercase),
        _ => {}
    }
    if source.chance(0.2) {
        drop_final_stop(message);
    }
}

fn each_piece(message: &mut Message, change: fn(&str) -> String) {
    for piece in &mut message.pieces {
        piece.text = change(&piece.text);
    }
}

/// Changes each word (letters and apostrophes) outside the entities.
fn each_word(message: &mut Message, mut change: impl FnMut(&str) -> String) {
    for piece in message.pieces.iter_mut().filter(|piece| piece.label.is_none()) {
        let mut changed = String::new();
        for part in piece.text.split_inclusive(|c: char| !is_letter(c)) {
            let word = part.trim_end_matches(|c| !is_letter(c));
            changed.push_str(&change(word));
            changed.push_str(&part[word.len()..]);
        }
        piece.text = changed;
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || c == '\''
}

fn shortened(word: &str) -> String {
    SHORT_FORMS.iter().find(|(long, _)| *long == word).map_or(word, |(_, short)| short).to_owned()
}

/// One typing error in one word of five letters or more.
fn mistype(message: &mut Message, source: &mut Source) {
    let long = |word: &str| word.len() >= 5 && word.chars().all(|c| c.is_ascii_alphabetic());
    let mut count = 0;
    each_word(message, |word| {
        count += usize::from(long(word));
        word.to_owned()
    });
    if count == 0 {
        return;
    }
    let (target, mut index) = (source.below(count), 0);
    each_word(message, |word| {
        if !long(word) {
            return word.to_owned();
        }
        index += 1;
        if index == target + 1 { mistyped(word, source) } else { word.to_owned() }
    });
}

/// Two letters swapped, one lost or one doubled; the first and the last letter stay.
fn mistyped(word: &str, source: &mut Source) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let at = 1 + source.below(letters.len() - 3);
    match source.below(3) {
        0 => letters.swap(at, at + 1),
        1 => drop(letters.remove(at)),
        _ => letters.insert(at, letters[at]),
    }
    letters.into_iter().collect()
}

fn drop_final_stop(message: &mut Message) {
    if let Some(Piece { text, label: None }) = message.pieces.last_mut()
        && text.ends_with(['.', '!'])
    {
        text.pop();
    }
}
