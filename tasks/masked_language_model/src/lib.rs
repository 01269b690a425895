#![doc = include_str!("../README.md")]

use std::ops::Range;

use anyhow::{Result, bail};
use polytask_data::Label;
use polytask_task::metrics::Report;
use polytask_task::{HiddenPiece, Level, Pieces, Prediction, Target, Task, TaskOutput, Text, arg_max};
use polytask_tensor::{Ids, Tensor, ops};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

polytask_config::register!("task", "masked_language_model", MaskedLanguageModel);

/// Of the hidden pieces the encoder reads so many as the mask (Devlin et al. 2019).
const MASKED: f64 = 0.8;
/// And so many more as a piece drawn at random; the others as they are.
const DRAWN: f64 = 0.1;

/// Finds the pieces of a text that are hidden from the encoder, which so learns from texts without labels.
///
/// It takes every row of the data sets that `label` names without a column. Beside other tasks it keeps the encoder from
/// forgetting what texts are like; alone it makes a pretrained encoder (`polytask pretrain`).
///
/// ```toml
/// [[tasks]]
/// name = "pieces"
/// type = "masked_language_model"
/// label = ["wiki", "news"]
/// ```
///
/// Of the hidden pieces 80 % are read as the mask, 10 % as a piece drawn at random and 10 % as they are (Devlin et al.
/// 2019); a text has one hidden piece or word at least. In training they are drawn anew in every step, and the other tasks
/// on the text do not see them either; on dev data the same ones are hidden each time, from this task alone.
///
/// Answer: none, and `predict` leaves the task out. Metric: accuracy of the hidden pieces; the report also has their
/// perplexity. Loss: cross-entropy over the vocabulary at the hidden pieces.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedLanguageModel {
    /// The share of pieces that is hidden.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: f32,
    /// Whether all pieces of a word are hidden together: else those that are left tell much of it.
    pub whole_words: bool,
}

impl Default for MaskedLanguageModel {
    fn default() -> Self {
        Self { probability: 0.15, whole_words: true }
    }
}

#[typetag::serde(name = "masked_language_model")]
impl Task for MaskedLanguageModel {
    fn level(&self) -> Level {
        Level::Piece
    }

    fn outputs(&self) -> usize {
        0
    }

    fn hide(&self, pieces: Pieces<'_>) -> Vec<HiddenPiece> {
        let units: Vec<Vec<usize>> = pieces.words.iter().flat_map(|word| self.units(&pieces, word)).collect();
        let chance = |unit: &Vec<usize>| pieces.draw(unit[0])[0];
        let least = units.iter().map(chance).min();
        let is_hidden = |unit: &&Vec<usize>| {
            share(chance(unit)) < f64::from(self.probability) || Some(chance(unit)) == least
        };
        let hide = |&place: &usize| HiddenPiece { place, stand_in: stand_in(&pieces, place) };
        units.iter().filter(is_hidden).flatten().map(hide).collect()
    }

    fn target(&self, _label: &Label, _text: Text<'_>) -> Result<Target> {
        bail!("learns from texts alone: `label` names a data set without a column");
    }

    fn loss(&self, output: TaskOutput<'_>, _targets: &[&Target]) -> Result<Tensor> {
        Ok(ops::cross_entropy(output.logits, &Ids::from(output.pieces), &ops::CrossEntropy::default())?)
    }

    fn decode(&self, output: TaskOutput<'_>) -> Result<Vec<Prediction>> {
        let log_probabilities = ops::log_softmax(&output.logits.detach())?;
        let predict = |rows: Range<usize>| {
            let mut found = Found { pieces: rows.len() as f64, ..Found::default() };
            for row in rows {
                let (values, piece) = (log_probabilities.row(row), output.pieces[row]);
                found.right += f64::from(u8::from(arg_max(values) == piece));
                found.surprise -= f64::from(values[piece as usize]);
            }
            Prediction { target: found.target(), confidence: Vec::new() }
        };
        Ok(output.texts.iter().map(predict).collect())
    }

    fn answer(&self, _prediction: &Prediction, _text: Text<'_>) -> Value {
        Value::Null
    }

    fn report(&self, _gold: &[&Target], predicted: &[&Target]) -> Result<Report> {
        let mut all = Found::default();
        for &target in predicted {
            all.add(&Found::of(target)?);
        }
        Ok(Report {
            metric: "accuracy".into(),
            value: all.right / all.pieces,
            summary: vec![
                ("perplexity".into(), (all.surprise / all.pieces).exp()),
                ("hidden pieces".into(), all.pieces),
            ],
            classes: Vec::new(),
            averages: Vec::new(),
            examples: predicted.len(),
        })
    }
}

impl MaskedLanguageModel {
    /// What is hidden together of a word; the unknown piece tells nothing, and is never hidden.
    fn units(&self, pieces: &Pieces<'_>, word: &Range<usize>) -> Vec<Vec<usize>> {
        let known: Vec<usize> = word.clone().filter(|&place| pieces.ids[place] != pieces.unknown).collect();
        match self.whole_words {
            _ if known.is_empty() => Vec::new(),
            true => vec![known],
            false => known.into_iter().map(|place| vec![place]).collect(),
        }
    }
}

/// What the encoder reads in place of a hidden piece.
fn stand_in(pieces: &Pieces<'_>, place: usize) -> u32 {
    let [_, kind, piece, _] = pieces.draw(place);
    match share(kind) {
        kind if kind < MASKED => pieces.mask,
        kind if kind < MASKED + DRAWN => (share(piece) * pieces.vocabulary as f64) as u32,
        _ => pieces.ids[place],
    }
}

/// A random number as one in [0, 1).
fn share(number: u32) -> f64 {
    f64::from(number) / 2f64.powi(32)
}

/// What was found of some hidden pieces. As a target: these three numbers.
#[derive(Default)]
struct Found {
    /// How many there are.
    pieces: f64,
    /// How many of them are the most probable.
    right: f64,
    /// Σ −log p of the true pieces.
    surprise: f64,
}

impl Found {
    fn target(&self) -> Target {
        Target::Values([self.pieces, self.right, self.surprise].map(|value| value as f32).to_vec())
    }

    fn of(target: &Target) -> Result<Self> {
        match target.values()?.iter().copied().map(f64::from).collect::<Vec<_>>()[..] {
            [pieces, right, surprise] => Ok(Self { pieces, right, surprise }),
            ref other => bail!("expected three numbers of a text's hidden pieces; found {}", other.len()),
        }
    }

    fn add(&mut self, other: &Self) {
        self.pieces += other.pieces;
        self.right += other.right;
        self.surprise += other.surprise;
    }
}

#[cfg(test)]
mod tests;
