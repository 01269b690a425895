//! The nearest valid name to a misspelt one.

/// The name in `known` that `name` was probably meant to be, if any is close enough.
///
/// Close enough is a third of the length of `name` (at least one edit) in the optimal string alignment
/// distance: insertion, deletion, substitution, swap of neighbours. Case does not count, nor `-` for `_`.
/// Among equals the first wins.
///
/// ```
/// use polytask_config::nearest;
/// assert_eq!(nearest("learing-rate", ["epochs", "learning_rate"]), Some("learning_rate"));
/// assert_eq!(nearest("colour", ["epochs", "learning_rate"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    let limit = (length / 3).max(1);
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&plain(name), &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit && *distance < length)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``; did you mean `…`?`` with the [`nearest`] name, to put after an error message; empty if none is near.
///
/// ```
/// use polytask_config::did_you_mean;
/// assert_eq!(did_you_mean("postive", ["negative", "positive"]), "; did you mean `positive`?");
/// ```
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_names_are_not_matched_with_anything() {
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("", ["y"]), None);
        assert_eq!(nearest("nr", ["classification", "ner"]), Some("ner"));
    }

    #[test]
    fn the_closest_wins_and_the_first_among_equals() {
        assert_eq!(nearest("epohc", ["epochs", "epoch"]), Some("epoch"));
        assert_eq!(nearest("cat", ["bat", "hat"]), Some("bat"));
    }

    proptest! {
        #[test]
        fn one_edit_of_a_long_name_is_found(name in "[a-z]{4,12}", at in 0_usize..4) {
            let mut misspelt = name.clone();
            misspelt.remove(at);
            prop_assert_eq!(nearest(&misspelt, [name.as_str()]), Some(name.as_str()));
        }
    }
}
