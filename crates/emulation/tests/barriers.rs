//! Threads that wait for each other, or fail to.

mod common;

use common::{ORDERS, run};
use polytask_emulation::{Error, Order, Result, launch};

/// A kernel that writes 4 bytes a thread, behind them its other arguments, if any.
fn integers(kernel: &str, grid: [u32; 2], shared: u32, others: &[i32], order: Order) -> Result<Vec<i32>> {
    let mut out = vec![-1; (grid[0] * grid[1]) as usize];
    let pointer = out.as_mut_ptr();
    let mut arguments = arguments![pointer].to_vec();
    arguments.extend(others.iter().map(|other| (&raw const *other).cast_mut().cast()));
    // SAFETY: `out` has a value for each thread; the others are integers, as the kernels have them.
    unsafe { run(kernel, grid, shared, &mut arguments, order) }?;
    Ok(out)
}

#[test]
fn a_thread_that_returned_counts_as_arrived() {
    for order in ORDERS {
        let out = integers("early_return", [2, 70], 70 * 4, &[50], order).unwrap();
        let expected = (0..50).map(|i| (i + 1) % 50).collect::<Vec<_>>();
        assert_eq!(out[..50], expected);
        assert!(out[50..].iter().all(|value| *value == -1));
    }
}

#[test]
fn a_race_differs_between_the_orders() {
    let [ascending, descending] = ORDERS.map(|order| integers("race", [1, 64], 64 * 4, &[], order).unwrap());
    assert_ne!(ascending, descending);
    let [ascending, descending] =
        ORDERS.map(|order| integers("race_of_blocks", [9, 1], 0, &[], order).unwrap());
    assert_eq!((ascending[0], descending[0]), (8, 0));
}

#[test]
fn a_barrier_that_never_completes_is_an_error() {
    let error = integers("block_barrier_beside_warp_barrier", [3, 32], 0, &[], Order::Ascending).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Deadlock { .. }));
    for part in
        ["block (0, 0, 0)", "16 threads from (0, 0, 0) at the block barrier of barriers.cu:", "0xffffffff"]
    {
        assert!(text.contains(part), "{text}");
    }
    // The thread of the operating system is as good as new.
    integers("early_return", [1, 32], 32 * 4, &[32], Order::Ascending).unwrap();
}

#[test]
fn threads_at_different_barriers_are_an_error() {
    for (kernel, part) in [
        ("two_barriers", "16 threads from (16, 0, 0) at the block barrier"),
        ("shuffle_beside_ballot", "different operations meet"),
        ("lane_outside_its_mask", "lane 16 is not in its own mask"),
    ] {
        let error = integers(kernel, [1, 32], 0, &[], Order::Ascending).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Divergence { .. }));
        assert!(text.contains(kernel) && text.contains(part), "{text}");
    }
    let error = integers("sum_of_warp", [1, 48], 0, &[], Order::Ascending).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Divergence { .. }));
    assert!(text.contains("reads one that takes no part"), "{text}");
}

#[test]
fn writing_behind_the_shared_memory_is_an_error() {
    assert_eq!(
        integers("write_shared", [1, 8], 64, &[16], Order::Ascending).unwrap(),
        (0..8).collect::<Vec<_>>()
    );
    for (shared, count) in [(64, 17), (0, 8)] {
        let error = integers("write_shared", [2, 8], shared, &[count], Order::Ascending).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Overrun { .. }));
        assert!(text.contains(&format!("the {shared} bytes of dynamic shared memory")), "{text}");
    }
}

#[test]
fn local_arrays_beyond_the_stack_are_an_error() {
    let error = integers("deep_stack", [1, 2], 0, &[], Order::Ascending).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Overrun { .. }));
    assert!(text.contains("bytes of stack"), "{text}");
}

#[test]
fn shared_memory_that_nobody_wrote_is_nan() {
    let out = integers("read_unwritten", [3, 4], 16, &[], Order::Ascending).unwrap();
    assert!(out[..4].iter().all(|bits| f32::from_bits(*bits as u32).is_nan()));
}

#[test]
fn many_barriers_of_the_largest_block_on_several_threads() {
    std::thread::scope(|scope| {
        for rounds in [5, 20] {
            scope.spawn(move || {
                for order in ORDERS {
                    let out = integers("many_rounds", [4, 1024], 4096, &[rounds], order).unwrap();
                    assert!(out.iter().all(|sum| *sum == rounds * (rounds - 1) / 2));
                }
            });
        }
    });
}

#[test]
fn a_launch_that_no_gpu_takes_is_an_error() {
    let out = [0_i32; 4];
    let pointer = out.as_ptr();
    let try_launch = |kernel: &str, grid, block, shared_bytes| {
        // SAFETY: none of them gets as far as running.
        unsafe { launch(kernel, grid, block, shared_bytes, &mut arguments![pointer], Order::Ascending) }
            .unwrap_err()
    };
    let (one, race) = ([1, 1, 1], "race_of_blocks");
    let unknown = try_launch("race_of_bloks", one, one, 0).to_string();
    assert!(unknown.contains("did you mean `race_of_blocks`?"), "{unknown}");
    for block in [[1025, 1, 1], [32, 33, 1], [1, 1, 65], [0, 1, 1], [u32::MAX; 3]] {
        assert!(matches!(try_launch(race, one, block, 0), Error::Block { .. }));
    }
    for grid in [[0, 1, 1], [1, 65536, 1], [1, 1, 65536], [1 << 31, 1, 1]] {
        assert!(matches!(try_launch(race, grid, one, 0), Error::Grid { .. }));
    }
    assert!(matches!(try_launch(race, one, one, 101_377), Error::SharedMemory { limit: 101_376, .. }));
    assert!(matches!(
        try_launch("early_return", one, one, 0),
        Error::Arguments { expected: 2, found: 1, .. }
    ));
}
