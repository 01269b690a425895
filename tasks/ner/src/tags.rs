//! Tags and their numbers: `O` is 0, then `B-x` and `I-x` of each entity type x in turn.

use std::ops::Range;

use anyhow::Result;
use polytask_task::Classes;
use polytask_task::metrics::{EntitySpan, spans};
use polytask_tensor::ops::Forbidden;

const OUTSIDE: u32 = 0;

const fn beginning(entity_type: u32) -> u32 {
    2 * entity_type + 1
}

const fn inside(entity_type: u32) -> u32 {
    2 * entity_type + 2
}

/// How many tags there are: 1 + 2 · types.
pub(crate) fn count(types: &Classes) -> usize {
    1 + 2 * types.len()
}

/// What a chain of tags cannot do: `I-x` comes only after `B-x` or `I-x`.
pub(crate) fn forbidden(types: &Classes) -> Forbidden {
    let tags = count(types);
    let mut forbidden = Forbidden::new(tags);
    for entity_type in 0..types.len() as u32 {
        let (beginning, inside) = (beginning(entity_type) as usize, inside(entity_type) as usize);
        forbidden = forbidden.forbid_start(inside);
        for before in (0..tags).filter(|&before| before != beginning && before != inside) {
            forbidden = forbidden.forbid(before, inside);
        }
    }
    forbidden
}

/// The tags of a text of so many words.
///
/// # Errors
/// An entity type is unknown.
pub(crate) fn encode(entities: &[EntitySpan], words: usize, types: &Classes) -> Result<Vec<u32>> {
    let mut tags = vec![OUTSIDE; words];
    for EntitySpan { label, start, end } in entities {
        let entity_type = types.id(label)?;
        if let Some([first, rest @ ..]) = tags.get_mut(Range { start: *start, end: *end }) {
            *first = beginning(entity_type);
            rest.fill(inside(entity_type));
        }
    }
    Ok(tags)
}

/// The tags by name.
pub(crate) fn names(ids: &[u32], types: &Classes) -> Vec<String> {
    let name = |&id: &u32| match (id, types.name(id.saturating_sub(1) / 2)) {
        (OUTSIDE, _) | (_, "") => "O".to_owned(),
        (_, entity_type) if id % 2 == 1 => format!("B-{entity_type}"),
        (_, entity_type) => format!("I-{entity_type}"),
    };
    ids.iter().map(name).collect()
}

/// The entities of a sequence of tags, also of a broken one.
pub(crate) fn decode(ids: &[u32], types: &Classes) -> Vec<EntitySpan> {
    let names = names(ids, types);
    spans(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> Classes {
        vec!["person".to_owned(), "place".to_owned()].into()
    }

    #[test]
    fn tags_are_numbered_outside_first_then_type_by_type() {
        assert_eq!(
            names(&[0, 1, 2, 3, 4, 99], &types()),
            ["O", "B-person", "I-person", "B-place", "I-place", "O"]
        );
        assert_eq!(count(&types()), 5);
    }

    #[test]
    fn an_inside_follows_only_its_own_entity() {
        let forbidden = forbidden(&types());
        let allowed_before =
            |tag| (0..5).filter(|&before| !forbidden.transition(before, tag)).collect::<Vec<_>>();
        assert_eq!(allowed_before(0), [0, 1, 2, 3, 4]);
        assert_eq!(allowed_before(2), [1, 2]);
        assert_eq!(allowed_before(4), [3, 4]);
        assert_eq!((0..5).filter(|&tag| forbidden.start(tag)).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_broken_sequence_is_repaired_by_reading_and_writing() {
        let repaired = |ids: &[u32]| encode(&decode(ids, &types()), ids.len(), &types()).unwrap();
        assert_eq!(repaired(&[2, 2, 0, 4, 2]), [1, 2, 0, 3, 1]);
        assert_eq!(repaired(&[1, 2, 1, 3, 4]), [1, 2, 1, 3, 4]);
    }
}
