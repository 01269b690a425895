//! Ctrl-C while training.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{json, polytask, project};

/// Trains until the line of the first epoch on standard error, then presses Ctrl-C; gives the exit code and all further lines.
fn interrupted(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = polytask(folder, arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut rest = String::new();
    while !rest.lines().last().is_some_and(|line| line.starts_with("epoch ")) {
        assert!(errors.read_line(&mut rest).unwrap() > 0, "{rest}");
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    errors.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap().code(), rest)
}

fn epochs(folder: &Path) -> usize {
    json(&std::fs::read_to_string(folder.join("model/history.json")).unwrap()).as_array().unwrap().len()
}

#[test]
fn ctrl_c_leaves_a_checkpoint_to_go_on_from() {
    let folder = project();
    let folder = folder.path();
    let arguments = ["train", "train.toml", "--out", "model", "--set", "trainer.epochs=1000000"];
    let (code, errors) = interrupted(folder, &arguments);
    assert_eq!(code, Some(130), "{errors}");
    assert!(
        errors.contains("stopping after this batch") && errors.contains("with --resume goes on"),
        "{errors}"
    );
    assert!(folder.join("model/checkpoint.safetensors").exists());
    let before = epochs(folder);

    let (code, errors) = interrupted(folder, &[&arguments[..], &["--resume"]].concat());
    assert_eq!(code, Some(130), "{errors}");
    assert!(epochs(folder) > before, "{before} epochs before");
}
