//! Encoder, task attention and heads as one thing.

use std::sync::OnceLock;

use polytask_attention::{Linear, TaskAttention};
use polytask_data::{PackedBatch, Tokenizer};
use polytask_encoder::{Encoder, EncoderInput};
use polytask_task::{Level, Prediction, Task, TaskOutput};
use polytask_tensor::{
    Ids, Offsets, Parameter, ParameterBuilder, ParameterId, Parameters, Pass, Precision, Tensor, TensorFile,
    ops,
};

use crate::{Error, ModelConfig, Result};

/// A shared encoder with a head a task, and the tokenizer that feeds it.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    tokenizer: Tokenizer,
    encoder: Box<dyn Encoder>,
    attention: TaskAttention,
    heads: Vec<Head>,
    parameters: Parameters,
    /// The parameters as constants, once they have been asked for.
    constants: OnceLock<Parameters>,
    multiply_adds: OnceLock<usize>,
}

/// y = θᵀ x + b of one task, and the task's own parameters.
#[derive(Debug)]
struct Head {
    linear: Linear,
    /// For a text-level task: which query of the task attention is its own.
    query: Option<usize>,
    own: Vec<ParameterId>,
}

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
    /// `[texts, outputs]`, or `[words, outputs]` at word level.
    pub logits: Tensor,
    /// The rows of each text.
    pub texts: Offsets,
}

impl Model {
    /// A model with parameters drawn from the seed. The tasks must be fitted.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn new(config: ModelConfig, tokenizer: Tokenizer, seed: u64) -> Result<Self> {
        let mut parameters = Parameters::default();
        let mut builder = ParameterBuilder::random(&mut parameters, seed);
        let (encoder, attention, heads) = build(&config, &tokenizer, &mut builder)?;
        parameters.set_precision(config.precision);
        let (constants, multiply_adds) = Default::default();
        Ok(Self { config, tokenizer, encoder, attention, heads, parameters, constants, multiply_adds })
    }

    /// A model with the parameters of a file.
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn from_file(config: ModelConfig, tokenizer: Tokenizer, file: &TensorFile) -> Result<Self> {
        let mut parameters = Parameters::default();
        let mut builder = ParameterBuilder::from_file(&mut parameters, file);
        let (encoder, attention, heads) = build(&config, &tokenizer, &mut builder)?;
        parameters.set_precision(config.precision);
        let (constants, multiply_adds) = Default::default();
        Ok(Self { config, tokenizer, encoder, attention, heads, parameters, constants, multiply_adds })
    }

    /// What the model is made of.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tokenizer that feeds the model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// All parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// All parameters, to be changed by an optimizer.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        self.constants.take();
        &mut self.parameters
    }

    /// All parameters as constants: a pass with them records nothing, and what products need of a weight is made once.
    pub fn constants(&self) -> &Parameters {
        self.constants.get_or_init(|| self.parameters.detached())
    }

    /// The matrices of the encoder that each piece is multiplied with: its embeddings are left out.
    pub fn encoder_weights(&self) -> impl Iterator<Item = &Tensor> {
        let is_weight = |parameter: &&Parameter| {
            is_encoder_matrix(parameter) && !parameter.name.starts_with("encoder.embeddings.")
        };
        self.parameters.iter().map(|(_, parameter)| parameter).filter(is_weight).map(Parameter::tensor)
    }

    /// What the encoder's products take for each piece.
    pub(crate) fn multiply_adds_a_piece(&self) -> usize {
        *self.multiply_adds.get_or_init(|| self.encoder_weights().map(Tensor::len).sum())
    }

    /// Lets products be computed in other numbers than before.
    pub fn set_precision(&mut self, precision: Precision) {
        self.config.precision = precision;
        self.parameters_mut().set_precision(precision);
    }

    /// Whether the encoder's matrices are 8-bit integers.
    pub fn is_quantized(&self) -> bool {
        self.parameters.iter().any(|(_, parameter)| parameter.tensor().is_quantized())
    }

    /// Replaces the encoder's matrices, embeddings included, by their nearest ones of 8-bit integers.
    pub fn quantize(&mut self) {
        let parameters = self.parameters_mut();
        let matrices = parameters.iter().filter(|(_, parameter)| is_encoder_matrix(parameter));
        let matrices: Vec<ParameterId> = matrices.map(|(id, _)| id).collect();
        matrices.into_iter().for_each(|id| parameters.quantize(id));
    }

    /// One task by its place.
    pub fn task(&self, index: usize) -> &dyn Task {
        self.config.tasks[index].task.as_ref()
    }

    /// One pass through the encoder, then the head of each task for the texts of the batch that `wanted` names for
    /// it, ascending. A task with none is skipped, and nothing is recorded of its parameters.
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
        let texts = Offsets::new(&batch.text_offsets)?;
        let words = Offsets::new(&batch.piece_offsets)?;
        let input = EncoderInput {
            pieces: Ids::from(batch.ids.as_slice()),
            unknown_piece: self.tokenizer.unknown_id(),
            texts: texts.clone(),
            words: words.clone(),
            shapes: batch.shapes.clone(),
        };
        let states = self.encoder.forward(parameters, &input, pass)?;
        let asked = || self.heads.iter().zip(wanted).filter(|(_, texts)| !texts.is_empty());
        let queries: Vec<usize> = asked().filter_map(|(head, _)| head.query).collect();
        let gathered = match queries.is_empty() {
            true => None,
            false => Some(self.attention.forward(parameters, &states, &texts, &queries)?),
        };
        let word_states = match asked().any(|(head, _)| head.query.is_none()) {
            true => Some(ops::segment_mean(&states, &words)?),
            false => None,
        };
        let words_of_texts = Offsets::new(&batch.word_offsets)?;
        let output = |(head, wanted): (&Head, &Vec<usize>)| -> Result<Option<HeadOutput>> {
            let place = head.query.and_then(|query| queries.iter().position(|&asked| asked == query));
            let (inputs, offsets) = match (place, &gathered, &word_states) {
                _ if wanted.is_empty() => return Ok(None),
                (Some(place), Some(gathered), _) => {
                    text_inputs(&gathered.pooled, place, texts.segments(), wanted)?
                }
                (None, _, Some(states)) => word_inputs(states, &words_of_texts, wanted)?,
                _ => return Ok(None),
            };
            Ok(Some(HeadOutput { logits: head.linear.forward(parameters, &inputs)?, texts: offsets }))
        };
        let outputs = self.heads.iter().zip(wanted).map(output).collect::<Result<_>>()?;
        Ok(Forward { outputs, attention: gathered.map(|gathered| gathered.weights) })
    }

    fn check_wanted(&self, wanted: &[Vec<usize>], texts: usize) -> Result<()> {
        let refuse = |message| Err(polytask_tensor::Error::shape("model", message).into());
        let tasks = self.heads.len();
        if wanted.len() != tasks {
            return refuse(format!("{} lists of wanted texts for {tasks} tasks", wanted.len()));
        }
        for (name, wanted) in self.config.task_names().zip(wanted) {
            if !wanted.is_sorted_by(|a, b| a < b) || wanted.last().is_some_and(|&last| last >= texts) {
                let message = "must be ascending and below the number of texts";
                return refuse(format!("the texts wanted of task `{name}` {message} ({texts}): {wanted:?}"));
            }
        }
        Ok(())
    }

    /// One task's prediction for each text that it was asked for.
    ///
    /// # Errors
    /// Those of the task, or it does not predict once a text.
    pub fn decode(
        &self,
        index: usize,
        parameters: &Parameters,
        output: &HeadOutput,
    ) -> Result<Vec<Prediction>> {
        let texts = output.texts.segments();
        self.with_task(index, parameters, output, |task, output| {
            let predictions = task.decode(output)?;
            let found = predictions.len();
            anyhow::ensure!(found == texts, "`decode` made {found} predictions for {texts} texts");
            Ok(predictions)
        })
    }

    /// Hands one task's output, with the task's own parameters, to `use_output`.
    ///
    /// # Errors
    /// Those of `use_output`, with the task's name.
    pub fn with_task<T>(
        &self,
        index: usize,
        parameters: &Parameters,
        output: &HeadOutput,
        use_output: impl FnOnce(&dyn Task, TaskOutput<'_>) -> anyhow::Result<T>,
    ) -> Result<T> {
        let own: Vec<&Tensor> = self.heads[index].own.iter().map(|&id| parameters.get(id)).collect();
        let output = TaskOutput { logits: &output.logits, texts: &output.texts, parameters: &own };
        use_output(self.task(index), output).map_err(|source| self.task_error(index, source))
    }

    /// An error of one task's own code, with the task's name.
    pub(crate) fn task_error(&self, index: usize, source: anyhow::Error) -> Error {
        Error::Task { task: self.config.tasks[index].settings.name.clone(), source }
    }
}

fn is_encoder_matrix(parameter: &Parameter) -> bool {
    parameter.name.starts_with("encoder.") && parameter.tensor().shape().len() == 2
}

fn build(
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    builder: &mut ParameterBuilder<'_>,
) -> Result<(Box<dyn Encoder>, TaskAttention, Vec<Head>)> {
    let (vocabulary, max_tokens) = (tokenizer.vocabulary_size(), tokenizer.max_tokens());
    let encoder = config.encoder.build(vocabulary, max_tokens, &mut builder.part("encoder"))?;
    let (width, heads) = (encoder.width(), config.task_attention.heads);
    let mut builder = builder.part("tasks");
    let text_level = |task: &&crate::ModelTask| task.task.level() == Level::Text;
    let names = config.tasks.iter().filter(text_level).map(|task| task.settings.name.as_str());
    let attention = TaskAttention::new(&mut builder, names, width, heads)?;
    let mut queries = 0..;
    let head = |task: &crate::ModelTask| {
        let mut builder = builder.part(&task.settings.name);
        let (query, inputs) = match task.task.level() {
            Level::Text => (queries.next(), heads * width),
            Level::Word => (None, width),
        };
        let linear = Linear::new(&mut builder.part("head"), inputs, task.task.outputs())?;
        let own = task.task.parameters(&mut builder);
        let own = own.map_err(|source| Error::Task { task: task.settings.name.clone(), source })?;
        Ok(Head { linear, query, own })
    };
    let heads = config.tasks.iter().map(head).collect::<Result<_>>()?;
    Ok((encoder, attention, heads))
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

/// The states of the words of the wanted texts.
fn word_inputs(states: &Tensor, words: &Offsets, wanted: &[usize]) -> Result<(Tensor, Offsets)> {
    if wanted.len() == words.segments() {
        return Ok((states.clone(), words.clone()));
    }
    let rows: Vec<u32> = wanted.iter().flat_map(|&text| words.range(text)).map(|row| row as u32).collect();
    let offsets = Offsets::from_lengths(wanted.iter().map(|&text| words.range(text).len()));
    Ok((ops::gather_rows(states, &rows.into())?, offsets))
}
