//! Several ranks train the model that one process would.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::collections::BTreeMap;
use std::sync::Arc;

use polytask_tensor::testing::accelerators;
use polytask_tensor::{Device, GpuRanks};
use polytask_tests::{
    Channels, PLAIN_DESCENT, StopAfter, WITHOUT_DROPOUT, Workspace, assert_same_gradients, assert_says, bits,
    gradients_of_one_step, on_ranks, on_tcp_ranks,
};
use polytask_trainer::{
    Alone, Communicator, DeviceChoice, Ending, Error, Observer, Prepared, Silent, Trainer,
};

const ONE_STEP: [&str; 5] = [
    "tasks.sentiment.weight=0.5",
    "tasks.entities.weight=2.0",
    "tasks.intent.class_weights=balanced",
    "trainer.epochs=1",
    "trainer.batch_size=64",
];

/// One step: the losses of the tasks that had a label, the gradients, and the parameters after it.
#[derive(Debug, PartialEq)]
struct Step {
    losses: Vec<(String, f64)>,
    gradients: BTreeMap<String, Vec<f32>>,
    parameters: Vec<(String, Vec<u32>)>,
}

/// The step as one of some ranks: rank 0 alone knows losses and gradients.
fn step_as(
    ranks: Arc<dyn Communicator>,
    assignments: &[&str],
    change: &(impl Fn(&mut Prepared) + Sync),
) -> Step {
    step_with(ranks, assignments, change, &mut Silent)
}

fn step_with(
    ranks: Arc<dyn Communicator>,
    assignments: &[&str],
    change: &impl Fn(&mut Prepared),
    observer: &mut (dyn Observer + Send),
) -> Step {
    let workspace = Workspace::new(&[&WITHOUT_DROPOUT[..], &PLAIN_DESCENT, &ONE_STEP, assignments].concat());
    let mut prepared = workspace.prepare().unwrap();
    prepared.sets[0].dev.clear();
    change(&mut prepared);
    let folder = workspace.model_folder("model");
    let mut trainer = Trainer::new(prepared, workspace.toml()).unwrap().with_ranks(ranks.clone());
    trainer.run(&folder, observer).unwrap();
    assert_eq!(trainer.progress().step, 1);
    let parameters = bits(trainer.model().parameters());
    if ranks.rank() > 0 {
        return Step { losses: Vec::new(), gradients: BTreeMap::new(), parameters };
    }
    Step {
        losses: trainer.progress().history[0].losses.clone(),
        gradients: gradients_of_one_step(&folder, trainer.model().parameters()),
        parameters,
    }
}

#[track_caller]
fn steps_like_one_process(ranks: usize, assignments: &[&str], change: impl Fn(&mut Prepared) + Sync) {
    let expected = step_as(Arc::new(Alone), assignments, &change);
    let steps = on_ranks(ranks, |rank| step_as(rank, assignments, &change));
    are_like_one_process(&steps, &expected);
}

#[track_caller]
fn are_like_one_process(steps: &[Step], expected: &Step) {
    assert!(steps.iter().all(|step| step.parameters == steps[0].parameters), "parameters differ");
    assert_eq!(steps[0].losses.len(), expected.losses.len());
    for ((task, found), (_, loss)) in steps[0].losses.iter().zip(&expected.losses) {
        assert!((found - loss).abs() < 1e-6 * loss, "{task}: {found}, one process {loss}");
    }
    assert_same_gradients(&steps[0].gradients, &expected.gradients);
}

#[test]
fn gradients_are_those_of_the_joined_batch() {
    for ranks in [2, 3] {
        steps_like_one_process(ranks, &[], |_| {});
        steps_like_one_process(ranks, &["tasks.entities.decoder=softmax"], |_| {});
    }
}

/// Over TCP the very same bits: it, too, adds in the order of the ranks.
#[test]
fn ranks_may_speak_tcp() {
    let steps = on_tcp_ranks(3, |rank| step_as(rank, &[], &|_| {}));
    are_like_one_process(&steps, &step_as(Arc::new(Alone), &[], &|_| {}));
    assert!(steps == on_ranks(3, |rank| step_as(rank, &[], &|_| {})));
}

/// One step on GPUs with so many texts, the device of each rank given; gives why the GPUs are not joined.
#[track_caller]
fn steps_on_gpus(devices: &[Device], texts: usize) -> Option<String> {
    // A norm in f32 on a GPU is another than one in f64 on the processor: all ranks must take theirs from the same.
    let clipping = ["trainer.gradient_clipping=1.0"];
    let expected = step_as(Arc::new(Alone), &clipping, &|prepared: &mut Prepared| {
        prepared.sets[0].train.truncate(texts)
    });
    let steps = on_ranks(devices.len(), |rank| {
        let device = devices[rank.rank()];
        let mut apart = Apart(None);
        let on = |prepared: &mut Prepared| {
            prepared.settings.device = DeviceChoice::On(device);
            prepared.sets[0].train.truncate(texts);
        };
        (step_with(rank, &clipping, &on, &mut apart), apart.0)
    });
    assert!(steps.iter().all(|(step, _)| step.parameters == steps[0].0.parameters), "parameters differ");
    for (name, expected) in &expected.gradients {
        let largest = expected.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        for (found, expected) in steps[0].0.gradients[name].iter().zip(expected) {
            // As two devices agree on one operation.
            assert!((found - expected).abs() <= 1e-4 * largest, "{name}: {found}, {expected}");
        }
    }
    steps[0].1.clone()
}

/// Why the ranks' GPUs are not joined.
struct Apart(Option<String>);

impl Observer for Apart {
    fn gpus_apart(&mut self, reason: &str) {
        self.0 = Some(reason.into());
    }
}

#[test]
fn gpus_that_cannot_be_joined_train_all_the_same() {
    for device in accelerators().filter(|&device| device == Device::Emulated) {
        // With one text, one rank has no gradient of its own on a GPU.
        for texts in [64, 1] {
            let reason = steps_on_gpus(&[device; 2], texts).unwrap();
            assert_says(&reason, &["rank 0: emulated: ", "cannot be joined"]);
        }
    }
}

#[test]
fn a_rank_without_a_gpu_beside_ranks_with_one_is_refused() {
    let errors = on_ranks(2, |rank| {
        let workspace = Workspace::new(&[]);
        let mut prepared = workspace.prepare().unwrap();
        let device = [Device::Emulated, Device::Cpu][rank.rank()];
        prepared.settings.device = DeviceChoice::On(device);
        let mut trainer = Trainer::new(prepared, workspace.toml()).unwrap().with_ranks(rank);
        trainer.run(&workspace.model_folder("model"), &mut Silent).unwrap_err().to_string()
    });
    errors
        .iter()
        .for_each(|error| assert_says(error, &["rank 1 computes on the processor and others on GPUs"]));
}

/// Needs two GPUs and NCCL.
#[test]
fn gradients_are_summed_on_two_gpus() {
    let devices = [Device::Cuda(0), Device::Cuda(1)];
    if let Some(reason) = devices.iter().find_map(|&device| GpuRanks::find(device).err()) {
        return eprintln!("skipped, for want of two GPUs and NCCL: {reason}");
    }
    for texts in [64, 1] {
        assert_eq!(steps_on_gpus(&devices, texts), None);
    }
}

#[test]
fn gradients_accumulate_over_batches_as_in_one_process() {
    let groups = ["trainer.batch_size=13", "trainer.gradient_accumulation=5"];
    steps_like_one_process(3, &groups, |_| {});
}

#[test]
fn a_task_may_have_labels_on_one_rank_alone_or_on_none() {
    // What lies in the first half of the batch is rank 0's.
    let without = |prepared: &mut Prepared, task: usize, on: std::ops::Range<usize>| {
        let rows = prepared.plan(0).unwrap()[0].rows[on].to_vec();
        rows.into_iter().for_each(|row| prepared.sets[0].train[row].targets[task] = None);
    };
    for task in 0..3 {
        steps_like_one_process(2, &[], |prepared| without(prepared, task, 0..32));
        steps_like_one_process(2, &[], |prepared| without(prepared, task, 32..64));
        steps_like_one_process(3, &[], |prepared| without(prepared, task, 0..64));
    }
}

#[test]
fn a_rank_may_have_no_text() {
    for texts in [1, 2] {
        steps_like_one_process(3, &[], |prepared| prepared.sets[0].train.truncate(texts));
    }
}

/// With dropout and accumulation; a checkpoint is written by rank 0 alone, into its own folder.
fn train(workspace: &Workspace, ranks: usize) -> Vec<Vec<(String, Vec<u32>)>> {
    on_ranks(ranks, |rank| {
        let folder = workspace.model_folder(&format!("rank-{}-of-{ranks}", rank.rank()));
        let mut trainer = workspace.trainer().with_ranks(rank.clone());
        assert_eq!(trainer.run(&folder, &mut Silent).unwrap(), Ending::Finished);
        assert_eq!(folder.path().exists(), rank.rank() == 0);
        assert_eq!(trainer.progress().step, 6);
        bits(trainer.model().parameters())
    })
}

#[test]
fn all_ranks_hold_the_same_bits_in_every_run() {
    let assignments = ["trainer.gradient_accumulation=3", "trainer.epochs=2", "encoder.dropout=0.3"];
    let workspace = Workspace::new(&assignments);
    for ranks in [2, 3] {
        let trained = train(&workspace, ranks);
        assert!(trained.iter().all(|parameters| *parameters == trained[0]));
        assert!(train(&Workspace::new(&assignments), ranks) == trained, "another run of {ranks} ranks");
    }
}

/// All that two ranks say to each other while they train on two texts that are the same.
fn said(dropout: &str) -> Vec<Vec<Vec<u8>>> {
    let workspace = Workspace::new(&[&WITHOUT_DROPOUT[..], &["trainer.epochs=1", dropout]].concat());
    let run = |rank: Arc<Channels>| {
        let mut prepared = workspace.prepare().unwrap();
        let text = prepared.sets[0].train[0].clone();
        prepared.sets[0].train = vec![text.clone(), text];
        let trainer = Trainer::new(prepared, workspace.toml()).unwrap();
        let folder = workspace.model_folder("model");
        trainer.with_ranks(rank.clone()).run(&folder, &mut Silent).unwrap();
        rank.heard()
    };
    on_ranks(2, run).swap_remove(0)
}

#[test]
fn ranks_drop_different_values() {
    let alike = |said: Vec<Vec<Vec<u8>>>| said.iter().all(|given| given[0] == given[1]);
    assert!(alike(said("encoder.dropout=0.0")));
    assert!(!alike(said("encoder.dropout=0.3")));
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let workspace =
        Workspace::new(&[&WITHOUT_DROPOUT[..], &["optimizer.type=sgd", "trainer.epochs=3"]].concat());
    let straight = workspace.model_folder("straight");
    let mut expected = workspace.trainer();
    expected.run(&straight, &mut Silent).unwrap();

    let folder = workspace.model_folder("model");
    workspace.trainer().run(&folder, &mut StopAfter(5)).unwrap();
    // Rank 1 alone is asked to stop, in the middle of the second epoch.
    let endings = on_ranks(2, |rank| {
        let groups = if rank.rank() == 1 { 8 } else { 1000 };
        workspace.resume(&folder).unwrap().with_ranks(rank).run(&folder, &mut StopAfter(groups)).unwrap()
    });
    assert_eq!(endings, [Ending::Interrupted; 2]);
    let trained = on_ranks(3, |rank| {
        let mut trainer = workspace.resume(&folder).unwrap().with_ranks(rank.clone());
        assert_eq!((trainer.progress().epoch, trainer.progress().batch), (1, 5));
        assert_eq!(trainer.run(&folder, &mut Silent).unwrap(), Ending::Finished);
        trainer.model().parameters().clone()
    });
    for ((_, found), (_, one)) in trained[2].iter().zip(expected.model().parameters().iter()) {
        polytask_tensor::testing::assert_close(found.tensor().data(), one.tensor().data(), 1e-4);
    }
}

#[test]
fn all_ranks_stop_early_together() {
    let workspace = Workspace::new(&[
        "trainer.epochs=9",
        "trainer.early_stopping_patience=2",
        "trainer.learning_rate=1e-12",
    ]);
    let folder = workspace.model_folder("model");
    let epochs = on_ranks(2, |rank| {
        let mut trainer = workspace.trainer().with_ranks(rank);
        assert_eq!(trainer.run(&folder, &mut Silent).unwrap(), Ending::StoppedEarly);
        trainer.progress().epoch
    });
    assert_eq!(epochs, [3, 3]);
}

#[test]
fn ranks_that_differ_are_refused() {
    let errors = on_ranks(3, |rank| {
        let seed = if rank.rank() == 1 { "trainer.seed=8" } else { "trainer.seed=7" };
        let workspace = Workspace::new(&[seed]);
        let mut trainer = workspace.trainer().with_ranks(rank);
        trainer.run(&workspace.model_folder("model"), &mut Silent).unwrap_err()
    });
    for error in errors {
        assert!(matches!(error, Error::RanksDiffer { rank: 1 }));
        assert_says(
            &error.to_string(),
            &["rank 1 has other data, another configuration", "the same command"],
        );
    }
}
