//! Ranks that `mpirun` starts: the program as users run it, over MPI.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::process::Command;

use polytask_tests::{Launcher, Workspace, assert_says};

const LAUNCHER: Launcher = Launcher { program: env!("CARGO_BIN_EXE_polytask-under-test"), start };

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

fn start(ranks: usize, script: &str) -> Command {
    let script = format!("RANK=$OMPI_COMM_WORLD_RANK; {script}");
    let mut command = Command::new("mpirun");
    command.args(MPIRUN).args(["-n", &ranks.to_string(), "sh", "-c", &script]);
    command
}

#[test]
fn gradients_are_those_of_one_process() {
    LAUNCHER.gradients_are_those_of_one_process();
}

#[test]
fn a_run_of_one_process_goes_on_with_two_and_then_with_three() {
    LAUNCHER.a_run_of_one_process_goes_on_with_two_and_then_with_three();
}

/// The others wait for it in the middle of a sum.
#[test]
fn a_rank_that_fails_ends_all() {
    LAUNCHER.a_rank_that_fails_ends_all();
}

#[test]
fn another_launcher_is_refused() {
    let workspace = Workspace::new(&[]);
    let mut command = Command::new(LAUNCHER.program);
    command.args(["train", "polytask.toml", "--out", "model"]).current_dir(workspace.path());
    let output = command.env("PMI_SIZE", "2").env("PMI_RANK", "0").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_says(&errors, &["`PMI_SIZE` says that 2 ranks were started, but MPI found 1"]);
    assert!(!workspace.path().join("model").exists());
}
