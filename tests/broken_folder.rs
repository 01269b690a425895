//! Folders that cannot be written to, and files in them that are damaged: an error that names the file, and nothing lost.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::fs;
use std::process::Command;

use polytask_model::ModelFolder;
use polytask_tests::{AfterEpoch, Workspace, answers, assert_says, bits, files, tensor_bytes, texts};
use polytask_trainer::Silent;

fn trained() -> (Workspace, ModelFolder) {
    let workspace = Workspace::new(&["trainer.epochs=1"]);
    let folder = workspace.train("model").unwrap();
    (workspace, folder)
}

#[test]
fn a_file_in_place_of_the_folder() {
    let workspace = Workspace::new(&[]);
    let file = workspace.write("model", "a file");
    let message = workspace.train("model").unwrap_err().to_string();
    assert_says(&message, &[&format!("{}/config.toml: ", file.display()), "os error"]);
    assert_eq!(fs::read_to_string(file).unwrap(), "a file");
}

/// `/dev/full` takes no byte: every write there fails as on a full disk.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_loses_nothing() {
    // Several, since the model is only written where an epoch is better than all before.
    let epochs = ["trainer.epochs=6"];
    let straight = Workspace::new(&epochs);
    let expected = straight.train("model").unwrap();
    for name in [
        "model.json",
        "tokenizer.json",
        "model.safetensors",
        "metrics.json",
        "history.json",
        "checkpoint.safetensors",
    ] {
        let workspace = Workspace::new(&epochs);
        let folder = workspace.model_folder("model");
        let temporary = folder.path().join(format!("{name}.tmp"));
        let mut fill = AfterEpoch(1, || std::os::unix::fs::symlink("/dev/full", &temporary).unwrap());
        let message = workspace.trainer().run(&folder, &mut fill).unwrap_err().to_string();
        assert_says(&message, &[name, "No space left on device"]);
        assert!(
            files(folder.path()).keys().all(|file| !file.ends_with(".tmp")),
            "{name}: half a file was left"
        );
        answers(&folder, &texts(), &[]);

        workspace.resume(&folder).unwrap().run(&folder, &mut Silent).unwrap();
        assert!(tensor_bytes(&folder.checkpoint()) == tensor_bytes(&expected.checkpoint()), "{name}");
        assert_eq!(
            bits(folder.load().unwrap().parameters()),
            bits(expected.load().unwrap().parameters()),
            "{name}"
        );
    }
}

/// The same through the program, with a limit that the checkpoint reaches in its middle and the model does not.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_fills_up_within_a_file() {
    let (workspace, folder) = trained();
    let size = |file: &str| fs::metadata(folder.path().join(file)).unwrap().len();
    // In blocks of 512 bytes.
    let limit = (size("model.safetensors") + size("checkpoint.safetensors")) / 2 / 512;
    let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" train polytask.toml --out full");
    let mut command = Command::new("sh");
    let command = command.args(["-c", &script, env!("CARGO_BIN_EXE_polytask-under-test")]);
    let output = command.current_dir(workspace.path()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_says(&errors, &["error: ", "full/checkpoint.safetensors", "File too large"]);
    let full = workspace.model_folder("full");
    assert_eq!(answers(&full, &texts(), &[]), answers(&folder, &texts(), &[]));
    assert!(files(full.path()).keys().all(|file| !file.contains("checkpoint")), "half a file was left");
}

#[test]
fn a_damaged_checkpoint() {
    let (workspace, folder) = trained();
    let model = folder.path().join("model.safetensors");
    let sound = fs::read(folder.checkpoint()).unwrap();
    let damages = [
        (sound[..sound.len() / 2].to_vec(), "damaged or not a safetensors file"),
        (sound[..5].to_vec(), "damaged or not a safetensors file"),
        (Vec::new(), "damaged or not a safetensors file"),
        (b"garbage, garbage, garbage".to_vec(), "damaged or not a safetensors file"),
        (fs::read(&model).unwrap(), "its header holds no training state"),
    ];
    for (bytes, expected) in damages {
        fs::write(folder.checkpoint(), bytes).unwrap();
        let message = workspace.resume(&folder).unwrap_err().to_string();
        assert_says(&message, &["checkpoint.safetensors: ", expected]);
    }
    // The model needs no checkpoint.
    answers(&folder, &texts(), &[]);
}

/// The error of loading the folder with one file replaced.
fn refusal(file: &str, change: impl Fn(&str) -> Vec<u8>) -> String {
    let (_workspace, folder) = trained();
    let path = folder.path().join(file);
    let content = change(&String::from_utf8_lossy(&fs::read(&path).unwrap()));
    fs::write(path, content).unwrap();
    folder.load().unwrap_err().to_string()
}

fn replaced(file: &str, from: &str, to: &str) -> String {
    refusal(file, |content| {
        assert!(content.contains(from), "{file} has no {from}: {content}");
        content.replacen(from, to, 1).into_bytes()
    })
}

#[test]
fn damaged_files_of_a_model() {
    for file in ["model.json", "tokenizer.json"] {
        let message = refusal(file, |content| content.as_bytes()[..content.len() / 2].to_vec());
        assert_says(&message, &[&format!("/{file}: damaged: "), "line"]);
        assert_says(&refusal(file, |_| b"garbage".to_vec()), &[&format!("/{file}: damaged: ")]);
    }
    let cut = refusal("model.safetensors", |content| content.as_bytes()[..content.len() / 3].to_vec());
    assert_says(&cut, &["/model.safetensors: damaged or not a safetensors file"]);
    let garbage = refusal("model.safetensors", |_| b"garbage, garbage, garbage".to_vec());
    assert_says(&garbage, &["/model.safetensors: damaged or not a safetensors file"]);
}

#[test]
fn files_that_do_not_belong_together() {
    let message = replaced("model.json", "\"width\": 16", "\"width\": 32");
    assert_says(
        &message,
        &["model.safetensors: encoder.embeddings.", "16]", "this configuration needs", "32]"],
    );
    let message = replaced("model.json", "\"layers\": 1", "\"layers\": 2");
    assert_says(&message, &["model.safetensors: tensor `encoder.layers.1.", "` is missing"]);
    let message = replaced("model.json", "\"type\": \"ner\"", "\"type\": \"rating\"");
    let expected = "model.json: a type in it is not linked into this program (`use CRATE as _;` links it): unknown task \
                    type `rating` (known: classification, ner, sentiment)";
    assert_says(&message, &[expected]);
    let message = replaced("model.json", "\"type\": \"transformer\"", "\"type\": \"transfomer\"");
    assert_says(&message, &["unknown encoder type `transfomer`", "did you mean `transformer`?"]);
}

#[test]
fn a_folder_of_a_newer_version() {
    let message = replaced("model.json", "\"format_version\": 1", "\"format_version\": 7, \"new\": {}");
    assert_says(
        &message,
        &["model.json: model format 7, but this polytask reads up to format 1", "newer polytask"],
    );
}

#[test]
fn files_that_are_missing() {
    for file in ["model.json", "tokenizer.json", "model.safetensors"] {
        let (_workspace, folder) = trained();
        fs::remove_file(folder.path().join(file)).unwrap();
        let message = folder.load().unwrap_err().to_string();
        assert_says(&message, &[&format!("no model here ({file} is missing)"), "polytask train"]);
    }
}
