//! A training step on a GPU: alone in its program, since it counts what is fetched from the device, and graphs.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use polytask_model::{Example, Model};
use polytask_tensor::testing::{accelerators, downloads, graph_counts};
use polytask_tensor::{Capture, Gradient, GradientNorm, ParameterId, Pass, Tensor, average_on_gpu, ops};
use polytask_tests::{CONFIGURATION, Workspace};
use polytask_trainer::{OptimizerState, Update};

/// The layers and heads of a transformer from scratch, and of two families of pretrained ones, in many forms.
fn workspaces() -> Vec<Workspace> {
    let own: [&[&str]; 4] = [
        &["tasks.entities.decoder=softmax"],
        &["tasks.entities.decoder=crf", "encoder.norm=post", "encoder.layers=2"],
        &["encoder.recompute_activations=true", "trainer.precision=bf16"],
        &["trainer.precision=bf16", "task_attention.pooling=mean"],
    ];
    let pretrained: [(&str, &[&str]); 4] = [
        ("bert", &["task_attention.layer_mix=true"]),
        ("bert", &["adapters.lora_rank=2", "adapters.lora_dropout=0.1"]),
        ("modernbert", &["adapters.bottleneck=4", "adapters.per_task=true"]),
        ("modernbert", &["trainer.precision=tf32"]),
    ];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/pretrained");
    let of_family = |(family, assignments): (&str, &[&str])| {
        let configuration = CONFIGURATION.split_once("[[data]]").unwrap().1;
        let encoder = format!("[encoder]\ntype = 'pretrained'\npath = '{folder}/{family}'\n");
        Workspace::with(&format!("{encoder}\n[[data]]{configuration}"), assignments)
    };
    own.into_iter().map(Workspace::new).chain(pretrained.into_iter().map(of_family)).collect()
}

/// Forward, losses, backward, norm, optimizer and average; for what it fetched a step would wait, and end its graph.
#[test]
fn a_step_on_a_gpu_fetches_nothing_and_is_one_graph() {
    let workspaces = workspaces();
    for (device, workspace) in accelerators().flat_map(|device| workspaces.iter().map(move |w| (device, w))) {
        let mut prepared = workspace.prepare().unwrap();
        let mut average = prepared.model.parameters().clone();
        prepared.model.parameters_mut().move_to(device).unwrap();
        let mut state = OptimizerState::new(prepared.optimizer.as_ref(), prepared.model.parameters());
        state.move_to(device).unwrap();
        let examples: Vec<&Example> = prepared.sets[0].train.iter().take(6).collect();
        for step in 1..=2 {
            let (before, graphs) = (downloads(device).unwrap(), || graph_counts(device).unwrap().launched);
            let (graphs_before, capture) = (graphs(), Capture::begin(device).unwrap().unwrap());
            let sum = summed_losses(&prepared.model, &examples, Pass::training(1, step));
            let mut gradients = sum.backward().unwrap();
            let parameters = prepared.model.parameters_mut();
            let gradients: Vec<(ParameterId, Gradient)> = parameters
                .iter()
                .filter_map(|(id, parameter)| Some((id, gradients.take(parameter.tensor())?)))
                .collect();
            let norm = GradientNorm::of(gradients.iter().map(|(_, g)| g), 1, 1.0).unwrap().unwrap();
            let update = Update { learning_rate: 1e-3, step, gradient_factor: 1.0, decays: true };
            let optimizer = prepared.optimizer.as_ref();
            state.apply_on_gpu(optimizer, parameters, &gradients, update, &norm).unwrap();
            assert!(average_on_gpu(&mut average, parameters, 0.9).unwrap());
            assert_eq!(downloads(device).unwrap(), before, "{device}, step {step} of\n{}", workspace.toml());
            assert_eq!(graphs(), graphs_before, "{device}, step {step} of\n{}", workspace.toml());
            capture.launch().unwrap();
            assert_eq!(graphs(), graphs_before + 1);
            assert!(norm.value() > 0.0);
        }
    }
}

fn summed_losses(model: &Model, examples: &[&Example], mut pass: Pass) -> Tensor {
    let batch = model.labelled_batch(examples);
    let forward = model.forward(model.parameters(), &batch.texts, &batch.labelled, &mut pass).unwrap();
    let losses = forward.outputs.iter().enumerate().filter_map(|(task, output)| {
        let (output, targets) = (output.as_ref()?, batch.targets[task].iter().collect::<Vec<_>>());
        let loss =
            model.with_task(task, model.parameters(), output, |task, output| task.loss(output, &targets));
        Some(loss.unwrap())
    });
    losses.reduce(|sum, loss| ops::add(&sum, &loss).unwrap()).unwrap()
}
