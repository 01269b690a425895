#![doc = include_str!("../README.md")]

use anyhow::{Result, bail};
use polytask_data::Label;
use polytask_task::metrics::{Report, ordered_report};
use polytask_task::{
    Classes, Prediction, Target, Task, TaskOutput, Text, label_names, most_probable, rounded, single_name,
};
use polytask_tensor::{Ids, Tensor, ops};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

polytask_config::register!("task", "sentiment", Sentiment);

/// The classes whose order is known without being told.
const KNOWN_ORDER: [&str; 5] = ["very negative", "negative", "neutral", "positive", "very positive"];

/// Predicts how a text feels about its subject: one of two or more classes in order, and a polarity from −1 to 1.
///
/// Labels: a string or a number, such as `negative` and `positive`, or 1 to 5 stars.
///
/// ```toml
/// [[tasks]]
/// name = "mood"
/// type = "sentiment"
/// label = "reviews.mood"
/// labels = ["bad", "so-so", "good"]
/// ```
///
/// Answer: `label`, `confidence` and `polarity`, which is Σ_k p_k (2k / (K − 1) − 1) over the K classes k = 0, 1, … with
/// their probabilities p. Metric: accuracy, beside macro F1, the mean absolute error in classes and the quadratic
/// weighted kappa. Loss: cross-entropy.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sentiment {
    /// The classes from the most negative to the most positive. Empty: those of the training labels, where they are
    /// numbers or of `very negative`, `negative`, `neutral`, `positive`, `very positive`.
    pub labels: Classes,
    /// The share of each target that is spread evenly over all classes.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub label_smoothing: f32,
}

#[typetag::serde(name = "sentiment")]
impl Task for Sentiment {
    fn fit(&mut self, labels: &[(&Label, Text<'_>)]) -> Result<()> {
        let names = label_names(labels, |label, _| Ok(vec![single_name(label)?]))?;
        let learnt = self.labels.is_empty();
        self.labels.fit(&names)?;
        if learnt {
            self.labels = in_order(self.labels.names())?.into();
        }
        Ok(())
    }

    fn outputs(&self) -> usize {
        self.labels.len()
    }

    fn target(&self, label: &Label, _text: Text<'_>) -> Result<Target> {
        Ok(Target::Ids(vec![self.labels.id(&single_name(label)?)?]))
    }

    fn loss(&self, output: TaskOutput<'_>, targets: &[&Target]) -> Result<Tensor> {
        let options = ops::CrossEntropy { label_smoothing: self.label_smoothing, ..Default::default() };
        Ok(ops::cross_entropy(output.logits, &Ids::from(Target::all_ids(targets)?), &options)?)
    }

    fn decode(&self, output: TaskOutput<'_>) -> Result<Vec<Prediction>> {
        most_probable(output.logits)
    }

    fn answer(&self, prediction: &Prediction, _text: Text<'_>) -> Value {
        let class = prediction.target.ids().ok().and_then(|ids| ids.first().copied()).unwrap_or_default();
        let confidence = prediction.confidence.get(class as usize).copied().unwrap_or_default();
        json!({
            "label": self.labels.name(class),
            "confidence": rounded(confidence),
            "polarity": rounded(polarity(&prediction.confidence)),
        })
    }

    fn report(&self, gold: &[&Target], predicted: &[&Target]) -> Result<Report> {
        Ok(ordered_report(self.labels.names(), &Target::all_ids(gold)?, &Target::all_ids(predicted)?))
    }

    fn label_counts(&self, targets: &[&Target]) -> Vec<(String, usize)> {
        self.labels.counts(&Target::all_ids(targets).unwrap_or_default())
    }
}

/// Σ_k p_k (2k / (K − 1) − 1): −1 for the first class, 1 for the last.
fn polarity(probabilities: &[f32]) -> f32 {
    let last = probabilities.len().saturating_sub(1).max(1) as f32;
    probabilities.iter().enumerate().map(|(class, p)| p * (2.0 * class as f32 / last - 1.0)).sum()
}

/// The names from negative to positive, where they are all numbers or all known.
fn in_order(names: &[String]) -> Result<Vec<String>> {
    let number = |name: &String| name.parse::<f64>().ok().filter(|number| number.is_finite());
    let known = |name: &String| {
        let name = name.trim().to_lowercase().replace(['_', '-'], " ");
        KNOWN_ORDER.iter().position(|known| *known == name).map(|rank| rank as f64)
    };
    let all = |rank: &dyn Fn(&String) -> Option<f64>| names.iter().map(rank).collect::<Option<Vec<f64>>>();
    let Some(ranks) = all(&number).or_else(|| all(&known)) else {
        let listed = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        bail!(
            "which of {listed} is the better is not known: give `labels` from the most negative to the most positive"
        );
    };
    let mut ranked: Vec<(f64, &String)> = ranks.into_iter().zip(names).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(ranked.into_iter().map(|(_, name)| name.clone()).collect())
}

#[cfg(test)]
mod tests;
