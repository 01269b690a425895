//! What kernels compute by means of the shim, against the same in Rust.

mod common;

use common::{ORDERS, run};
use polytask_emulation::{Order, kernels, launch};

/// Small integers, whose sums are exact in any order.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 101) as f32 - 50.0).collect()
}

#[test]
fn sums_of_blocks() {
    let (blocks, threads) = (5, 256_usize);
    let values = values(blocks * threads);
    let expected = values.chunks(threads).map(|block| block.iter().sum()).collect::<Vec<f32>>();
    for (kernel, shared) in [("sum_by_shared_memory", 1024), ("sum_by_shuffles", 0)] {
        for order in ORDERS {
            let mut sums = vec![0.0_f32; blocks];
            let (x, y) = (values.as_ptr(), sums.as_mut_ptr());
            // SAFETY: the values of all threads, and a sum for each block.
            unsafe { run(kernel, [5, 256], shared, &mut arguments![x, y], order) }.unwrap();
            assert_eq!(sums, expected, "{kernel}");
        }
    }
}

#[test]
fn block_sum_and_block_max_reach_every_thread() {
    for threads in [32, 96, 1024] {
        let values = values(3 * threads);
        for order in ORDERS {
            let (mut sums, mut maxima) = (vec![0.0_f32; values.len()], vec![0.0_f32; values.len()]);
            let (x, y, z) = (values.as_ptr(), sums.as_mut_ptr(), maxima.as_mut_ptr());
            // SAFETY: a value, a sum and a maximum for each thread.
            unsafe { run("sum_and_max", [3, threads as u32], 0, &mut arguments![x, y, z], order) }.unwrap();
            for ((values, sums), maxima) in
                values.chunks(threads).zip(sums.chunks(threads)).zip(maxima.chunks(threads))
            {
                assert!(sums.iter().all(|sum| *sum == values.iter().sum::<f32>()));
                assert!(
                    maxima.iter().all(|maximum| *maximum == values.iter().copied().fold(f32::MIN, f32::max))
                );
            }
        }
    }
}

#[test]
fn places_in_three_dimensions() {
    let mut out = vec![0_u32; 24 * 30];
    let pointer = out.as_mut_ptr();
    // SAFETY: a value for each thread of 24 blocks of 30.
    unsafe { launch("places", [2, 3, 4], [5, 3, 2], 0, &mut arguments![pointer], Order::Ascending) }.unwrap();
    let expected = (0..24).flat_map(|block| (0..30).map(move |thread| block * 10000 + thread));
    assert!(out.into_iter().eq(expected));
}

#[test]
fn high_halves_of_products() {
    let a = [0_u32, 1, 0xffff_ffff, 0xd251_1f53, 0x8000_0000];
    let b = [5_u32, 0xffff_ffff, 0xffff_ffff, 0xcd9e_8d57, 2];
    let mut high = [0_u32; 5];
    let (x, y, z) = (a.as_ptr(), b.as_ptr(), high.as_mut_ptr());
    // SAFETY: five values each.
    unsafe { run("high_products", [1, 5], 0, &mut arguments![x, y, z], Order::Ascending) }.unwrap();
    assert_eq!(high, std::array::from_fn(|i| ((u64::from(a[i]) * u64::from(b[i])) >> 32) as u32));
}

#[test]
fn atomics() {
    let (mut sum, mut count, mut bits) = ([1.0_f32], [10_i32], [0_u32]);
    let (mut range, mut positive_range) = ([100_i32, -100], [100_u32, 0]);
    let pointers = (sum.as_mut_ptr(), count.as_mut_ptr(), bits.as_mut_ptr());
    let (signed, unsigned) = (range.as_mut_ptr(), positive_range.as_mut_ptr());
    let mut arguments = arguments![pointers.0, pointers.1, pointers.2, signed, unsigned];
    // SAFETY: one value, and two for a range.
    unsafe { run("atomics", [1, 32], 0, &mut arguments, Order::Descending) }.unwrap();
    assert_eq!((sum, count, bits), ([17.0], [42], [u32::MAX]));
    assert_eq!((range, positive_range), ([-5, 26], [3, 34]));
}

#[test]
fn shuffles() {
    for order in ORDERS {
        let (mut broadcast, mut beside, mut above) = ([0_i32; 64], [0.0_f32; 64], [0_u32; 64]);
        let (x, y, z) = (broadcast.as_mut_ptr(), beside.as_mut_ptr(), above.as_mut_ptr());
        // SAFETY: a value of each kind for each thread.
        unsafe { run("shuffles", [1, 64], 0, &mut arguments![x, y, z], order) }.unwrap();
        assert_eq!(broadcast, std::array::from_fn(|i| if i < 32 { -5 } else { -37 }));
        assert_eq!(beside, std::array::from_fn(|i| 0.5 * (i ^ 1) as f32));
        assert_eq!(above, std::array::from_fn(|i| if i % 32 < 30 { i as u32 + 2 } else { i as u32 }));
    }
}

#[test]
fn votes_of_parts_of_a_warp() {
    let (mut ballots, mut some, mut all) = ([0_u32; 32], [0_i32; 32], [0_i32; 32]);
    let (x, y, z) = (ballots.as_mut_ptr(), some.as_mut_ptr(), all.as_mut_ptr());
    // SAFETY: a value of each kind for each thread.
    unsafe { run("votes", [1, 32], 0, &mut arguments![x, y, z], Order::Ascending) }.unwrap();
    let thirds = (16..32).filter(|i| i % 3 == 0).map(|i| 1_u32 << i).sum();
    assert_eq!(ballots, std::array::from_fn(|i| if i < 16 { 0xaaaa } else { thirds }));
    assert_eq!((some, all), ([1; 32], [2; 32]));
}

#[test]
fn numbers() {
    #[repr(align(16))]
    struct Aligned([f32; 13]);
    let mut out = Aligned([0.0; 13]);
    let pointer = out.0.as_mut_ptr();
    // SAFETY: thirteen values, aligned for four at once.
    unsafe { run("numbers", [1, 1], 0, &mut arguments![pointer], Order::Ascending) }.unwrap();
    let exact = [1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 3.0, 0.5, 1.5 + f32::EPSILON, -2.5];
    assert_eq!(out.0[..10], exact);
    let transcendental = 1_f32.exp() + 2_f32.ln() + 0.25;
    // The two mathematical libraries may differ in the last bit of each term.
    assert!((out.0[10] - transcendental).abs() <= 4.0 * f32::EPSILON);
    assert_eq!(out.0[11..], [10.0 + 2.0 + 1.0 + 1.0 + 3.0, 4.0]);
}

#[test]
fn each_file_has_its_own_helpers() {
    for (kernel, number) in [("number_of_functions", 7), ("number_of_reductions", 8)] {
        let mut out = [0_u32];
        let pointer = out.as_mut_ptr();
        // SAFETY: one value.
        unsafe { run(kernel, [1, 1], 0, &mut arguments![pointer], Order::Ascending) }.unwrap();
        assert_eq!(out, [number]);
    }
}

#[test]
fn the_registry_names_files_and_kernels() {
    let all = kernels().collect::<Vec<_>>();
    for known in [("activation", "gelu_forward"), ("reductions", "sum_and_max"), ("barriers", "early_return")]
    {
        assert!(all.contains(&known), "{known:?}");
    }
    assert!(all.is_sorted_by_key(|(_, kernel)| kernel));
}
