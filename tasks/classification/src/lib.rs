#![doc = include_str!("../README.md")]

use anyhow::{Result, bail};
use polytask_data::Label;
use polytask_task::metrics::{Report, classification_report, multilabel_report};
use polytask_task::{
    Classes, Prediction, Target, Task, TaskOutput, Text, describe, label_names, most_probable, rounded,
    single_name,
};
use polytask_tensor::{Ids, Tensor, ops};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

polytask_config::register!("task", "classification", Classification);

/// Predicts the class of a text, or with `multi_label` any number of classes.
///
/// Labels: a string, a number or a truth value; with `multi_label` a list of strings, or one string cut at
/// `separator`.
///
/// ```toml
/// [[tasks]]
/// name = "topic"
/// type = "classification"
/// label = "news.topic"
/// ```
///
/// Answer: `label` and `confidence`; with `multi_label` the list `labels` of such. Metric: accuracy; with
/// `multi_label` micro F1. Loss: cross-entropy; with `multi_label` binary cross-entropy, averaged over texts and classes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Classification {
    /// The classes in their order. Empty: those of the training labels, sorted.
    pub labels: Classes,
    /// Whether a text has any number of classes, each decided by itself, instead of exactly one.
    pub multi_label: bool,
    /// With `multi_label`: what stands between the classes where a label is one string.
    #[schemars(length(min = 1))]
    pub separator: String,
    /// With `multi_label`: the probability from which on a class is predicted.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f32,
    /// The share of each target that is spread evenly over all classes (with `multi_label`: over yes and no).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub label_smoothing: f32,
    /// How much each class counts in the loss, for one class a text: "none", all the same; "balanced", texts / (classes
    /// × texts of the class); or a list of numbers in the order of `labels`, which "balanced" becomes in a trained model.
    pub class_weights: ClassWeights,
}

/// How much each class counts in the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassWeights {
    /// By a rule.
    Rule(WeightRule),
    /// A number for each class, at least 0.
    Each(Vec<f32>),
}

/// A rule for the weights of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WeightRule {
    /// All the same.
    None,
    /// texts / (classes × texts of the class), so that all classes count the same; 0 for a class without texts.
    Balanced,
}

impl Default for Classification {
    fn default() -> Self {
        Self {
            labels: Classes::default(),
            multi_label: false,
            separator: "|".into(),
            threshold: 0.5,
            label_smoothing: 0.0,
            class_weights: ClassWeights::Rule(WeightRule::None),
        }
    }
}

#[typetag::serde(name = "classification")]
impl Task for Classification {
    fn fit(&mut self, labels: &[(&Label, Text<'_>)]) -> Result<()> {
        let names = label_names(labels, |label, _| self.names(label))?;
        if self.multi_label {
            if self.class_weights != ClassWeights::Rule(WeightRule::None) {
                bail!("`class_weights` is for one class a text: leave it out with `multi_label`");
            }
            return self.labels.learn(&names);
        }
        self.labels.fit(&names)?;
        match &self.class_weights {
            ClassWeights::Rule(WeightRule::None) => {}
            ClassWeights::Rule(WeightRule::Balanced) => {
                self.class_weights = ClassWeights::Each(self.balanced_weights(&names));
            }
            ClassWeights::Each(weights) if weights.len() != self.labels.len() => {
                let (classes, names) = (self.labels.len(), self.labels.names().join(", "));
                bail!("`class_weights` has {} numbers for {classes} classes: {names}", weights.len());
            }
            ClassWeights::Each(weights)
                if weights.iter().all(|w| *w >= 0.0) && weights.iter().any(|w| *w > 0.0) => {}
            ClassWeights::Each(weights) => {
                bail!(
                    "`class_weights` must be numbers of at least 0, one of them greater; found {weights:?}"
                );
            }
        }
        Ok(())
    }

    fn outputs(&self) -> usize {
        self.labels.len()
    }

    fn target(&self, label: &Label, _text: Text<'_>) -> Result<Target> {
        let ids = self.names(label)?.iter().map(|name| self.labels.id(name)).collect::<Result<Vec<u32>>>()?;
        if !self.multi_label {
            return Ok(Target::Ids(ids));
        }
        let applies = |class| if ids.contains(&class) { 1.0 } else { 0.0 };
        Ok(Target::Values((0..self.labels.len() as u32).map(applies).collect()))
    }

    fn loss(&self, output: TaskOutput<'_>, targets: &[&Target]) -> Result<Tensor> {
        if self.multi_label {
            let smooth = |value: &f32| value * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing;
            let values = Target::all_values(targets)?.iter().map(smooth).collect();
            let targets = Tensor::new(values, output.logits.shape())?;
            return Ok(ops::binary_cross_entropy(output.logits, &targets)?);
        }
        let class_weights = match &self.class_weights {
            ClassWeights::Each(weights) => Some(Tensor::new(weights.clone(), &[weights.len()])?),
            ClassWeights::Rule(_) => None,
        };
        let options = ops::CrossEntropy { class_weights, label_smoothing: self.label_smoothing };
        Ok(ops::cross_entropy(output.logits, &Ids::from(Target::all_ids(targets)?), &options)?)
    }

    fn loss_denominator(&self, output: TaskOutput<'_>, targets: &[&Target]) -> Result<f64> {
        let ClassWeights::Each(weights) = &self.class_weights else {
            return Ok(output.logits.rows_columns().0 as f64);
        };
        Ok(Target::all_ids(targets)?.iter().map(|&class| f64::from(weights[class as usize])).sum())
    }

    fn decode(&self, output: TaskOutput<'_>) -> Result<Vec<Prediction>> {
        if !self.multi_label {
            return most_probable(output.logits);
        }
        let probabilities = ops::sigmoid(&output.logits.detach())?;
        let decide = |&probability: &f32| if probability >= self.threshold { 1.0 } else { 0.0 };
        let predict = |text| {
            let confidence = probabilities.row(text).to_vec();
            Prediction { target: Target::Values(confidence.iter().map(decide).collect()), confidence }
        };
        Ok((0..output.texts.segments()).map(predict).collect())
    }

    fn answer(&self, prediction: &Prediction, _text: Text<'_>) -> Value {
        let of = |class: usize| {
            let confidence = prediction.confidence.get(class).copied().unwrap_or_default();
            json!({ "label": self.labels.name(class as u32), "confidence": rounded(confidence) })
        };
        match &prediction.target {
            Target::Ids(ids) => of(ids.first().copied().unwrap_or_default() as usize),
            Target::Values(values) => {
                let predicted = (0..values.len()).filter(|&class| values[class] > 0.5);
                json!({ "labels": predicted.map(of).collect::<Vec<_>>() })
            }
        }
    }

    fn report(&self, gold: &[&Target], predicted: &[&Target]) -> Result<Report> {
        let names = self.labels.names();
        if self.multi_label {
            return Ok(multilabel_report(names, &decisions(gold)?, &decisions(predicted)?));
        }
        Ok(classification_report(names, &Target::all_ids(gold)?, &Target::all_ids(predicted)?))
    }

    fn label_counts(&self, targets: &[&Target]) -> Vec<(String, usize)> {
        let ids_of = |target: &Target| match target {
            Target::Ids(ids) => ids.clone(),
            Target::Values(values) => {
                (0..values.len() as u32).filter(|&id| values[id as usize] > 0.5).collect()
            }
        };
        let ids: Vec<u32> = targets.iter().flat_map(|target| ids_of(target)).collect();
        self.labels.counts(&ids)
    }
}

impl Classification {
    /// The names of the classes that a label holds: exactly one without `multi_label`.
    fn names(&self, label: &Label) -> Result<Vec<String>> {
        match label {
            Label::List(_) if !self.multi_label => {
                bail!("expected one class; found {}; `multi_label = true` takes several", describe(label))
            }
            Label::List(names) => Ok(names.clone()),
            Label::Text(names) if self.multi_label => {
                let names = names.split(&self.separator).map(str::trim).filter(|name| !name.is_empty());
                Ok(names.map(str::to_owned).collect())
            }
            _ => Ok(vec![single_name(label)?]),
        }
    }

    /// texts / (classes · texts of the class).
    fn balanced_weights(&self, names: &[String]) -> Vec<f32> {
        let weigh = |class: &String| match names.iter().filter(|name| *name == class).count() {
            0 => 0.0,
            count => names.len() as f32 / (self.labels.len() * count) as f32,
        };
        self.labels.names().iter().map(weigh).collect()
    }
}

fn decisions(targets: &[&Target]) -> Result<Vec<Vec<bool>>> {
    targets.iter().map(|target| Ok(target.values()?.iter().map(|&value| value > 0.5).collect())).collect()
}

#[cfg(test)]
mod tests;
