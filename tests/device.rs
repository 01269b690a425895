//! Devices: the same training on a GPU as on the processor, and what is said where there is none.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::process::Command;

use polytask_model::ModelFolder;
use polytask_tensor::Device;
use polytask_tensor::testing::{accelerators, assert_close, graph_counts};
use polytask_tests::Workspace;
use polytask_trainer::{EpochRecord, Silent};

/// Two epochs of eight steps each on a device, and the model that came of them.
fn trained_on(device: Device, assignments: &[&str]) -> (Vec<EpochRecord>, ModelFolder, Workspace) {
    let device = format!("trainer.device={device}");
    let workspace = Workspace::new(&[assignments, &[&device]].concat());
    let folder = workspace.model_folder("model");
    let mut trainer = workspace.trainer();
    trainer.run(&folder, &mut Silent).unwrap();
    (trainer.progress().history.clone(), folder, workspace)
}

/// With dropout, averaged weights, clipping and means over two batches: all that takes part in training.
#[test]
fn a_gpu_follows_the_loss_curve_of_the_processor() {
    for assignments in
        [&["trainer.weight_averaging=0.9"][..], &["optimizer.type=sgd", "trainer.gradient_accumulation=2"]]
    {
        let (expected, ..) = trained_on(Device::Cpu, assignments);
        for device in accelerators() {
            let (found, ..) = trained_on(device, assignments);
            for (found, expected) in found.iter().zip(&expected) {
                let losses = |record: &EpochRecord| {
                    record.losses.iter().map(|(_, loss)| *loss as f32).collect::<Vec<_>>()
                };
                // Sixteen steps, each off by some 1e-6 of its size.
                assert_close(&losses(found), &losses(expected), 1e-3);
            }
        }
    }
}

/// Steps as graphs: with averaged weights; with several batches a step; with a layer's inside computed again.
#[test]
fn steps_that_are_graphs_end_with_the_same_weights_to_the_bit() {
    let in_all_forms: [(&[&str], u64); 3] = [
        (&["trainer.weight_averaging=0.9"], 16),
        (&["optimizer.type=sgd", "trainer.gradient_accumulation=3", "tasks.entities.decoder=crf"], 6),
        (&["trainer.precision=bf16", "encoder.recompute_activations=true"], 16),
    ];
    for (device, (assignments, steps)) in
        accelerators().flat_map(|device| in_all_forms.map(|form| (device, form)))
    {
        let weights = |graphs: &str| -> Vec<u32> {
            let (_, folder, _workspace) = trained_on(device, &[assignments, &[graphs]].concat());
            let model = folder.load().unwrap();
            let values =
                model.parameters().iter().flat_map(|(_, parameter)| parameter.tensor().data().to_vec());
            values.map(f32::to_bits).collect()
        };
        let expected = weights("trainer.cuda_graphs=false");
        let before = graph_counts(device).unwrap().launched;
        let found = weights("trainer.cuda_graphs=true");
        assert!(graph_counts(device).unwrap().launched - before >= steps, "{device}");
        assert!(found == expected, "{device}, {assignments:?}");
    }
}

#[test]
fn a_model_answers_alike_on_every_device() {
    let (_, folder, workspace) = trained_on(Device::Cpu, &[]);
    let texts = ["where is my order", "the invoice is wrong and nobody answers", ""];
    let answers = |device| {
        let mut model = folder.load().unwrap();
        model.parameters_mut().move_to(device).unwrap();
        let tasks = model.tasks_named(&[]).unwrap();
        let answers = model.predict(&texts, &tasks, false).unwrap();
        // Confidences are rounded, since their last digits differ.
        answers.iter().map(|answer| serde_json::to_value(answer).unwrap()).map(rounded).collect::<Vec<_>>()
    };
    let expected = answers(Device::Cpu);
    accelerators().for_each(|device| assert_eq!(answers(device), expected, "{device}"));
    drop(workspace);
}

/// The same with numbers of three decimals.
fn rounded(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => ((number.as_f64().unwrap() * 1e3).round() / 1e3).into(),
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(values) => values.into_iter().map(|(key, value)| (key, rounded(value))).collect(),
        other => other,
    }
}

/// Where there is a GPU, one of a number that no machine has.
#[test]
fn a_gpu_that_is_not_there_is_an_error_that_says_what_is_missing() {
    let device = if Device::Cuda(0).open().is_ok() { "cuda:4096" } else { "cuda" };
    let workspace = Workspace::new(&[]);
    let configuration = workspace.path().join("train.toml");
    std::fs::write(&configuration, workspace.toml()).unwrap();
    let run = |device: &str| {
        let out = workspace.path().join(device.replace(':', "-"));
        let arguments = ["--set", "trainer.epochs=1", "--device", device, "--out"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_polytask-under-test"));
        let output = command.arg("train").arg(&configuration).args(arguments).arg(&out).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap(), out)
    };
    let (is_success, message, out) = run(device);
    assert!(!is_success && !out.exists(), "{message}");
    let expected =
        ["no NVIDIA driver was found", "there is no GPU of this number", "the driver sees no NVIDIA GPU"];
    assert!(expected.iter().any(|expected| message.contains(expected)), "{message}");
    assert!(message.contains("cuda:"), "{message}");

    let (is_success, message, _) = run("auto");
    assert!(is_success, "{message}");
    let line = message.lines().find(|line| line.starts_with("device: ")).unwrap();
    let is_on_gpu = line.starts_with("device: cuda:0");
    assert!(is_on_gpu || line.starts_with("device: cpu (cuda:0: "), "{line}");

    let (is_success, message, _) = run("gpu");
    assert!(!is_success && message.contains("cuda:NUMBER"), "{message}");
}
