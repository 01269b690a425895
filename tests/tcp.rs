//! Ranks that find each other by the variables that `torchrun` sets: the program as users run it, over TCP.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::net::TcpListener;
use std::process::Command;

use polytask_tests::{Launcher, Workspace, assert_says};

const LAUNCHER: Launcher = Launcher { program: env!("CARGO_BIN_EXE_polytask-under-test"), start };

/// One process a rank, as `torchrun` starts them; the exit code is that of the last one that failed.
fn start(ranks: usize, script: &str) -> Command {
    let all = format!(
        r#"ids=; for rank in $(seq 0 {}); do RANK=$rank sh -c "$0" & ids="$ids $!"; done
        code=0; for id in $ids; do wait $id || code=$?; done; exit $code"#,
        ranks - 1
    );
    let mut command = Command::new("sh");
    command.args(["-c", &all, script]).env("WORLD_SIZE", ranks.to_string());
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", free_port());
    command
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[test]
fn gradients_are_those_of_one_process() {
    LAUNCHER.gradients_are_those_of_one_process();
}

#[test]
fn a_run_of_one_process_goes_on_with_two_and_then_with_three() {
    LAUNCHER.a_run_of_one_process_goes_on_with_two_and_then_with_three();
}

#[test]
fn a_rank_that_fails_ends_all() {
    LAUNCHER.a_rank_that_fails_ends_all();
}

#[test]
fn a_rank_that_is_killed_is_named_by_all_others() {
    let errors = LAUNCHER.errors_where_one_of_three_is_killed();
    for rank in [0, 1] {
        assert_says(
            &errors,
            &[&format!("rank {rank}: error: communication between ranks: rank 2 was lost: ")],
        );
    }
}

#[test]
fn a_launcher_that_leaves_a_variable_out_is_refused() {
    let workspace = Workspace::new(&[]);
    let mut command = LAUNCHER.train(&workspace, 2, "--out model");
    let output = command.env_remove("MASTER_ADDR").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_says(&errors, &["`WORLD_SIZE` says that 2 ranks were started, but `MASTER_ADDR` is missing"]);
    assert!(!workspace.path().join("model").exists());
}
