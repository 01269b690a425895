//! Encoder, task attention and heads as one thing.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use polytask_attention::{Linear, TaskAttention};
use polytask_data::Tokenizer;
use polytask_encoder::{Adapter, Encoder};
use polytask_task::{Level, Prediction, Task, TaskOutput};
use polytask_tensor::initialize::Initializer;
use polytask_tensor::{Parameter, ParameterBuilder, ParameterId, Parameters, Precision, Tensor, TensorFile};

use crate::piece_head::PieceHead;
use crate::{Error, HeadOutput, ModelConfig, Pooling, Result, TaskAttentionConfig};

/// A shared encoder with a head a task, and the tokenizer that feeds it.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    tokenizer: Tokenizer,
    pub(crate) encoder: Box<dyn Encoder>,
    pub(crate) attention: TaskAttention,
    pub(crate) heads: Vec<Head>,
    parameters: Parameters,
    /// The parameters as constants, once they have been asked for.
    constants: OnceLock<Parameters>,
    multiply_adds: OnceLock<usize>,
}

/// The head of one task, and the task's own parameters.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) layers: HeadLayers,
    /// Where the task gathers its input by attention: which query is its own.
    pub(crate) query: Option<usize>,
    /// Through which of the encoder's adapters the task reads.
    pub(crate) adapter: Option<usize>,
    /// The weights of the encoder's layers, before the softmax, where the task mixes them.
    pub(crate) layer_mix: Option<ParameterId>,
    own: Vec<ParameterId>,
}

/// What a head makes of its input.
#[derive(Debug)]
pub(crate) enum HeadLayers {
    /// y = θᵀ x + b.
    Linear(Linear),
    /// At piece level: which piece it was.
    Pieces(PieceHead),
}

impl Model {
    /// A model with parameters drawn from the seed. The tasks must be fitted.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn new(config: ModelConfig, tokenizer: Tokenizer, seed: u64) -> Result<Self> {
        Self::starting_from(config, tokenizer, &BTreeMap::new(), seed)
    }

    /// A model with some parameters given by their names, such as those of a pretrained encoder, and the others drawn from
    /// the seed. The tasks must be fitted.
    ///
    /// # Errors
    /// The configuration contradicts itself or what is given.
    pub fn starting_from(
        config: ModelConfig,
        tokenizer: Tokenizer,
        given: &BTreeMap<String, Tensor>,
        seed: u64,
    ) -> Result<Self> {
        let mut parameters = Parameters::default();
        let builder = ParameterBuilder::from_given(&mut parameters, given, seed);
        let (encoder, attention, heads) = build(&config, &tokenizer, builder)?;
        Ok(Self::of_parts(config, tokenizer, encoder, attention, heads, parameters))
    }

    /// A model with the parameters of a file.
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn from_file(config: ModelConfig, tokenizer: Tokenizer, file: &TensorFile) -> Result<Self> {
        let mut parameters = Parameters::default();
        let builder = ParameterBuilder::from_file(&mut parameters, file);
        let (encoder, attention, heads) = build(&config, &tokenizer, builder)?;
        Ok(Self::of_parts(config, tokenizer, encoder, attention, heads, parameters))
    }

    fn of_parts(
        config: ModelConfig,
        tokenizer: Tokenizer,
        encoder: Box<dyn Encoder>,
        attention: TaskAttention,
        heads: Vec<Head>,
        mut parameters: Parameters,
    ) -> Self {
        parameters.set_precision(config.precision);
        let (constants, multiply_adds) = Default::default();
        Self { config, tokenizer, encoder, attention, heads, parameters, constants, multiply_adds }
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

    /// Replaces the encoder's matrices, embeddings included, by their nearest ones of 8-bit integers. Adapters stay as they
    /// are: small, and multiplied with little.
    pub fn quantize(&mut self) {
        let parameters = self.parameters_mut();
        let is_replaced = |p: &Parameter| is_encoder_matrix(p) && !Adapter::is_part_of_one(&p.name);
        let matrices = parameters.iter().filter(|(_, parameter)| is_replaced(parameter));
        let matrices: Vec<ParameterId> = matrices.map(|(id, _)| id).collect();
        matrices.into_iter().for_each(|id| parameters.quantize(id));
    }

    /// One task by its place.
    pub fn task(&self, index: usize) -> &dyn Task {
        self.config.tasks[index].task.as_ref()
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
        let HeadOutput { logits, texts, pieces } = output;
        let output = TaskOutput { logits, texts, pieces, parameters: &own };
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
    mut builder: ParameterBuilder<'_>,
) -> Result<(Box<dyn Encoder>, TaskAttention, Vec<Head>)> {
    let (vocabulary, max_tokens) = (tokenizer.vocabulary_size(), tokenizer.max_tokens());
    let adapters = &config.adapters;
    let encoder = config.encoder.build(vocabulary, max_tokens, adapters, &mut builder.part("encoder"))?;
    let (width, TaskAttentionConfig { pooling, heads, layer_mix }) =
        (encoder.width(), config.task_attention.clone());
    let mut builder = builder.part("tasks");
    let attends =
        |task: &&crate::ModelTask| task.task.level() == Level::Text && pooling == Pooling::Attention;
    let names = config.tasks.iter().filter(attends).map(|task| task.settings.name.as_str());
    let attention = TaskAttention::new(&mut builder, names, width, heads)?;
    let mut queries = 0..;
    let head = |(place, task): (usize, &crate::ModelTask)| {
        let mut builder = builder.part(&task.settings.name);
        let (query, inputs) = match attends(&task) {
            true => (queries.next(), heads * width),
            false => (None, width),
        };
        let layers = match task.task.level() {
            Level::Piece => {
                let (table, mask) = hiding(task, encoder.as_ref(), tokenizer)?;
                HeadLayers::Pieces(PieceHead::new(&mut builder.part("head"), width, table, mask)?)
            }
            Level::Text | Level::Word => {
                HeadLayers::Linear(Linear::new(&mut builder.part("head"), inputs, task.task.outputs())?)
            }
        };
        // Equal shares at first.
        let shares = |builder: &mut ParameterBuilder<'_>| {
            builder.parameter("layer_mix", &[encoder.layers() + 1], Initializer::Constant(0.0))
        };
        let layer_mix = layer_mix.then(|| shares(&mut builder)).transpose()?;
        let own = task.task.parameters(&mut builder);
        let own = own.map_err(|source| Error::Task { task: task.settings.name.clone(), source })?;
        let adapter = config.adapter_of(place);
        Ok(Head { layers, query, adapter, layer_mix, own })
    };
    let heads = config.tasks.iter().enumerate().map(head).collect::<Result<_>>()?;
    Ok((encoder, attention, heads))
}

/// What a piece-level task needs: the encoder's table of pieces, and the piece that stands for hidden ones.
fn hiding(
    task: &crate::ModelTask,
    encoder: &dyn Encoder,
    tokenizer: &Tokenizer,
) -> Result<(ParameterId, u32)> {
    let refuse = |message: &str| {
        let source = anyhow::anyhow!("hides pieces, but {message}");
        Error::Task { task: task.settings.name.clone(), source }
    };
    let table = encoder.piece_embeddings().ok_or_else(|| refuse("the encoder has no table of pieces"))?;
    let mask = tokenizer.mask_id().ok_or_else(|| {
        refuse("the tokenizer has no piece that stands for hidden ones: it needs `[MASK]` or `<mask>`")
    })?;
    Ok((table, mask))
}
