use polytask_data::{Place, Row};
use polytask_tensor::initialize::Initializer;
use polytask_tensor::testing::sample;
use polytask_tensor::{Ids, Offsets, ParameterBuilder, ParameterId, Parameters, RandomKey, Tensor, ops};

use super::passed;
use crate::{HiddenPiece, Level, Pieces, Prediction, Target, Task, TaskOutput, Text};

/// Width of the random states: enough for a linear head to tell a few texts apart.
const WIDTH: usize = 12;
const SEED: u64 = 17;
/// How many pieces there are: the unknown one, the mask, and what words can be.
pub(super) const VOCABULARY: usize = 12;
const UNKNOWN: u32 = 0;
const MASK: u32 = 1;

/// A fitted task with a head of its own, on texts with random states.
pub(super) struct Bench {
    pub(super) task: Box<dyn Task>,
    /// The texts given, then an empty text and one of one word.
    pub(super) examples: Vec<Example>,
    pub(super) parameters: Parameters,
    weight: ParameterId,
    bias: ParameterId,
    own: Vec<ParameterId>,
}

/// One text as the head sees it.
pub(super) struct Example {
    pub(super) row: Row,
    pub(super) target: Option<Target>,
    /// `[1, width]`; at word level `[words, width]`, at piece level `[hidden pieces, width]`.
    states: Tensor,
    /// At piece level what stands at each hidden place.
    pieces: Vec<u32>,
}

impl Example {
    pub(super) fn text(&self) -> Text<'_> {
        Text::from(&self.row)
    }
}

impl Bench {
    pub(super) fn new(task: Box<dyn Task>, rows: &[Row], column: &str) -> Self {
        let short = ["", "word"].map(|text| Row::from_text(text, Place::new("short", 1)));
        let rows = rows.iter().chain(&short).cloned().enumerate();
        let examples = rows.map(|(number, row)| example(task.as_ref(), number, row, column)).collect();

        let outputs = if task.level() == Level::Piece { VOCABULARY } else { task.outputs() };
        let mut parameters = Parameters::default();
        let mut builder = ParameterBuilder::random(&mut parameters, SEED);
        let xavier = Initializer::xavier_uniform(WIDTH, outputs);
        let weight = builder.parameter("weight", &[WIDTH, outputs], xavier);
        let bias = builder.parameter("bias", &[outputs], Initializer::Constant(0.0));
        let own = task.parameters(&mut builder.part("task"));
        let (weight, bias, own) = (passed("weight", weight), passed("bias", bias), passed("parameters", own));
        stir(&mut parameters);
        Self { task, examples, parameters, weight, bias, own }
    }

    /// The examples that have a label.
    pub(super) fn labelled(&self) -> Vec<&Example> {
        self.examples.iter().filter(|example| example.target.is_some()).collect()
    }

    /// The parameters' values in the order of the store.
    pub(super) fn values(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|(_, parameter)| parameter.tensor().clone()).collect()
    }

    pub(super) fn decode(&self, examples: &[&Example]) -> Vec<Prediction> {
        let values = self.values();
        let logits = self.logits(examples, &values);
        let (texts, pieces, parameters) = (&offsets(examples), &pieces(examples), &self.own(&values));
        let output = TaskOutput { logits: &logits, texts, pieces, parameters };
        passed("decode", self.task.decode(output))
    }

    /// The loss over examples that all have a label, at the given values of the parameters.
    pub(super) fn loss_at(&self, examples: &[&Example], values: &[Tensor]) -> Tensor {
        self.loss_of(&self.logits(examples, values), examples, values)
    }

    pub(super) fn loss(&self, examples: &[&Example]) -> Tensor {
        self.loss_at(examples, &self.values())
    }

    /// The loss over the chosen examples of a batch that went through the head together.
    pub(super) fn loss_within(&self, batch: &[&Example], chosen: impl Fn(usize) -> bool) -> Tensor {
        let offsets = offsets(batch);
        let rows = offsets.iter().enumerate().filter(|(text, _)| chosen(*text)).flat_map(|(_, rows)| rows);
        let rows = Ids::from(rows.map(|row| row as u32).collect::<Vec<_>>());
        let logits = passed("gathering", ops::gather_rows(&self.logits(batch, &self.values()), &rows));
        let examples: Vec<_> =
            (0..batch.len()).filter(|&text| chosen(text)).map(|text| batch[text]).collect();
        self.loss_of(&logits, &examples, &self.values())
    }

    /// What the loss over examples that all have a label divides by.
    pub(super) fn loss_denominator(&self, examples: &[&Example]) -> f64 {
        let values = self.values();
        let denominator =
            |output: TaskOutput<'_>, targets: &[&Target]| self.task.loss_denominator(output, targets);
        passed(
            "loss_denominator",
            self.on_output(&self.logits(examples, &values), examples, &values, denominator),
        )
    }

    fn loss_of(&self, logits: &Tensor, examples: &[&Example], values: &[Tensor]) -> Tensor {
        passed(
            "loss",
            self.on_output(logits, examples, values, |output, targets| self.task.loss(output, targets)),
        )
    }

    fn on_output<T>(
        &self,
        logits: &Tensor,
        examples: &[&Example],
        values: &[Tensor],
        use_output: impl FnOnce(TaskOutput<'_>, &[&Target]) -> T,
    ) -> T {
        let targets: Vec<&Target> = examples.iter().filter_map(|example| example.target.as_ref()).collect();
        assert_eq!(targets.len(), examples.len(), "the loss is taken over texts that all have a label");
        let (texts, pieces, parameters) = (&offsets(examples), &pieces(examples), &self.own(values));
        use_output(TaskOutput { logits, texts, pieces, parameters }, &targets)
    }

    fn logits(&self, examples: &[&Example], values: &[Tensor]) -> Tensor {
        let states: Vec<&Tensor> = examples.iter().map(|example| &example.states).collect();
        let states = passed("states", ops::concatenate_rows(&states));
        let (weight, bias) = (self.value(self.weight, values), self.value(self.bias, values));
        passed("the head", ops::linear(&states, weight, Some(bias)))
    }

    fn own<'a>(&self, values: &'a [Tensor]) -> Vec<&'a Tensor> {
        self.own.iter().map(|&id| self.value(id, values)).collect()
    }

    fn value<'a>(&self, id: ParameterId, values: &'a [Tensor]) -> &'a Tensor {
        let mut pairs = self.parameters.iter().zip(values);
        match pairs.find(|((other, _), _)| *other == id) {
            Some((_, value)) => value,
            None => panic!("a parameter is not in the store that it was made in"),
        }
    }
}

fn offsets(examples: &[&Example]) -> Offsets {
    Offsets::from_lengths(examples.iter().map(|example| example.states.rows_columns().0))
}

fn pieces(examples: &[&Example]) -> Vec<u32> {
    examples.iter().flat_map(|example| &example.pieces).copied().collect()
}

fn example(task: &dyn Task, number: usize, row: Row, column: &str) -> Example {
    let target = match task.level() {
        Level::Piece => Some(Target::Values(Vec::new())),
        Level::Text | Level::Word => row.labels.get(column).map(|label| {
            let step = format!("the target of {}", row.place);
            passed(&step, task.target(label, Text::from(&row)))
        }),
    };
    let words = sample(&[row.words.len(), WIDTH], number as u64);
    let mut pieces = Vec::new();
    let states = match task.level() {
        Level::Word => words,
        Level::Text => passed("a mean", ops::segment_mean(&words, &Offsets::from_lengths([row.words.len()]))),
        Level::Piece => {
            let (ids, hidden) = hidden(task, &row, number);
            pieces.extend(hidden.iter().map(|hidden| ids[hidden.place]));
            let places: Vec<u32> = hidden.iter().map(|hidden| hidden.place as u32).collect();
            passed("the hidden places", ops::gather_rows(&words, &places.into()))
        }
    };
    Example { row, target, states, pieces }
}

/// A text whose words are one piece each, and what the task hides of it by the random numbers of this stream.
pub(super) fn hidden(task: &dyn Task, row: &Row, stream: usize) -> (Vec<u32>, Vec<HiddenPiece>) {
    let piece = |word: &str| 2 + word.bytes().map(u32::from).sum::<u32>() % (VOCABULARY as u32 - 2);
    let ids: Vec<u32> = row.word_texts().map(piece).collect();
    let words: Vec<_> = (0..ids.len()).map(|place| place..place + 1).collect();
    let random = RandomKey { seed: SEED, stream: stream as u64 };
    let hidden = task.hide(Pieces {
        ids: &ids,
        words: &words,
        vocabulary: VOCABULARY,
        mask: MASK,
        unknown: UNKNOWN,
        random,
        first_block: 0,
    });
    (ids, hidden)
}

/// Moves all parameters off their first values: what begins at zero would hide faults.
fn stir(parameters: &mut Parameters) {
    let ids: Vec<ParameterId> = parameters.iter().map(|(id, _)| id).collect();
    for (stream, id) in ids.into_iter().enumerate() {
        let noise = sample(parameters.get(id).shape(), 1000 + stream as u64);
        parameters.update(id, |values| values.iter_mut().zip(noise.data()).for_each(|(v, n)| *v += 0.5 * n));
    }
}
