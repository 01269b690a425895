//! Texts in, every task's answer out, from one pass of the encoder.

use polytask_data::{PackedBatch, split_words};
use polytask_task::{Level, Prediction, Text, rounded};
use polytask_tensor::{Pass, Tensor, map};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Error, Forward, Model, Result};

/// Multiply-adds below which a pass is too short to wake other threads for it.
const SMALL_PASS: usize = 40_000_000;
/// Bytes of text that make a piece, about.
const BYTES_A_PIECE: usize = 4;

/// What the model says of one text.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The text as it came in.
    pub text: String,
    /// Words at the end that were beyond the tokenizer's limit and were not read.
    #[serde(skip_serializing_if = "is_zero")]
    pub truncated_words: usize,
    /// Each task's answer by its name.
    pub tasks: Map<String, Value>,
    /// Where each text-level task looked, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<TaskAttentionWeights>,
}

/// The weights α of the text-level tasks on one text.
#[derive(Clone, Debug, Serialize)]
pub struct TaskAttentionWeights {
    /// The words that were read.
    pub words: Vec<String>,
    /// For each task one list a head: the weight of each word, summed over its pieces; a list sums to 1, less what the special
    /// pieces of a pretrained encoder get.
    pub weights: Map<String, Value>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Model {
    /// The places of the named tasks; where no name is given, of all that have answers.
    ///
    /// # Errors
    /// A name that no task has, or one without answers.
    pub fn tasks_named(&self, names: &[String]) -> Result<Vec<usize>> {
        let known: Vec<&str> = self.config().task_names().collect();
        let answers = |task: &usize| self.task(*task).level().needs_labels();
        if names.is_empty() {
            return Ok((0..known.len()).filter(answers).collect());
        }
        let place =
            |name: &String| {
                let place = known.iter().position(|task| task == name).ok_or_else(|| Error::UnknownTask {
                    name: name.clone(),
                    known: known.join(", "),
                    hint: polytask_config::did_you_mean(name, known.iter().copied()),
                })?;
                match answers(&place) {
                    true => Ok(place),
                    false => Err(self
                        .task_error(place, anyhow::anyhow!("learns from texts alone, and has no answers"))),
                }
            };
        names.iter().map(place).collect()
    }

    /// The answers of some tasks (their places, see [`tasks_named`](Self::tasks_named)) to some texts, in one pass of
    /// the encoder; with `attention` also the weights of the text-level ones.
    ///
    /// # Errors
    /// Whatever the model refuses.
    pub fn predict(&self, texts: &[&str], tasks: &[usize], attention: bool) -> Result<Vec<Answer>> {
        let pieces = texts.iter().map(|text| text.len()).sum::<usize>() / BYTES_A_PIECE;
        self.where_it_pays(texts.len(), pieces, || {
            let read = |text: &&str| {
                let words = split_words(text);
                self.tokenizer().encode(text, &words).map(|encoded| (words, encoded))
            };
            let read = map(texts, read).into_iter().collect::<polytask_data::Result<Vec<_>>>()?;
            let (words, encoded): (Vec<_>, Vec<_>) = read.into_iter().unzip();
            let batch = PackedBatch::pack(&encoded.iter().collect::<Vec<_>>());
            let forward = self.infer(&batch, tasks)?;
            let read = |text: usize| Text { text: texts[text], words: &words[text][..encoded[text].words()] };
            let mut values = self.values(&forward, tasks, texts.len(), read)?;
            let answer = |(text, values): (usize, &mut Vec<Value>)| Answer {
                text: texts[text].to_string(),
                truncated_words: encoded[text].truncated_words,
                tasks: self.named(tasks).zip(values.drain(..)).collect(),
                attention: attention
                    .then(|| self.weights(text, read(text), &batch, forward.attention.as_ref(), tasks)),
            };
            let answers = values.iter_mut().enumerate().map(answer).collect();
            self.parameters().synchronize()?;
            Ok(answers)
        })
    }

    /// One pass with the parameters as constants for all texts of a batch: what some tasks (by their places) make of them.
    ///
    /// # Errors
    /// Whatever the model refuses.
    pub fn infer(&self, batch: &PackedBatch, tasks: &[usize]) -> Result<Forward> {
        let is_wanted = |task| if tasks.contains(&task) { (0..batch.texts()).collect() } else { Vec::new() };
        let wanted: Vec<Vec<usize>> = (0..self.config().tasks.len()).map(is_wanted).collect();
        self.where_it_pays(batch.texts(), batch.ids.len(), || {
            self.forward(self.constants(), batch, &wanted, &mut Pass::inference())
        })
    }

    /// On the calling thread for one text with little to compute; else from within the thread pool, where handing out
    /// work wakes nobody who waits outside.
    fn where_it_pays<T: Send>(&self, texts: usize, pieces: usize, work: impl FnOnce() -> T + Send) -> T {
        match texts == 1 && pieces.saturating_mul(self.multiply_adds_a_piece()) < SMALL_PASS {
            true => work(),
            false => rayon::scope(|_| work()),
        }
    }

    fn named(&self, tasks: &[usize]) -> impl Iterator<Item = String> {
        tasks.iter().map(|&task| self.config().tasks[task].settings.name.clone())
    }

    /// What each text's answer says of each of the tasks, `[texts][tasks]`.
    fn values<'a>(
        &self,
        forward: &Forward,
        tasks: &[usize],
        texts: usize,
        read: impl Fn(usize) -> Text<'a> + Sync,
    ) -> Result<Vec<Vec<Value>>> {
        let decode = |&task: &usize| match &forward.outputs[task] {
            Some(output) => self.decode(task, self.constants(), output),
            None => Ok(Vec::new()),
        };
        let value = |text: usize, predictions: &[Vec<Prediction>]| -> Vec<Value> {
            let of_task = |(&task, predictions): (&usize, &Vec<Prediction>)| match predictions.get(text) {
                Some(prediction) => self.task(task).answer(prediction, read(text)),
                None => Value::Null,
            };
            tasks.iter().zip(predictions).map(of_task).collect()
        };
        let predictions = tasks.iter().map(decode).collect::<Result<Vec<_>>>()?;
        Ok(map(0..texts, |text| value(text, &predictions)))
    }

    fn weights(
        &self,
        text: usize,
        read: Text<'_>,
        batch: &PackedBatch,
        attention: Option<&Tensor>,
        tasks: &[usize],
    ) -> TaskAttentionWeights {
        let heads = self.config().task_attention.heads;
        let segments = &batch.word_segments[batch.word_offsets[text] as usize..];
        let word_weight = |alpha: &Tensor, column: usize, word: usize| -> f32 {
            let offsets = &batch.piece_offsets[segments[word] as usize..];
            (offsets[0]..offsets[1]).map(|piece| alpha.row(piece as usize)[column]).sum()
        };
        let mut weights = Map::new();
        let is_asked = |task: &usize| tasks.contains(task) && self.task(*task).level() == Level::Text;
        for (query, task) in (0..self.config().tasks.len()).filter(is_asked).enumerate() {
            let Some(alpha) = attention else { continue };
            let head = |head: usize| -> Vec<f64> {
                (0..read.words.len())
                    .map(|word| word_weight(alpha, query * heads + head, word))
                    .map(rounded)
                    .collect()
            };
            let lists: Vec<Vec<f64>> = (0..heads).map(head).collect();
            weights.insert(self.config().tasks[task].settings.name.clone(), lists.into());
        }
        let words = read.words.iter().map(|range| read.text[range.clone()].to_string()).collect();
        TaskAttentionWeights { words, weights }
    }
}
