use std::fmt::Debug;

use anyhow::{Result, bail};
use polytask_data::Label;
use polytask_tensor::{Offsets, ParameterBuilder, ParameterId, Tensor};
use serde_json::Value;

use crate::metrics::Report;
use crate::{HiddenPiece, Pieces, Text};

/// What a task reads of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One input a text: x_t, what task attention gathers.
    Text,
    /// One input a word: the mean of its pieces' states.
    Word,
    /// One input a piece that the task [hides](Task::hide): its state. The head is one over the vocabulary, tied to the
    /// encoder's own table of pieces. Such a task learns from texts alone, without labels, and answers nothing.
    Piece,
}

impl Level {
    /// Whether a task learns from labels, and has an answer to a text.
    pub fn needs_labels(self) -> bool {
        self != Level::Piece
    }
}

/// A label as the loss needs it. A prediction has the same form.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Class numbers: one for a class, one a word for tags.
    Ids(Vec<u32>),
    /// Numbers: one for a regression, one a class (0 or 1) for several labels at once.
    Values(Vec<f32>),
}

impl Target {
    /// The class numbers.
    ///
    /// # Errors
    /// The target holds values.
    pub fn ids(&self) -> Result<&[u32]> {
        match self {
            Target::Ids(ids) => Ok(ids),
            Target::Values(_) => bail!("expected a target of class numbers; found values"),
        }
    }

    /// The class numbers of all targets, one after another.
    ///
    /// # Errors
    /// A target holds values.
    pub fn all_ids(targets: &[&Target]) -> Result<Vec<u32>> {
        Ok(targets.iter().map(|target| target.ids()).collect::<Result<Vec<_>>>()?.concat())
    }

    /// The numbers of all targets, one after another.
    ///
    /// # Errors
    /// A target holds class numbers.
    pub fn all_values(targets: &[&Target]) -> Result<Vec<f32>> {
        Ok(targets.iter().map(|target| target.values()).collect::<Result<Vec<_>>>()?.concat())
    }

    /// The numbers.
    ///
    /// # Errors
    /// The target holds class numbers.
    pub fn values(&self) -> Result<&[f32]> {
        match self {
            Target::Values(values) => Ok(values),
            Target::Ids(_) => bail!("expected a target of values; found class numbers"),
        }
    }
}

/// What a task predicts for one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// In the form of a label's target.
    pub target: Target,
    /// Probabilities in [0, 1], as the task defines them: one a class, or one a word. May be empty.
    pub confidence: Vec<f32>,
}

/// What a task's head gave for some texts: y_t = θ_tᵀ x_t + b_t.
#[derive(Clone, Copy, Debug)]
pub struct TaskOutput<'a> {
    /// `[texts, outputs]`; at word level `[words, outputs]`, at piece level `[hidden pieces, vocabulary]`.
    pub logits: &'a Tensor,
    /// The rows of each text: one each, or those of its words or hidden pieces.
    pub texts: &'a Offsets,
    /// At piece level the piece that truly stands at each row's place; else empty.
    pub pieces: &'a [u32],
    /// The task's own parameters, in the order in which [`Task::parameters`] made them.
    pub parameters: &'a [&'a Tensor],
}

/// A task type: from labels in data to a loss, an answer and a metric.
///
/// The struct that implements it is at once its configuration (what a user writes under `[[tasks]]` with its `type`)
/// and, once [`fit`](Task::fit) has seen the training labels, everything it must know to predict: it is saved in the
/// model folder as it is. Register it beside its typetag line: `polytask_config::register!("task", "name", Type)`.
#[typetag::serde(tag = "type")]
pub trait Task: Debug + Send + Sync {
    /// What the task reads of a text.
    fn level(&self) -> Level {
        Level::Text
    }

    /// Learns from all training labels what the task must know, such as the list of classes.
    ///
    /// A label that [`target`](Task::target) refuses is better passed over here: the caller asks for the target of each
    /// label, and can say in which line it stands.
    ///
    /// # Errors
    /// The labels cannot be learnt from: of the wrong form, or of one class only.
    fn fit(&mut self, labels: &[(&Label, Text<'_>)]) -> Result<()> {
        let _ = labels;
        Ok(())
    }

    /// The width of the head's output, known once the task is fitted. Nobody asks at piece level.
    fn outputs(&self) -> usize;

    /// At piece level: the pieces of a text that the encoder is not to see, ascending.
    ///
    /// In training all tasks that learn from the text see what is left of it; in evaluation this one alone.
    fn hide(&self, pieces: Pieces<'_>) -> Vec<HiddenPiece> {
        let _ = pieces;
        Vec::new()
    }

    /// Parameters beside the head's weight and bias, such as a CRF's transitions.
    ///
    /// # Errors
    /// The builder's file lacks one.
    fn parameters(&self, builder: &mut ParameterBuilder<'_>) -> Result<Vec<ParameterId>> {
        let _ = builder;
        Ok(Vec::new())
    }

    /// The target of one label. At piece level nobody asks, and every text has an empty one.
    ///
    /// # Errors
    /// The label has the wrong form, or was not among the training labels.
    fn target(&self, label: &Label, text: Text<'_>) -> Result<Target>;

    /// The mean loss, a scalar, over texts that all have a label.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn loss(&self, output: TaskOutput<'_>, targets: &[&Target]) -> Result<Tensor>;

    /// What [`loss`](Task::loss) divides its sum by. Where several processes have a part of a batch each, the loss of the
    /// batch is the mean of the parts' losses, weighted by this. The number of rows unless a task averages otherwise.
    ///
    /// # Errors
    /// The targets have the wrong form.
    fn loss_denominator(&self, output: TaskOutput<'_>, targets: &[&Target]) -> Result<f64> {
        let _ = targets;
        Ok(output.logits.rows_columns().0 as f64)
    }

    /// The prediction for each text.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn decode(&self, output: TaskOutput<'_>) -> Result<Vec<Prediction>>;

    /// A prediction as a user reads it, for JSON.
    fn answer(&self, prediction: &Prediction, text: Text<'_>) -> Value;

    /// How good predictions are; the report's main metric is larger where they are better.
    ///
    /// # Errors
    /// The targets have the wrong form.
    fn report(&self, gold: &[&Target], predicted: &[&Target]) -> Result<Report>;

    /// How often each class occurs, for `polytask check`; empty where a task has no classes.
    fn label_counts(&self, targets: &[&Target]) -> Vec<(String, usize)> {
        let _ = targets;
        Vec::new()
    }

    /// What is odd about one label that [`target`](Task::target) nevertheless takes, for `polytask check`.
    fn findings(&self, label: &Label, text: Text<'_>) -> Vec<String> {
        let _ = (label, text);
        Vec::new()
    }
}
