use std::collections::BTreeSet;

use anyhow::{Result, bail};
use polytask_config::did_you_mean;
use polytask_data::Label;
use polytask_tensor::{Tensor, ops};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Prediction, Target, Text};

/// How many names a message lists before it cuts the list.
const LISTED: usize = 12;

/// The classes of a task by name; a class's number is its place. As a configuration key: a list of names.
///
/// ```
/// # use polytask_task::Classes;
/// let mut classes = Classes::default();
/// classes.fit(&["positive", "negative", "positive"].map(String::from))?;
/// assert_eq!(classes.id("positive")?, 1);
/// let message = classes.id("postive").unwrap_err().to_string();
/// let known = "no label `postive` (known: negative, positive); did you mean `positive`?";
/// assert_eq!(message, format!("{known} Else list it in `labels` of the task to allow it"));
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Classes(Vec<String>);

impl Classes {
    /// [`learn`](Self::learn) for a choice among classes: the labels must hold two at least.
    ///
    /// # Errors
    /// They do not, or a configured name stands twice.
    pub fn fit(&mut self, names: &[String]) -> Result<()> {
        if let [first, rest @ ..] = names
            && rest.iter().all(|name| name == first)
        {
            let labels = if rest.is_empty() {
                "the only label is"
            } else {
                &format!("all {} labels are", names.len())
            };
            bail!("{labels} `{first}`: a task needs at least two classes");
        }
        self.learn(names)
    }

    /// Keeps the classes where they are configured; else takes those of the labels, sorted.
    ///
    /// # Errors
    /// There is no name, or a configured one stands twice.
    pub fn learn(&mut self, names: &[String]) -> Result<()> {
        if names.is_empty() {
            bail!("no class occurs in the labels");
        }
        if self.is_empty() {
            self.0 = names.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        }
        let mut seen = BTreeSet::new();
        match self.0.iter().find(|name| !seen.insert(*name)) {
            Some(name) => bail!("`labels` has `{name}` twice"),
            None => Ok(()),
        }
    }

    /// The names, in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// How many classes there are; 0 where they are neither configured nor learnt.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of a class; empty for a number that no class has.
    pub fn name(&self, id: u32) -> &str {
        self.0.get(id as usize).map_or("", String::as_str)
    }

    /// The number of a class.
    ///
    /// # Errors
    /// No class has this name; the message lists those that exist and the nearest, and says how to allow it.
    pub fn id(&self, name: &str) -> Result<u32> {
        if let Some(place) = self.0.iter().position(|class| class == name) {
            return Ok(place as u32);
        }
        let mut known = self.0.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
        if self.len() > LISTED {
            known += &format!(", and {} more", self.len() - LISTED);
        }
        let near = did_you_mean(name, self.0.iter().map(String::as_str));
        let list_it = if near.is_empty() { "; list it" } else { " Else list it" };
        bail!("no label `{name}` (known: {known}){near}{list_it} in `labels` of the task to allow it")
    }

    /// How often each class occurs among the numbers.
    pub fn counts(&self, ids: &[u32]) -> Vec<(String, usize)> {
        let count = |class: usize| ids.iter().filter(|&&id| id as usize == class).count();
        self.0.iter().enumerate().map(|(class, name)| (name.clone(), count(class))).collect()
    }
}

impl From<Vec<String>> for Classes {
    fn from(names: Vec<String>) -> Self {
        Self(names)
    }
}

/// The names that `names` finds in all labels, one after another.
///
/// A label that it refuses is passed over: [`Task::target`](crate::Task::target) refuses it too, where the caller can
/// say in which line it stands.
///
/// # Errors
/// It refuses them all.
pub fn label_names(
    labels: &[(&Label, Text<'_>)],
    names: impl Fn(&Label, Text<'_>) -> Result<Vec<String>>,
) -> Result<Vec<String>> {
    let (mut found, mut fault, mut read) = (Vec::new(), None, false);
    for &(label, text) in labels {
        match names(label, text) {
            Ok(names) => {
                found.extend(names);
                read = true;
            }
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    fault.filter(|_| !read).map_or(Ok(found), Err)
}

/// The one name that a label is; a number is named by its digits, 3.0 by `3`.
///
/// # Errors
/// It is neither a string nor a number.
pub fn single_name(label: &Label) -> Result<String> {
    match label {
        Label::Text(name) => Ok(name.clone()),
        Label::Number(number) => Ok(number.to_string()),
        other => bail!("expected one class, a string or a number; found {}", describe(other)),
    }
}

/// The form of a label in an error message: `a list of 3 strings`.
pub fn describe(label: &Label) -> String {
    match label {
        Label::Text(text) => format!("the string `{text}`"),
        Label::Number(number) => format!("the number {number}"),
        Label::List(names) => format!("a list of {} strings", names.len()),
        Label::Spans(spans) => format!("a list of {} spans", spans.len()),
    }
}

/// The most probable class of each row of `logits` `[texts, classes]`, with the softmax over all as its confidence.
///
/// # Errors
/// There is no class.
pub fn most_probable(logits: &Tensor) -> Result<Vec<Prediction>> {
    let probabilities = ops::softmax(&logits.detach())?;
    let predict = |text| {
        let confidence = probabilities.row(text).to_vec();
        Prediction { target: Target::Ids(vec![arg_max(&confidence)]), confidence }
    };
    Ok((0..logits.rows_columns().0).map(predict).collect())
}

/// Where the greatest value stands, the first of equals; 0 where there is none.
pub fn arg_max(values: &[f32]) -> u32 {
    let mut best = 0;
    for (place, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = place;
        }
    }
    best as u32
}

/// A number with four decimals, as answers show it.
pub fn rounded(value: f32) -> f64 {
    // Adding 0 turns −0 into 0.
    (f64::from(value) * 1e4).round() / 1e4 + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str]) -> Classes {
        Classes(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn fitted(configured: &[&str], names: &[&str]) -> Result<Classes> {
        let mut classes = classes(configured);
        classes.fit(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        Ok(classes)
    }

    #[test]
    fn learnt_classes_are_sorted_and_configured_ones_kept() {
        assert_eq!(fitted(&[], &["b", "a", "b"]).unwrap(), classes(&["a", "b"]));
        assert_eq!(fitted(&["c", "b", "a"], &["a", "b"]).unwrap(), classes(&["c", "b", "a"]));
    }

    #[test]
    fn labels_that_teach_nothing_are_refused() {
        let message =
            |configured: &[&str], names: &[&str]| fitted(configured, names).unwrap_err().to_string();
        assert_eq!(message(&[], &["x"; 120]), "all 120 labels are `x`: a task needs at least two classes");
        assert_eq!(message(&[], &["x"]), "the only label is `x`: a task needs at least two classes");
        assert_eq!(message(&[], &[]), "no class occurs in the labels");
        assert_eq!(message(&["x", "y", "x"], &["x", "y"]), "`labels` has `x` twice");
    }

    #[test]
    fn a_name_that_is_near_to_none_can_be_listed() {
        let message = classes(&["negative", "positive"]).id("mixed").unwrap_err().to_string();
        let expected =
            "no label `mixed` (known: negative, positive); list it in `labels` of the task to allow it";
        assert_eq!(message, expected);
    }

    #[test]
    fn a_long_list_of_known_names_is_cut_but_searched_whole() {
        let names: Vec<String> = (10..40).map(|number| format!("class {number}")).collect();
        let message = Classes(names).id("class 399").unwrap_err().to_string();
        assert!(message.contains("class 21, and 18 more); did you mean `class 39`? "), "{message}");
    }

    #[test]
    fn one_refused_label_is_passed_over_and_all_refused_are_an_error() {
        let text = Text { text: "", words: &[] };
        let (good, bad) = (Label::Number(3.0), Label::List(Vec::new()));
        let names = |labels: &[&Label]| {
            let labels: Vec<_> = labels.iter().map(|label| (*label, text)).collect();
            label_names(&labels, |label, _| Ok(vec![single_name(label)?]))
        };
        assert_eq!(names(&[&bad, &good]).unwrap(), ["3"]);
        let message = names(&[&bad]).unwrap_err().to_string();
        assert_eq!(message, "expected one class, a string or a number; found a list of 0 strings");
    }

    #[test]
    fn the_most_probable_class_is_the_first_of_equals() {
        let logits = Tensor::new(vec![0.0, 2.0, 2.0, 1.0, 0.0, 0.0], &[2, 3]).unwrap();
        let predictions = most_probable(&logits).unwrap();
        assert_eq!(predictions[0].target, Target::Ids(vec![1]));
        assert_eq!(predictions[1].target, Target::Ids(vec![0]));
        assert!((predictions[1].confidence[0] - 1f32.exp() / (1f32.exp() + 2.0)).abs() < 1e-6);
    }
}
