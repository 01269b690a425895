//! A training loop hands its memory on from step to step.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use polytask_tensor::memory;
use polytask_tests::Workspace;
use polytask_trainer::{EpochRecord, Observer};

/// How often each epoch had to ask the allocator for a tensor's values.
#[derive(Default)]
struct Allocations {
    before: u64,
    of_epochs: Vec<u64>,
}

impl Observer for Allocations {
    fn epoch(&mut self, _record: &EpochRecord, _best: bool) {
        let allocations = memory::statistics().allocations;
        self.of_epochs.push(allocations - self.before);
        self.before = allocations;
    }
}

/// Batches differ in their pieces, so the first epochs find out how long the longest are.
#[test]
fn after_the_first_epochs_nothing_is_allocated_for_tensors() {
    let wide = ["encoder.width=128", "encoder.heads=4", "trainer.batch_size=16", "trainer.epochs=8"];
    let workspace = Workspace::new(&wide);
    let folder = workspace.model_folder("model");
    let mut allocations = Allocations { before: memory::statistics().allocations, of_epochs: Vec::new() };
    workspace.trainer().run(&folder, &mut allocations).unwrap();
    let (first, last) = (allocations.of_epochs[0], &allocations.of_epochs[5..]);
    assert!(first > 50, "the test is too small to tell: {first}");
    assert!(last.iter().all(|count| count * 50 < first), "{:?}", allocations.of_epochs);
}
