//! The number of threads decides nothing: the same bits on 1, 2 and 4.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use polytask_tests::{Workspace, answers, bits, texts, without_seconds};
use polytask_trainer::Silent;

/// Wide enough, and with enough texts a batch, that every operation splits its work.
const ASSIGNMENTS: [&str; 5] = [
    "encoder.width=64",
    "encoder.heads=4",
    "trainer.batch_size=64",
    "trainer.epochs=2",
    "trainer.learning_rate=1e-2",
];

#[test]
fn training_gives_the_same_model_on_any_number_of_threads() {
    same_on_threads(&Workspace::new(&ASSIGNMENTS));
}

#[test]
fn training_in_bf16_with_recomputed_activations_does_so_too() {
    let more = ["trainer.precision=bf16", "encoder.recompute_activations=true"];
    same_on_threads(&Workspace::new(&[&ASSIGNMENTS[..], &more].concat()));
}

fn same_on_threads(workspace: &Workspace) {
    let train = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let folder = workspace.model_folder(&format!("on-{threads}-threads"));
            let mut trainer = workspace.trainer();
            trainer.run(&folder, &mut Silent).unwrap();
            let answers = answers(&folder, &texts(), &[]);
            (bits(trainer.model().parameters()), without_seconds(trainer.progress()), answers)
        })
    };
    let one = train(1);
    for threads in [2, 4] {
        let several = train(threads);
        for ((name, one), (_, several)) in one.0.iter().zip(&several.0) {
            assert!(one == several, "{name} differs on {threads} threads");
        }
        assert_eq!(one.1, several.1, "losses and metrics on {threads} threads");
        assert_eq!(one.2, several.2, "answers on {threads} threads");
    }
}
