//! Learning from texts without labels, and what is started from it.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;

use polytask_data::{DataSet, PackedBatch, Tokenizer, split_words};
use polytask_masked_language_model as _;
use polytask_model::{Evaluation, Example, Model, evaluate};
use polytask_task::metrics::Report;
use polytask_tensor::Pass;
use polytask_tests::{
    StopAfter, Workspace, answers, assert_says, bits, tensor_bytes, texts, without_seconds,
};
use polytask_trainer::{Ending, Silent};

/// One task that needs no labels, on lines of text.
const PRETRAINING: &str = r#"
[encoder]
width = 32
layers = 1
heads = 2
dropout = 0.0
word_shapes = 64

[tokenizer]
vocabulary_size = 120

[[data]]
name = "corpus"
train = "corpus.txt"
dev = "held_out.txt"

[[tasks]]
name = "pieces"
type = "masked_language_model"
label = "corpus"

[trainer]
epochs = 8
batch_size = 8
learning_rate = 1e-2
"#;

/// Labelled and unlabelled learning from the same texts.
const BESIDE: &str = "[[tasks]]\nname = \"intent\"\ntype = \"classification\"\nlabel = \"sample.intent\"\n";

const ANIMALS: [(&str, &str, &str); 6] = [
    ("dog", "barks", "garden"),
    ("cat", "purrs", "kitchen"),
    ("cow", "moos", "meadow"),
    ("duck", "quacks", "pond"),
    ("horse", "neighs", "stable"),
    ("bee", "hums", "hive"),
];

/// Sentences in which most words tell the others.
fn corpus(numbers: std::ops::Range<usize>) -> String {
    let line = |number: usize| {
        let (animal, sound, place) = ANIMALS[number % ANIMALS.len()];
        match number % 5 {
            0 => format!("the {animal} {sound} in the {place}\n"),
            1 => format!("in the {place} the old {animal} {sound}\n"),
            2 => format!("a young {animal} lives in the {place} and {sound}\n"),
            3 => format!("why is the {animal} in the {place} when it {sound} ?\n"),
            _ => format!("it {sound} , so it is a {animal} from the {place}\n"),
        }
    };
    numbers.map(line).collect()
}

fn workspace(assignments: &[&str]) -> Workspace {
    let workspace = Workspace::with(PRETRAINING, assignments);
    workspace.write("corpus.txt", corpus(0..120));
    workspace.write("held_out.txt", corpus(120..150));
    workspace
}

fn perplexity(report: &Report) -> f64 {
    report.summary.iter().find(|(name, _)| name == "perplexity").unwrap().1
}

#[test]
fn perplexity_falls_and_more_pieces_are_found() {
    let workspace = workspace(&[]);
    let mut trainer = workspace.trainer();
    let vocabulary = trainer.model().tokenizer().vocabulary_size() as f64;
    let untrained = trainer.evaluate().unwrap();
    trainer.run(&workspace.model_folder("model"), &mut Silent).unwrap();
    let (before, after) = (&untrained[0].1, &trainer.evaluate().unwrap()[0].1);
    // Nothing learnt is worse than a guess among all pieces; the grammar leaves few choices.
    assert!(perplexity(before) > vocabulary / 2.0, "{before}");
    assert!(perplexity(after) < vocabulary / 10.0 && after.value > 0.5, "{after}");
    assert!(after.value > before.value + 0.3);
}

/// What differs is hidden in some steps, and then nothing of it is left: neither its piece nor the shape of its word.
#[test]
fn two_texts_that_differ_in_what_is_hidden_are_one_to_the_encoder() {
    let workspace = workspace(&[
        "encoder.attention_dropout=0",
        "encoder.word_dropout=0",
        "tokenizer.vocabulary_size=400",
    ]);
    let model = workspace.prepare().unwrap().model;
    let forward = |text: &str, step: u64| {
        let encoded = model.tokenizer().encode(text, &split_words(text)).unwrap();
        assert_eq!(encoded.pieces(), 6, "{text}: a piece a word");
        let (batch, pass) = (PackedBatch::pack(&[&encoded]), &mut Pass::training(1, step));
        let mut forward = model.forward(model.parameters(), &batch, &[vec![0]], pass).unwrap();
        let output = forward.outputs.remove(0).unwrap();
        (output.pieces, output.logits.data().to_vec())
    };
    let both =
        |step| ["the dog barks in the garden", "the cow barks in the garden"].map(|text| forward(text, step));
    let steps: Vec<_> = (1..200).map(both).filter(|[dog, cow]| dog.0 != cow.0).collect();
    let alike = steps.iter().filter(|[dog, cow]| dog.1 == cow.1).count();
    // Of ten hidden words one is left as it is.
    assert!(
        steps.len() > 20 && alike * 10 > steps.len() * 7 && alike < steps.len(),
        "{alike} of {}",
        steps.len()
    );
}

#[test]
fn an_interrupted_run_goes_on_as_if_it_had_not_been() {
    let workspace = workspace(&["trainer.epochs=2"]);
    let (straight, broken) = (workspace.model_folder("straight"), workspace.model_folder("broken"));
    let mut uninterrupted = workspace.trainer();
    uninterrupted.run(&straight, &mut Silent).unwrap();
    assert_eq!(workspace.trainer().run(&broken, &mut StopAfter(4)).unwrap(), Ending::Interrupted);
    let mut resumed = workspace.resume(&broken).unwrap();
    assert_eq!(resumed.run(&broken, &mut Silent).unwrap(), Ending::Finished);
    assert_eq!(without_seconds(resumed.progress()), without_seconds(uninterrupted.progress()));
    assert!(tensor_bytes(&straight.checkpoint()) == tensor_bytes(&broken.checkpoint()));
}

#[test]
fn the_number_of_threads_decides_nothing() {
    let workspace = workspace(&["trainer.epochs=1", "encoder.width=64", "trainer.batch_size=60"]);
    let train = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut trainer = workspace.trainer();
            trainer.run(&workspace.model_folder(&format!("on-{threads}")), &mut Silent).unwrap();
            (bits(trainer.model().parameters()), without_seconds(trainer.progress()))
        })
    };
    let one = train(1);
    assert!(one == train(2) && one == train(4));
}

/// A run that starts from the model in `model`, with the labels of the sample data.
fn start_from_model(workspace: &Workspace, more: &str) -> Workspace {
    let path = workspace.model_folder("model").path().display().to_string();
    let configuration = format!(
        "[encoder]\ntype = \"pretrained\"\npath = '{path}'\n{more}\n\
         [[data]]\nname = \"sample\"\ntrain = \"train.jsonl\"\ndev = \"dev.jsonl\"\n\n{BESIDE}\n\
         [trainer]\nepochs = 1\n"
    );
    Workspace::with(&configuration, &[])
}

#[test]
fn training_starts_from_the_encoder_and_tokenizer_of_a_model() {
    let workspace = workspace(&["trainer.epochs=1", "trainer.precision=bf16"]);
    let pretrained = workspace.train("model").unwrap().load().unwrap();
    let next = start_from_model(&workspace, "dropout = 0.25");
    let prepared = next.prepare().unwrap();
    let encoder = |model: &Model| {
        let mut bits = bits(model.parameters());
        bits.retain(|(name, _)| name.starts_with("encoder."));
        bits
    };
    assert!(encoder(&prepared.model) == encoder(&pretrained), "bit by bit");
    assert_eq!(prepared.model.tokenizer().to_json().unwrap(), pretrained.tokenizer().to_json().unwrap());
    let config = serde_json::to_value(&prepared.model.config().encoder).unwrap();
    assert_eq!((&config["type"], &config["width"]), (&"transformer".into(), &32.into()));
    assert_eq!((&config["dropout"], &config["word_shapes"]), (&0.25.into(), &64.into()));

    // What comes of it needs the first model no more, except to be resumed.
    let folder = next.train("next").unwrap();
    fs::remove_dir_all(workspace.path()).unwrap();
    assert_says(&answers(&folder, &texts()[..2], &[]), &["intent", "confidence"]);
}

#[test]
fn a_damaged_model_is_no_start() {
    let workspace = workspace(&["trainer.epochs=1"]);
    workspace.train("model").unwrap();
    fs::write(workspace.model_folder("model").parameters(), "no tensors").unwrap();
    let message = start_from_model(&workspace, "").prepare().unwrap_err().to_string();
    assert_says(&message, &["model.safetensors"]);
}

/// The pieces of the sample texts are found beside their classes.
fn beside() -> (Workspace, Model, Vec<Example>) {
    let configuration = format!(
        "[encoder]\nwidth = 16\nlayers = 1\nheads = 2\n\n[tokenizer]\nvocabulary_size = 200\n\n\
         [[data]]\nname = \"sample\"\ntrain = \"train.jsonl\"\ndev = \"dev.jsonl\"\n\n{BESIDE}\n\
         [[tasks]]\nname = \"pieces\"\ntype = \"masked_language_model\"\nlabel = \"sample\"\nweight = 0.5\n\n\
         [trainer]\nepochs = 1\nbatch_size = 8\nlearning_rate = 5e-3\n"
    );
    let workspace = Workspace::with(&configuration, &[]);
    let model = workspace.train("model").unwrap().load().unwrap();
    let mut prepared = workspace.prepare().unwrap();
    let dev = std::mem::take(&mut prepared.sets[0].dev);
    (workspace, model, dev)
}

#[test]
fn what_is_hidden_in_an_evaluation_is_hidden_from_no_other_task() {
    let (_workspace, model, dev) = beside();
    let measure = |examples: &[Example]| -> Evaluation {
        evaluate(&model, model.parameters(), &examples.iter().collect::<Vec<_>>()).unwrap()
    };
    let both = measure(&dev);
    assert_eq!(both.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["intent", "pieces"]);
    assert_eq!(both[1].1.examples, dev.len());
    // A metric of few texts need not show it: the answers of each do.
    let mut alone = dev.clone();
    alone.iter_mut().for_each(|example| example.targets[1] = None);
    assert_eq!(measure(&alone), both[..1]);

    // Masks are a function of the text, whatever batch it is in.
    let parts: Vec<Evaluation> = dev.iter().map(|example| measure(std::slice::from_ref(example))).collect();
    let pieces = |report: &Report| report.summary.iter().find(|(name, _)| name == "hidden pieces").unwrap().1;
    let reports = || parts.iter().flatten().filter(|(name, _)| name == "pieces").map(|(_, report)| report);
    assert_eq!(reports().map(pieces).sum::<f64>(), pieces(&both[1].1));
    let right: f64 = reports().map(|report| report.value * pieces(report)).sum();
    assert!((right / pieces(&both[1].1) - both[1].1.value).abs() < 1e-9);
}

#[test]
fn a_task_that_learns_from_texts_alone_has_no_answers() {
    let (workspace, model, _) = beside();
    let answers = answers(&workspace.model_folder("model"), &texts()[..2], &[]);
    assert!(answers.contains("\"intent\"") && !answers.contains("\"pieces\""), "{answers}");
    let message = model.tasks_named(&["pieces".into()]).unwrap_err().to_string();
    assert_eq!(message, "task `pieces`: learns from texts alone, and has no answers");
}

#[test]
fn a_label_of_such_a_task_names_no_column() {
    let message = |label: &str| {
        let label = format!("tasks.pieces.label={label}");
        workspace(&[&label]).prepare().unwrap_err().to_string()
    };
    assert_says(&message("corpus.text"), &["`corpus.text`: this task reads no labels", "`corpus`"]);
    assert_says(&message("corpsu"), &["no data set is called `corpsu`", "did you mean `corpus`?"]);
}

#[test]
fn a_tokenizer_without_a_mask_is_refused() {
    let workspace = workspace(&[]);
    let set = DataSet::read(
        &serde_json::from_str(r#"{"name": "corpus", "train": "corpus.txt"}"#).unwrap(),
        workspace.path(),
        &[],
    );
    let set = set.unwrap();
    let words = set.train.iter().flat_map(|row| row.word_texts());
    let tokenizer = Tokenizer::train(&Default::default(), words).unwrap();
    workspace.write("tokenizer.json", tokenizer.to_json().unwrap().replace("[MASK]", "[HIDE]"));
    let workspace = Workspace::with(
        PRETRAINING,
        &[&format!("tokenizer.path='{}'", workspace.path().join("tokenizer.json").display())],
    );
    workspace.write("corpus.txt", corpus(0..20));
    workspace.write("held_out.txt", corpus(20..30));
    let message = workspace.prepare().unwrap_err().to_string();
    assert_says(
        &message,
        &["task `pieces`: hides pieces, but the tokenizer has no piece", "`[MASK]` or `<mask>`"],
    );
}
