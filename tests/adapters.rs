//! Adapters beside a frozen encoder: what is trained, what stays, and what may be merged or added.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use polytask_model::{Example, Model, check_unchanged, pack};
use polytask_tensor::Parameters;
use polytask_tensor::testing::{assert_close, sample};
use polytask_tests::{StopAfter, Workspace, answers, assert_says, bits, tensor_bytes, texts};
use polytask_trainer::{Config, Ending, Silent, Trainer, prepare_added_tasks};

/// A small random BERT, made by `tests/golden/pretrained.py`.
const BERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/pretrained/bert");

/// Three tasks on that encoder.
fn workspace(assignments: &[&str]) -> Workspace {
    let configuration = format!(
        "[encoder]\ntype = 'pretrained'\npath = '{BERT}'\n\
         [[data]]\nname = 'sample'\ntrain = 'train.jsonl'\ndev = 'dev.jsonl'\n\
         [[tasks]]\nname = 'intent'\ntype = 'classification'\nlabel = 'sample.intent'\n\
         [[tasks]]\nname = 'sentiment'\ntype = 'sentiment'\nlabel = 'sample.sentiment'\n\
         [[tasks]]\nname = 'entities'\ntype = 'ner'\nlabel = 'sample.entities'\n\
         [trainer]\nepochs = 2\nbatch_size = 8\nlearning_rate = 5e-3\n"
    );
    Workspace::with(&configuration, assignments)
}

/// A task to be added, on the same data.
fn addition(section: &str) -> Workspace {
    let configuration = format!(
        "[[data]]\nname = 'sample'\ntrain = 'train.jsonl'\ndev = 'dev.jsonl'\n\
         [[tasks]]\nname = 'mood'\ntype = 'classification'\nlabel = 'sample.sentiment'\n\
         [trainer]\nepochs = 2\nbatch_size = 8\nlearning_rate = 5e-3\n{section}"
    );
    Workspace::with(&configuration, &[])
}

fn is_adapter(name: &str) -> bool {
    name.contains(".lora.") || name.contains(".bottleneck.")
}

/// Names and bits of the encoder's own parameters.
fn own_bits(parameters: &Parameters) -> Vec<(String, Vec<u32>)> {
    let is_own = |(name, _): &(String, _)| name.starts_with("encoder.") && !is_adapter(name);
    bits(parameters).into_iter().filter(is_own).collect()
}

fn logits(model: &Model, examples: &[Example], tasks: &[usize]) -> Vec<Vec<f32>> {
    let batch = pack(examples);
    let forward = model.infer(&batch, tasks).unwrap();
    forward.outputs.iter().flatten().map(|output| output.logits.data().to_vec()).collect()
}

/// Fills the parameters of a name that are zero at first.
fn fill(model: &mut Model, part: &str) {
    let found = model.parameters().iter().filter(|(_, p)| p.name.contains(part));
    let found: Vec<_> = found.map(|(id, p)| (id, p.tensor().shape().to_vec())).collect();
    assert!(!found.is_empty(), "{part}");
    for (id, shape) in found {
        let values = sample(&shape, 7);
        model
            .parameters_mut()
            .update(id, |b| b.iter_mut().zip(values.data()).for_each(|(b, v)| *b = 0.1 * v));
    }
}

#[test]
fn what_is_frozen_keeps_its_bits_and_adapters_are_trained() {
    for section in [
        "adapters.lora_rank=2",
        "adapters.bottleneck=3",
        "adapters={ lora_rank = 2, bottleneck = 3, per_task = true, lora_dropout = 0.1 }",
    ] {
        let workspace = workspace(&[section, "trainer.weight_averaging=0.9"]);
        let before = workspace.prepare().unwrap().model;
        let mut trainer = workspace.trainer();
        trainer.run(&workspace.model_folder("model"), &mut Silent).unwrap();
        for after in [trainer.model().parameters(), trainer.kept_parameters()] {
            assert!(own_bits(before.parameters()) == own_bits(after), "{section}");
            let changed = bits(before.parameters()).into_iter().zip(bits(after));
            let same: Vec<String> = changed.filter(|(a, b)| a == b).map(|((name, _), _)| name).collect();
            assert!(same.iter().all(|name| name.starts_with("encoder.") && !is_adapter(name)), "{same:?}");
        }
    }
}

#[test]
fn a_resumed_run_with_adapters_is_the_run_that_never_stopped() {
    let workspace = workspace(&["adapters={ lora_rank = 2, bottleneck = 2, per_task = true }"]);
    let [straight, broken] = ["straight", "broken"].map(|name| workspace.model_folder(name));
    assert_eq!(workspace.trainer().run(&straight, &mut Silent).unwrap(), Ending::Finished);
    assert_eq!(workspace.trainer().run(&broken, &mut StopAfter(5)).unwrap(), Ending::Interrupted);
    assert_eq!(workspace.resume(&broken).unwrap().run(&broken, &mut Silent).unwrap(), Ending::Finished);
    let checkpoints = [&straight, &broken].map(|folder| tensor_bytes(&folder.checkpoint()));
    assert!(checkpoints[0] == checkpoints[1]);
}

#[test]
fn recomputing_activations_changes_nothing() {
    let train = |recompute: &str| {
        let workspace = workspace(&["adapters={ lora_rank = 2, per_task = true }", recompute]);
        let mut trainer = workspace.trainer();
        trainer.run(&workspace.model_folder("model"), &mut Silent).unwrap();
        bits(trainer.model().parameters())
    };
    assert!(train("encoder.recompute_activations=true") == train("encoder.recompute_activations=false"));
}

#[test]
fn the_adapter_of_a_task_changes_no_other_task() {
    for (kind, section) in
        [(".lora.sentiment.b", "lora_rank = 2"), (".bottleneck.sentiment.up", "bottleneck = 2")]
    {
        let workspace = workspace(&[&format!("adapters={{ {section}, per_task = true }}")]);
        let prepared = workspace.prepare().unwrap();
        let (mut model, examples) = (prepared.model, &prepared.sets[0].dev);
        let together = logits(&model, examples, &[0, 1, 2]);
        for (task, among_all) in together.iter().enumerate() {
            assert_eq!(&logits(&model, examples, &[task])[0], among_all);
        }
        fill(&mut model, kind);
        let after = logits(&model, examples, &[0, 1, 2]);
        assert_eq!([&after[0], &after[2]], [&together[0], &together[2]]);
        assert_ne!(after[1], together[1]);
    }
}

#[test]
fn a_merged_model_answers_as_before() {
    let prepared = workspace(&["adapters={ lora_rank = 2, lora_alpha = 3 }"]).prepare().unwrap();
    let (mut model, examples) = (prepared.model, &prepared.sets[0].dev);
    fill(&mut model, ".lora.b");
    let merged = model.merged().unwrap();
    assert!(merged.parameters().iter().all(|(_, p)| !is_adapter(&p.name)));
    assert_eq!(merged.config().adapters, []);
    assert!(own_bits(merged.parameters()) != own_bits(model.parameters()));
    let [before, after] = [&model, &merged].map(|model| logits(model, examples, &[0, 1, 2]).concat());
    // Sums of some dozens of products in f32, in another order.
    assert_close(&after, &before, 1e-5);
}

#[test]
fn the_layers_of_every_family_have_adapters() {
    for family in ["bert", "distilbert", "roberta", "electra", "modernbert"] {
        let path = format!("encoder.path={BERT}/../{family}");
        let prepare = |assignment: &str| workspace(&[&path, assignment]).prepare().unwrap();
        let plain = prepare("trainer.epochs=1");
        let logits = |model: &Model| logits(model, &plain.sets[0].dev, &[0, 1, 2]).concat();
        let adapted = |adapters: &str, filled: &str| {
            let mut model = prepare(&format!("adapters={{ {adapters} }}")).model;
            fill(&mut model, filled);
            model
        };
        // Nothing is added at first, but gelu stands in an operation of its own.
        let both = prepare("adapters={ lora_rank = 2, bottleneck = 2 }").model;
        assert_close(&logits(&both), &logits(&plain.model), 1e-5);
        let lora = adapted("lora_rank = 2", ".lora.b");
        let of_layer = |name: &str| name.contains("layers.0.") && name.contains(".lora.a");
        let linears = lora.parameters().iter().filter(|(_, p)| of_layer(&p.name)).count();
        // Query, key, value, output, up, down.
        assert_eq!(linears, if family == "modernbert" { 7 } else { 6 });
        assert_ne!(logits(&lora), logits(&plain.model));
        assert_close(&logits(&lora.merged().unwrap()), &logits(&lora), 1e-5);
        for block in ["attention", "feed_forward"] {
            let filled = adapted("bottleneck = 2", &format!("0.{block}.bottleneck.up"));
            assert_ne!(logits(&filled), logits(&plain.model));
        }
    }
}

#[test]
fn what_cannot_be_merged_is_refused() {
    for (section, message) in [
        ("trainer.epochs=1", "this model has none"),
        ("adapters={ lora_rank = 2, per_task = true }", "tasks have adapters of their own"),
        ("adapters={ lora_rank = 2, bottleneck = 1 }", "a `bottleneck` is a network of its own"),
    ] {
        let error = workspace(&[section]).prepare().unwrap().model.merged().unwrap_err();
        assert_says(&error.to_string(), &["the adapters cannot be merged into the encoder: ", message]);
    }
    let mut model = workspace(&["adapters.lora_rank=2"]).prepare().unwrap().model;
    model.quantize();
    assert!(model.parameters().iter().all(|(_, p)| !(is_adapter(&p.name) && p.tensor().is_quantized())));
    assert_says(&model.merged().unwrap_err().to_string(), &["8-bit integers"]);
}

#[test]
fn an_encoder_that_has_learnt_nothing_takes_no_adapters() {
    let message = Workspace::new(&["adapters.lora_rank=2"]).prepare().unwrap_err().to_string();
    assert_says(&message, &["[adapters] freezes the encoder's own weights", "`type = \"pretrained\"`"]);
}

#[test]
fn an_added_task_changes_nothing_of_the_others() {
    for (of_model, of_addition) in [
        ("trainer.epochs=2", ""),
        ("adapters.lora_rank=2", ""),
        ("adapters.lora_rank=2", "[adapters]\nlora_rank = 1\n"),
    ] {
        let (first, second) = (workspace(&[of_model]), addition(of_addition));
        let old = first.train("model").unwrap();
        let model = old.load().unwrap();
        let read = || {
            let document = polytask_config::Document::parse("new.toml", &second.toml()).unwrap();
            prepare_added_tasks(&model, Config::read(&document).unwrap(), second.path()).unwrap()
        };
        let before = read().model;
        let mut trainer = Trainer::new(read(), second.toml()).unwrap();
        let new = second.model_folder("new");
        trainer.run(&new, &mut Silent).unwrap();
        let examples = read().sets.remove(0).train;
        let examples: Vec<&Example> = examples.iter().collect();
        let mut loaded = new.load().unwrap();
        check_unchanged(&model, &loaded, &examples).unwrap();
        let tasks = ["intent", "sentiment", "entities"];
        assert_eq!(answers(&new, &texts(), &tasks), answers(&old, &texts(), &tasks));
        let trained = bits(before.parameters()).into_iter().zip(bits(loaded.parameters()));
        let trained = trained.filter(|(a, b)| a != b).map(|((name, _), _)| name);
        assert!(trained.clone().count() > 2);
        assert!(trained.clone().all(|name| name.contains(".mood.")), "{:?}", trained.collect::<Vec<_>>());
        assert_eq!(trained.clone().any(|name| is_adapter(&name)), !of_addition.is_empty());
        // A proof that nothing could fail proves nothing.
        fill(&mut loaded, "tasks.intent.head.bias");
        let message = check_unchanged(&model, &loaded, &examples).unwrap_err().to_string();
        assert_says(&message, &["parameter `tasks.intent.head.bias` differs; nothing is written"]);
    }
}
