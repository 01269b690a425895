#![doc = include_str!("../README.md")]

mod label;
mod tags;

use anyhow::{Result, bail};
use polytask_data::{Label, character_offsets};
use polytask_task::metrics::{EntitySpan, Report, entity_report};
use polytask_task::{
    Classes, Level, Prediction, Target, Task, TaskOutput, Text, arg_max, label_names, rounded,
};
use polytask_tensor::initialize::Initializer;
use polytask_tensor::ops::{self, CrfWeights, Forbidden};
use polytask_tensor::{Ids, ParameterBuilder, ParameterId, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::label::Entities;

polytask_config::register!("task", "ner", Ner);

/// Finds named entities: runs of words of a type, such as persons and places.
///
/// Labels: a list of BIO tags, one a word, such as `["O", "B-person", "I-person"]`, in CSV and TSV one string,
/// `O B-person I-person`; or a list of character spans `{"start": 5, "end": 9, "label": "person"}`, which are widened to
/// whole words. A type that continues nothing (`I-x` after `O`) begins an entity. `polytask check` lists what was widened,
/// left out or read so.
///
/// ```toml
/// [[tasks]]
/// name = "entities"
/// type = "ner"
/// label = "news.tags"
/// ```
///
/// Answer: a list of `type`, `text`, `start` and `end` (in characters) and `confidence`, which is the lowest probability
/// of a tag among the entity's words. Metric: entity F1 (type and both ends right). Loss: with `crf` the negative
/// log-likelihood of the tags, with `softmax` their cross-entropy, both a word.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ner {
    /// The types of entities, without `B-` and `I-`. Empty: those of the training labels, sorted.
    pub labels: Classes,
    /// How the tags of neighbouring words depend on each other.
    pub decoder: Decoder,
}

/// How the tags of neighbouring words depend on each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// By a conditional random field: the best sequence of tags as a whole.
    #[default]
    Crf,
    /// Not at all: the best tag of each word by itself.
    Softmax,
}

#[typetag::serde(name = "ner")]
impl Task for Ner {
    fn level(&self) -> Level {
        Level::Word
    }

    fn fit(&mut self, labels: &[(&Label, Text<'_>)]) -> Result<()> {
        let types = label_names(labels, |label, text| {
            Ok(Entities::read(label, text)?.spans.into_iter().map(|span| span.label).collect())
        })?;
        if types.is_empty() {
            bail!("no entity in {} labelled texts: every tag is `O`", labels.len());
        }
        self.labels.learn(&types)
    }

    fn outputs(&self) -> usize {
        tags::count(&self.labels)
    }

    fn parameters(&self, builder: &mut ParameterBuilder<'_>) -> Result<Vec<ParameterId>> {
        if self.decoder == Decoder::Softmax {
            return Ok(Vec::new());
        }
        let tags = self.outputs();
        let mut builder = builder.part("crf");
        let mut zeros = |name, shape: &[usize]| builder.parameter(name, shape, Initializer::Constant(0.0));
        Ok(vec![zeros("transitions", &[tags, tags])?, zeros("start", &[tags])?, zeros("end", &[tags])?])
    }

    fn target(&self, label: &Label, text: Text<'_>) -> Result<Target> {
        let entities = Entities::read(label, text)?;
        Ok(Target::Ids(tags::encode(&entities.spans, text.words.len(), &self.labels)?))
    }

    fn loss(&self, output: TaskOutput<'_>, targets: &[&Target]) -> Result<Tensor> {
        let tags = Ids::from(Target::all_ids(targets)?);
        if self.decoder == Decoder::Softmax {
            return Ok(ops::cross_entropy(output.logits, &tags, &ops::CrossEntropy::default())?);
        }
        let forbidden = tags::forbidden(&self.labels);
        Ok(ops::crf_loss(output.logits, &crf_weights(&output, &forbidden)?, &tags, output.texts)?)
    }

    fn decode(&self, output: TaskOutput<'_>) -> Result<Vec<Prediction>> {
        let (tags, probabilities) = self.tags_with_probabilities(&output)?;
        let predict = |words: std::ops::Range<usize>| {
            let entities = tags::decode(&tags[words.clone()], &self.labels);
            let repaired = tags::encode(&entities, words.len(), &self.labels)?;
            let confidence = words.map(|word| probabilities.row(word)[tags[word] as usize]).collect();
            Ok(Prediction { target: Target::Ids(repaired), confidence })
        };
        output.texts.iter().map(predict).collect()
    }

    fn answer(&self, prediction: &Prediction, text: Text<'_>) -> Value {
        let entities = tags::decode(prediction.target.ids().unwrap_or_default(), &self.labels);
        let describe = |EntitySpan { label, start, end }| {
            let words = text.words.get(start..end)?;
            let bytes = words.first()?.start..words.last()?.end;
            let characters = character_offsets(text.text, std::slice::from_ref(&bytes)).pop()?;
            let confidence = prediction.confidence.get(start..end)?.iter().copied().reduce(f32::min)?;
            Some(json!({
                "type": label,
                "text": text.text.get(bytes)?,
                "start": characters.start,
                "end": characters.end,
                "confidence": rounded(confidence),
            }))
        };
        entities.into_iter().filter_map(describe).collect()
    }

    fn report(&self, gold: &[&Target], predicted: &[&Target]) -> Result<Report> {
        let names = |targets: &[&Target]| -> Result<Vec<Vec<String>>> {
            targets.iter().map(|target| Ok(tags::names(target.ids()?, &self.labels))).collect()
        };
        let (gold, predicted) = (names(gold)?, names(predicted)?);
        Ok(entity_report(&borrowed(&gold), &borrowed(&predicted)))
    }

    fn label_counts(&self, targets: &[&Target]) -> Vec<(String, usize)> {
        let entities = |target: &&Target| tags::decode(target.ids().unwrap_or_default(), &self.labels);
        let types = targets.iter().flat_map(entities).filter_map(|span| self.labels.id(&span.label).ok());
        self.labels.counts(&types.collect::<Vec<_>>())
    }

    fn findings(&self, label: &Label, text: Text<'_>) -> Vec<String> {
        Entities::read(label, text).map_or_else(|_| Vec::new(), |entities| entities.findings)
    }
}

impl Ner {
    /// The tag of each word, `[words]`, and the probability of every tag, `[words, tags]`: the marginals of the chain,
    /// or the softmax.
    fn tags_with_probabilities(&self, output: &TaskOutput<'_>) -> Result<(Vec<u32>, Tensor)> {
        if self.decoder == Decoder::Softmax {
            let probabilities = ops::softmax(&output.logits.detach())?;
            let tags = (0..output.texts.rows()).map(|word| arg_max(probabilities.row(word))).collect();
            return Ok((tags, probabilities));
        }
        let forbidden = tags::forbidden(&self.labels);
        let weights = crf_weights(output, &forbidden)?;
        let tags = ops::viterbi(output.logits, &weights, output.texts)?;
        Ok((tags, ops::crf_marginals(output.logits, &weights, output.texts)?))
    }
}

fn crf_weights<'a>(output: &TaskOutput<'a>, forbidden: &'a Forbidden) -> Result<CrfWeights<'a>> {
    let &[transitions, start, end] = output.parameters else {
        bail!("a CRF has 3 parameters: transitions, start and end; found {}", output.parameters.len());
    };
    Ok(CrfWeights { transitions, start, end, forbidden })
}

fn borrowed(tags: &[Vec<String>]) -> Vec<Vec<&str>> {
    tags.iter().map(|tags| tags.iter().map(String::as_str).collect()).collect()
}

#[cfg(test)]
mod tests;
