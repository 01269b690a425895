//! What precision, recall and F1 are made of, for one class and for their averages.
//!
//! ```text
//! precision = true positives / predicted     recall = true positives / gold
//! F1 = 2 · precision · recall / (precision + recall) = 2 · true positives / (predicted + gold)
//! ```

use super::{ClassScore, ratio};

/// How often a class was predicted rightly, predicted at all, and present in the gold labels.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) true_positives: usize,
    pub(super) predicted: usize,
    pub(super) gold: usize,
}

impl Counts {
    /// Counts one decision about this class.
    pub(super) fn add(&mut self, gold: bool, predicted: bool) {
        self.true_positives += usize::from(gold && predicted);
        self.predicted += usize::from(predicted);
        self.gold += usize::from(gold);
    }

    pub(super) fn score(self, label: &str) -> ClassScore {
        let Counts { true_positives, predicted, gold } = self;
        ClassScore {
            label: label.to_owned(),
            precision: ratio(true_positives as f64, predicted as f64),
            recall: ratio(true_positives as f64, gold as f64),
            f1: ratio(2.0 * true_positives as f64, (predicted + gold) as f64),
            support: gold,
        }
    }
}

/// The score of each class, and the micro, macro and weighted averages, in this order.
///
/// Micro: the counts of all classes summed. Macro: the plain mean over the classes. Weighted: the mean over the
/// classes weighted by support.
pub(super) fn scores(counts: &[(&str, Counts)]) -> (Vec<ClassScore>, [ClassScore; 3]) {
    let classes: Vec<ClassScore> = counts.iter().map(|(label, count)| count.score(label)).collect();
    let total = counts.iter().fold(Counts::default(), |total, (_, count)| Counts {
        true_positives: total.true_positives + count.true_positives,
        predicted: total.predicted + count.predicted,
        gold: total.gold + count.gold,
    });
    let averages = [
        total.score("micro average"),
        mean("macro average", &classes, |_| 1.0),
        mean("weighted average", &classes, |class| class.support as f64),
    ];
    (classes, averages)
}

fn mean(label: &str, classes: &[ClassScore], weight: impl Fn(&ClassScore) -> f64) -> ClassScore {
    let weights: f64 = classes.iter().map(&weight).sum();
    let of = |score: fn(&ClassScore) -> f64| {
        ratio(classes.iter().map(|class| weight(class) * score(class)).sum(), weights)
    };
    ClassScore {
        label: label.to_owned(),
        precision: of(|class| class.precision),
        recall: of(|class| class.recall),
        f1: of(|class| class.f1),
        support: classes.iter().map(|class| class.support).sum(),
    }
}
