//! One pass: the encoder once, then the head of each task that is asked for.

use polytask_data::PackedBatch;
use polytask_encoder::EncoderInput;
use polytask_task::Level;
use polytask_tensor::{Ids, Offsets, Parameters, Pass, Tensor, ops};

use crate::hide::Hidden;
use crate::model::{Head, HeadLayers};
use crate::{Model, Pooling, Result};

/// What one pass through the model gives.
#[derive(Debug)]
pub struct Forward {
    /// One for each task, where texts were asked of it.
    pub outputs: Vec<Option<HeadOutput>>,
    /// α `[pieces, tasks · heads]` of the text-level tasks that were asked for, in the order of the model.
    pub attention: Option<Tensor>,
}

/// One task's logits for the texts asked of it.
#[derive(Debug)]
pub struct HeadOutput {
    /// `[texts, outputs]`; at word level `[words, outputs]`, at piece level `[hidden pieces, vocabulary]`.
    pub logits: Tensor,
    /// The rows of each text.
    pub texts: Offsets,
    /// At piece level the piece that truly stands at each row's place.
    pub pieces: Vec<u32>,
}

/// How a batch is cut.
struct Cuts {
    /// The pieces of each text.
    texts: Offsets,
    /// The pieces of each segment: of a word, or special ones.
    segments: Offsets,
    /// The words of each text.
    words: Offsets,
    /// What each piece-level task hid.
    hidden: Vec<Hidden>,
}

/// What the encoder makes of a batch through one adapter, or none.
struct Encoded {
    adapter: Option<usize>,
    /// `[pieces, width]`.
    states: Tensor,
    /// What goes into its layers and what each gives, where tasks mix them.
    layers: Vec<Tensor>,
}

impl Model {
    /// One pass through the encoder, one more for each adapter that tasks have of their own, then the head of each task for
    /// the texts of the batch that `wanted` names for it, ascending. A task with none is skipped, and nothing is recorded of
    /// its parameters. What a piece-level task hides in its texts, no task sees in this pass.
    ///
    /// # Errors
    /// The batch does not fit the model, or `wanted` not the batch.
    pub fn forward(
        &self,
        parameters: &Parameters,
        batch: &PackedBatch,
        wanted: &[Vec<usize>],
        pass: &mut Pass,
    ) -> Result<Forward> {
        self.check_wanted(wanted, batch.texts())?;
        let (batch, hidden) = self.hide(batch, wanted, pass)?;
        let batch = batch.as_ref();
        let cuts = Cuts {
            texts: Offsets::new(&batch.text_offsets)?,
            segments: Offsets::new(&batch.piece_offsets)?,
            words: Offsets::new(&batch.word_offsets)?,
            hidden,
        };
        let input = |adapter| EncoderInput {
            pieces: Ids::from(batch.ids.as_slice()),
            unknown_piece: self.tokenizer().unknown_id(),
            texts: cuts.texts.clone(),
            words: cuts.segments.clone(),
            shapes: batch.shapes.clone(),
            adapter,
        };
        let asked: Vec<usize> = (0..wanted.len()).filter(|&task| !wanted[task].is_empty()).collect();
        let mut forward = Forward { outputs: wanted.iter().map(|_| None).collect(), attention: None };
        let mut encoded: Vec<Encoded> = Vec::new();
        for tasks in asked.chunk_by(|&a, &b| self.heads[a].adapter == self.heads[b].adapter) {
            let adapter = self.heads[tasks[0]].adapter;
            let place = match encoded.iter().position(|encoded| encoded.adapter == adapter) {
                Some(place) => place,
                None => {
                    encoded.push(self.encode(parameters, &input(adapter), pass)?);
                    encoded.len() - 1
                }
            };
            let Encoded { states, layers, .. } = &encoded[place];
            if !self.config().task_attention.layer_mix {
                self.read(parameters, batch, &cuts, wanted, tasks, states, &mut forward)?;
                continue;
            }
            for &task in tasks {
                let Some(mix) = self.heads[task].layer_mix else { continue };
                let states = ops::mix(layers, &ops::softmax(parameters.get(mix))?)?;
                self.read(parameters, batch, &cuts, wanted, &[task], &states, &mut forward)?;
            }
        }
        Ok(forward)
    }

    fn encode(&self, parameters: &Parameters, input: &EncoderInput, pass: &mut Pass) -> Result<Encoded> {
        let mixes = self.config().task_attention.layer_mix;
        let mut layers = Vec::new();
        let mut keep = |layer: &Tensor| layers.extend(mixes.then(|| layer.clone()));
        let states = self.encoder.forward(parameters, input, pass, &mut keep)?;
        // The last as tasks read it without a mix: normalised, with its dropout.
        if let Some(last) = layers.last_mut() {
            *last = states.clone();
        }
        Ok(Encoded { adapter: input.adapter, states, layers })
    }

    /// The outputs of some tasks that read the same states `[pieces, width]`.
    #[allow(clippy::too_many_arguments, reason = "they belong to one batch")]
    fn read(
        &self,
        parameters: &Parameters,
        batch: &PackedBatch,
        cuts: &Cuts,
        wanted: &[Vec<usize>],
        tasks: &[usize],
        states: &Tensor,
        forward: &mut Forward,
    ) -> Result<()> {
        let of_level = |level| tasks.iter().copied().filter(move |&task| self.task(task).level() == level);
        let text_tasks: Vec<usize> = of_level(Level::Text).collect();
        if !text_tasks.is_empty() {
            let texts = cuts.texts.segments();
            let pooled = self.pool(parameters, states, &cuts.texts, &text_tasks, forward)?;
            for (index, &task) in text_tasks.iter().enumerate() {
                let place = if self.heads[task].query.is_some() { index } else { 0 };
                let inputs = text_inputs(&pooled, place, texts, &wanted[task])?;
                forward.outputs[task] = Some(self.heads[task].output(parameters, inputs)?);
            }
        }
        if of_level(Level::Word).next().is_some() {
            let segments = ops::segment_mean(states, &cuts.segments)?;
            for task in of_level(Level::Word) {
                let inputs = word_inputs(&segments, &batch.word_segments, &cuts.words, &wanted[task])?;
                forward.outputs[task] = Some(self.heads[task].output(parameters, inputs)?);
            }
        }
        for task in of_level(Level::Piece) {
            let output = self.heads[task].output(parameters, cuts.hidden[task].inputs(states)?)?;
            let pieces = cuts.hidden[task].pieces.clone();
            forward.outputs[task] = Some(HeadOutput { pieces, ..output });
        }
        Ok(())
    }

    /// What text-level tasks make of the states: `[tasks · texts, heads · width]` by attention, task after task, or
    /// `[texts, width]` for all of them.
    fn pool(
        &self,
        parameters: &Parameters,
        states: &Tensor,
        texts: &Offsets,
        tasks: &[usize],
        forward: &mut Forward,
    ) -> Result<Tensor> {
        match self.config().task_attention.pooling {
            Pooling::Mean => Ok(ops::segment_mean(states, texts)?),
            Pooling::First => first_states(states, texts),
            Pooling::Attention => {
                let queries: Vec<usize> = tasks.iter().filter_map(|&task| self.heads[task].query).collect();
                let gathered = self.attention.forward(parameters, states, texts, &queries)?;
                forward.attention = Some(match forward.attention.take() {
                    Some(weights) => ops::concatenate_columns(&[&weights, &gathered.weights])?,
                    None => gathered.weights,
                });
                Ok(gathered.pooled)
            }
        }
    }

    fn check_wanted(&self, wanted: &[Vec<usize>], texts: usize) -> Result<()> {
        let refuse = |message| Err(polytask_tensor::Error::shape("model", message).into());
        let tasks = self.heads.len();
        if wanted.len() != tasks {
            return refuse(format!("{} lists of wanted texts for {tasks} tasks", wanted.len()));
        }
        for (name, wanted) in self.config().task_names().zip(wanted) {
            if !wanted.is_sorted_by(|a, b| a < b) || wanted.last().is_some_and(|&last| last >= texts) {
                let message = "must be ascending and below the number of texts";
                return refuse(format!("the texts wanted of task `{name}` {message} ({texts}): {wanted:?}"));
            }
        }
        Ok(())
    }
}

impl Head {
    fn output(&self, parameters: &Parameters, (inputs, texts): (Tensor, Offsets)) -> Result<HeadOutput> {
        let logits = match &self.layers {
            HeadLayers::Linear(linear) => linear.forward(parameters, &inputs)?,
            HeadLayers::Pieces(head) => head.forward(parameters, &inputs)?,
        };
        Ok(HeadOutput { logits, texts, pieces: Vec::new() })
    }
}

/// The state of each text's first piece; zeros for a text without any.
fn first_states(states: &Tensor, texts: &Offsets) -> Result<Tensor> {
    let lengths = texts.iter().flat_map(|text| [text.len().min(1), text.len().saturating_sub(1)]);
    let parts = ops::segment_sum(states, &Offsets::from_lengths(lengths))?;
    let firsts: Vec<u32> = (0..texts.segments() as u32).map(|text| 2 * text).collect();
    Ok(ops::gather_rows(&parts, &firsts.into())?)
}

/// The pooled rows of the task at `place` among those asked for, for the wanted texts.
fn text_inputs(pooled: &Tensor, place: usize, texts: usize, wanted: &[usize]) -> Result<(Tensor, Offsets)> {
    let all = ops::rows(pooled, place * texts..(place + 1) * texts)?;
    let inputs = match wanted.len() == texts {
        true => all,
        false => ops::gather_rows(&all, &wanted.iter().map(|&text| text as u32).collect::<Vec<_>>().into())?,
    };
    Ok((inputs, Offsets::from_lengths(wanted.iter().map(|_| 1))))
}

/// The states of the words of the wanted texts, from those of all segments.
fn word_inputs(
    states: &Tensor,
    segments: &[u32],
    words: &Offsets,
    wanted: &[usize],
) -> Result<(Tensor, Offsets)> {
    let is_each_a_word = segments.iter().zip(0..).all(|(&segment, place)| segment == place);
    if wanted.len() == words.segments() && is_each_a_word && segments.len() == states.rows_columns().0 {
        return Ok((states.clone(), words.clone()));
    }
    let rows: Vec<u32> = wanted.iter().flat_map(|&text| &segments[words.range(text)]).copied().collect();
    let offsets = Offsets::from_lengths(wanted.iter().map(|&text| words.range(text).len()));
    Ok((ops::gather_rows(states, &rows.into())?, offsets))
}
