//! Entities out of BIO tags, and how many of them were found.
//!
//! A port of the default (lenient) mode of seqeval 1.2.2, which reads broken sequences as `conlleval` does: an
//! `I-` that continues nothing, or an entity of another type, starts a new entity.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use super::classification::f1_figures;
use super::counts::{Counts, scores};

/// A run of tokens that is one entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntitySpan {
    /// Type of the entity: what follows `B-` or `I-`.
    pub label: String,
    /// Index of the first token.
    pub start: usize,
    /// Index after the last token.
    pub end: usize,
}

/// The entities of a tagged sequence, in their order.
///
/// `B-`, `I-` and `O` are read as BIO (IOB2), `E-` and `S-` as in IOBES. A tag without a type (`B`) has type `_`.
pub fn spans(tags: &[&str]) -> Vec<EntitySpan> {
    let mut spans = Vec::new();
    let mut start = 0;
    let mut previous = ('O', "");
    for (index, tag) in tags.iter().copied().chain(["O"]).enumerate() {
        let current = split(tag);
        if ends(previous, current) {
            spans.push(EntitySpan { label: previous.1.to_owned(), start, end: index });
        }
        if starts(previous, current) {
            start = index;
        }
        previous = current;
    }
    spans
}

/// The report of a tagger; the main metric is the entity F1 (micro F1): an entity counts as found when its type,
/// first and last token are all right.
///
/// One row of tags a text. A text whose predicted tags are missing or fewer has only the entities that they hold.
/// Entity types are sorted by name; a type that occurs on neither side has no row.
pub fn entity_report(gold: &[Vec<&str>], predicted: &[Vec<&str>]) -> Report {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for (gold, predicted) in gold.iter().zip(predicted) {
        let gold: BTreeSet<EntitySpan> = spans(gold).into_iter().collect();
        let predicted: BTreeSet<EntitySpan> = spans(predicted).into_iter().collect();
        for span in gold.union(&predicted) {
            let count = counts.entry(span.label.clone()).or_default();
            count.add(gold.contains(span), predicted.contains(span));
        }
    }
    let counts: Vec<(&str, Counts)> = counts.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    let (classes, averages) = scores(&counts);
    let [(_, value), macro_f1, weighted_f1] = f1_figures(&averages);
    Report {
        metric: "entity F1".to_owned(),
        value,
        summary: vec![macro_f1, weighted_f1],
        classes,
        averages: averages.to_vec(),
        examples: gold.len().min(predicted.len()),
    }
}

/// A tag as its first letter and its type.
fn split(tag: &str) -> (char, &str) {
    let mut rest = tag.chars();
    let letter = rest.next().unwrap_or('O');
    let rest = rest.as_str();
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    (letter, if kind.is_empty() { "_" } else { kind })
}

fn ends((previous, previous_kind): (char, &str), (current, kind): (char, &str)) -> bool {
    matches!((previous, current), ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O'))
        || !matches!(previous, 'O' | '.') && previous_kind != kind
}

fn starts((previous, previous_kind): (char, &str), (current, kind): (char, &str)) -> bool {
    matches!((previous, current), (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I'))
        || !matches!(current, 'O' | '.') && previous_kind != kind
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::testing::{GoldenScore, assert_near, assert_scores};
    use super::*;

    /// Made by `tests/golden/make_entities.py` with seqeval.
    const GOLDEN: &str = include_str!("../../tests/golden/entities.json");

    /// A few texts, each with its tags and the entities in them, and the scores over all of them.
    #[derive(Deserialize)]
    struct Case {
        gold: Vec<Sequence>,
        predicted: Vec<Sequence>,
        f1: f64,
        classes: BTreeMap<String, GoldenScore>,
        averages: Vec<GoldenScore>,
    }

    #[derive(Deserialize)]
    struct Sequence {
        tags: String,
        entities: Vec<(String, usize, usize)>,
    }

    impl Sequence {
        fn tags(&self) -> Vec<&str> {
            self.tags.split(' ').collect()
        }
    }

    fn tags(sequences: &[Sequence]) -> Vec<Vec<&str>> {
        sequences.iter().map(Sequence::tags).collect()
    }

    fn golden() -> Vec<Case> {
        serde_json::from_str(GOLDEN).unwrap()
    }

    #[test]
    fn spans_agree_with_seqeval() {
        let sequences: Vec<Sequence> =
            golden().into_iter().flat_map(|case| case.gold.into_iter().chain(case.predicted)).collect();
        assert!(sequences.len() >= 1000);
        for sequence in sequences {
            let expected: Vec<EntitySpan> = sequence
                .entities
                .iter()
                .map(|(label, start, last)| EntitySpan { label: label.clone(), start: *start, end: last + 1 })
                .collect();
            assert_eq!(spans(&sequence.tags()), expected, "{}", sequence.tags);
        }
    }

    #[test]
    fn scores_agree_with_seqeval() {
        for case in golden() {
            let report = entity_report(&tags(&case.gold), &tags(&case.predicted));
            assert_near(report.value, case.f1);
            assert!(report.classes.iter().map(|class| &class.label).eq(case.classes.keys()));
            assert_scores(&report.classes, &case.classes.into_values().collect::<Vec<_>>());
            assert_scores(&report.averages, &case.averages);
        }
    }

    #[test]
    fn no_tags_no_entities() {
        assert_eq!(spans(&[]), []);
        assert_eq!(spans(&["", "O", ""]), []);
        assert_eq!(entity_report(&[], &[]).value, 0.0);
    }
}
