//! What holds of ranks that are processes, whoever starts them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

use polytask_config::Document;
use polytask_trainer::{Ending, Trainer, with_absolute_paths};

use crate::{
    PLAIN_DESCENT, StopAfter, WITHOUT_DROPOUT, Workspace, assert_same_gradients, assert_says,
    gradients_of_one_step,
};

/// What starts ranks of a program.
#[derive(Clone, Copy, Debug)]
pub struct Launcher {
    /// Its path.
    pub program: &'static str,
    /// The command that runs a shell script as each of some ranks, with its number in `$RANK`.
    pub start: fn(ranks: usize, script: &str) -> Command,
}

impl Launcher {
    /// Each rank trains; its process id goes to the file `rank-$RANK`.
    pub fn train(self, workspace: &Workspace, ranks: usize, arguments: &str) -> Command {
        let program = self.program;
        let script =
            format!("echo $$ > rank-$RANK; exec {program} train polytask.toml --threads 1 {arguments}");
        let mut command = (self.start)(ranks, &script);
        command.current_dir(workspace.path());
        command
    }

    /// Two and three ranks take the step of one process, and rank 0 alone speaks.
    pub fn gradients_are_those_of_one_process(self) {
        let one_step = ["trainer.epochs=1", "trainer.batch_size=64"];
        let workspace = Workspace::new(&[&WITHOUT_DROPOUT[..], &PLAIN_DESCENT, &one_step].concat());
        let gradients = |folder: &str| {
            let folder = workspace.model_folder(folder);
            gradients_of_one_step(&folder, folder.load().unwrap().parameters())
        };
        workspace.train("alone").unwrap();
        for ranks in [2, 3] {
            let output = self.train(&workspace, ranks, &format!("--out of-{ranks}")).output().unwrap();
            assert!(output.status.success(), "{}", errors(&output));
            assert_same_gradients(&gradients(&format!("of-{ranks}")), &gradients("alone"));
            assert_eq!(errors(&output).lines().filter(|line| line.starts_with("epoch 1/1")).count(), 1);
            assert_eq!(String::from_utf8_lossy(&output.stdout).matches("model: of-").count(), 1);
        }
    }

    /// Ctrl-C in one rank ends all of them, after a checkpoint with which any number of ranks goes on.
    pub fn a_run_of_one_process_goes_on_with_two_and_then_with_three(self) {
        let workspace = Workspace::new(&["trainer.epochs=2000"]);
        let document = Document::read(&workspace.path().join("polytask.toml")).unwrap();
        let text = with_absolute_paths(&document, workspace.path()).unwrap();
        let mut alone = Trainer::new(workspace.prepare().unwrap(), text).unwrap();
        let ending = alone.run(&workspace.model_folder("model"), &mut StopAfter(11)).unwrap();
        assert_eq!((ending, epochs(&workspace)), (Ending::Interrupted, 1));
        let mut before = 1;
        for (ranks, rank) in [(2, 0), (3, 2)] {
            let (lines, code) = self.signalled(&workspace, ranks, "--out model --resume", "-INT", rank);
            assert_eq!(code, Some(130), "{lines}");
            assert_says(
                &lines,
                &["stopping after this batch", "the same command with --resume goes on from model"],
            );
            assert!(epochs(&workspace) > before, "{lines}");
            before = epochs(&workspace);
        }
    }

    /// Trains until the line of the first epoch, then sends one rank a signal; gives all lines on standard error and the exit
    /// code.
    fn signalled(
        self,
        workspace: &Workspace,
        ranks: usize,
        arguments: &str,
        signal: &str,
        rank: usize,
    ) -> (String, Option<i32>) {
        let mut command = self.train(workspace, ranks, arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut lines = String::new();
        while !lines.lines().last().is_some_and(|line| line.starts_with("epoch ")) {
            assert!(errors.read_line(&mut lines).unwrap() > 0, "{lines}");
        }
        let id = fs::read_to_string(workspace.path().join(format!("rank-{rank}"))).unwrap();
        assert!(Command::new("kill").args([signal, id.trim()]).status().unwrap().success());
        errors.read_to_string(&mut lines).unwrap();
        (lines, child.wait().unwrap().code())
    }

    /// One that fails before it trains while the others wait, and one whose configuration is another.
    pub fn a_rank_that_fails_ends_all(self) {
        let workspace = Workspace::new(&["trainer.epochs=2000"]);
        let out = "--out $([ $RANK = 1 ] && echo nowhere --resume || echo model)";
        let output = self.train(&workspace, 2, out).output().unwrap();
        assert!(!output.status.success());
        let missing = "rank 1: error: nowhere/checkpoint.safetensors: no checkpoint to resume from";
        assert_says(&errors(&output), &[missing]);

        let seed = "--out other --set trainer.seed=$RANK";
        let output = self.train(&workspace, 2, seed).output().unwrap();
        assert!(!output.status.success());
        assert_says(&errors(&output), &["error: rank 1 has other data, another configuration"]);
        assert!(!workspace.path().join("other/checkpoint.safetensors").exists());
    }

    /// One that ends in the middle of training without a word leaves none waiting; gives what the others said.
    pub fn errors_where_one_of_three_is_killed(self) -> String {
        let workspace = Workspace::new(&["trainer.epochs=2000"]);
        let (lines, code) = self.signalled(&workspace, 3, "--out model", "-KILL", 2);
        assert!(code.is_some_and(|code| code != 0), "{lines}");
        lines
    }
}

/// What was said on standard error.
fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn epochs(workspace: &Workspace) -> usize {
    let history = fs::read_to_string(workspace.path().join("model/history.json")).unwrap();
    serde_json::from_str::<Vec<serde_json::Value>>(&history).unwrap().len()
}
