//! Ranks that `mpirun` starts: the program as users run it, over MPI.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

use polytask_config::Document;
use polytask_tests::{
    PLAIN_DESCENT, StopAfter, WITHOUT_DROPOUT, Workspace, assert_same_gradients, assert_says,
    gradients_of_one_step,
};
use polytask_trainer::{Ending, Trainer, with_absolute_paths};

/// Without a network, as root, on fewer cores than ranks, and without what containers forbid.
const MPIRUN: [&str; 11] = [
    "--allow-run-as-root",
    "--oversubscribe",
    "--bind-to",
    "none",
    "--mca",
    "btl",
    "self,vader",
    "--mca",
    "btl_vader_single_copy_mechanism",
    "none",
    "--quiet",
];

/// What each rank runs: `$RANK` is its number, and its process id goes to the file `rank-$RANK`.
fn mpirun(workspace: &Workspace, ranks: usize, arguments: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_polytask-under-test");
    let script = format!(
        "RANK=$OMPI_COMM_WORLD_RANK; echo $$ > rank-$RANK; exec {program} train polytask.toml --threads 1 {arguments}"
    );
    let mut command = Command::new("mpirun");
    command.args(MPIRUN).args(["-n", &ranks.to_string(), "sh", "-c", &script]);
    command.current_dir(workspace.path());
    command
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn gradients_are_those_of_one_process() {
    let one_step = ["trainer.epochs=1", "trainer.batch_size=64"];
    let workspace = Workspace::new(&[&WITHOUT_DROPOUT[..], &PLAIN_DESCENT, &one_step].concat());
    let gradients = |folder: &str| {
        let folder = workspace.model_folder(folder);
        gradients_of_one_step(&folder, folder.load().unwrap().parameters())
    };
    workspace.train("alone").unwrap();
    for ranks in [2, 3] {
        let output = mpirun(&workspace, ranks, &format!("--out of-{ranks}")).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        assert_same_gradients(&gradients(&format!("of-{ranks}")), &gradients("alone"));
        // Rank 0 alone speaks.
        assert_eq!(errors(&output).lines().filter(|line| line.starts_with("epoch 1/1")).count(), 1);
        assert_eq!(String::from_utf8_lossy(&output.stdout).matches("model: of-").count(), 1);
    }
}

/// Trains until the line of the first epoch, then presses Ctrl-C in one rank; gives all lines on standard error.
fn interrupted(workspace: &Workspace, ranks: usize, rank: usize) -> String {
    let mut child = mpirun(workspace, ranks, "--out model --resume")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.lines().last().is_some_and(|line| line.starts_with("epoch ")) {
        assert!(errors.read_line(&mut lines).unwrap() > 0, "{lines}");
    }
    let id = fs::read_to_string(workspace.path().join(format!("rank-{rank}"))).unwrap();
    assert!(Command::new("kill").args(["-INT", id.trim()]).status().unwrap().success());
    errors.read_to_string(&mut lines).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{lines}");
    lines
}

fn epochs(workspace: &Workspace) -> usize {
    let history = fs::read_to_string(workspace.path().join("model/history.json")).unwrap();
    serde_json::from_str::<Vec<serde_json::Value>>(&history).unwrap().len()
}

#[test]
fn a_run_of_one_process_goes_on_with_two_and_then_with_three() {
    let workspace = Workspace::new(&["trainer.epochs=2000"]);
    let document = Document::read(&workspace.path().join("polytask.toml")).unwrap();
    let text = with_absolute_paths(&document, workspace.path()).unwrap();
    let mut alone = Trainer::new(workspace.prepare().unwrap(), text).unwrap();
    let ending = alone.run(&workspace.model_folder("model"), &mut StopAfter(11)).unwrap();
    assert_eq!((ending, epochs(&workspace)), (Ending::Interrupted, 1));
    let mut before = 1;
    for (ranks, rank) in [(2, 0), (3, 2)] {
        let lines = interrupted(&workspace, ranks, rank);
        assert_says(
            &lines,
            &["stopping after this batch", "the same command with --resume goes on from model"],
        );
        assert!(epochs(&workspace) > before, "{lines}");
        before = epochs(&workspace);
    }
}

/// The others wait for it in the middle of a sum.
#[test]
fn a_rank_that_fails_ends_all() {
    let workspace = Workspace::new(&["trainer.epochs=2000"]);
    let out = "--out $([ $RANK = 1 ] && echo nowhere --resume || echo model)";
    let output = mpirun(&workspace, 2, out).output().unwrap();
    assert!(!output.status.success());
    let missing = "rank 1: error: nowhere/checkpoint.safetensors: no checkpoint to resume from";
    assert_says(&errors(&output), &[missing]);

    let seed = "--out other --set trainer.seed=$RANK";
    let output = mpirun(&workspace, 2, seed).output().unwrap();
    assert!(!output.status.success());
    assert_says(&errors(&output), &["error: rank 1 has other data, another configuration"]);
    assert!(!workspace.path().join("other/checkpoint.safetensors").exists());
}

#[test]
fn another_launcher_is_refused() {
    let workspace = Workspace::new(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_polytask-under-test"));
    command.args(["train", "polytask.toml", "--out", "model"]).current_dir(workspace.path());
    let output = command.env("WORLD_SIZE", "2").env("RANK", "0").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(&errors(&output), &["`WORLD_SIZE` says that 2 ranks were started, but MPI found 1"]);
    assert!(!workspace.path().join("model").exists());
}
