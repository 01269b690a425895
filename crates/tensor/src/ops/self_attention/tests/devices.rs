//! The kernels of a GPU against the processor: where tiles, heads and texts end.

use super::*;
use crate::Device;
use crate::testing::{accelerators, check_devices};

#[track_caller]
fn check(
    lengths: &[usize],
    heads: usize,
    head_width: usize,
    window: Option<usize>,
    dropout: Option<(f32, RandomKey)>,
) {
    let offsets = Offsets::from_lengths(lengths.iter().copied());
    let projections = sample(&[offsets.rows(), 3 * heads * head_width], 1);
    check_devices(&[projections], |t| self_attention(&t[0], &offsets, heads, window, dropout));
}

#[test]
fn texts_of_any_length_and_heads_of_any_width_agree() {
    let lengths = [0, 1, 2, 31, 0, 33, 64, 65, 130];
    for head_width in [8, 32, 48, 64, 128] {
        check(&lengths, 2, head_width, None, None);
        check(&[5, 32], 3, head_width, None, Some((0.3, KEY)));
    }
    check(&[300, 3], 1, 32, None, Some((0.1, KEY)));
    check(&[7, 40], 2, 1, None, Some((0.5, KEY)));
}

/// Wider than any kernel: the processor computes them.
#[test]
fn heads_too_wide_for_the_kernels_agree() {
    check(&[3, 40], 1, 129, None, None);
}

#[test]
fn windows_agree() {
    for window in [0, 1, 7, 31, 32, 33, 64, 100] {
        check(&[1, 130, 20, 65], 2, 8, Some(window), Some((0.2, KEY)));
    }
}

/// With the unit matrix as values and equal scores, a weight of O is 0 where it is dropped.
#[test]
fn the_mask_is_the_same() {
    let n = 70;
    let offsets = Offsets::from_lengths([5, n, 33]);
    let rows = offsets.rows();
    let row =
        |i: usize| (0..3 * n).map(move |column| if column == 2 * n + (i + n - 5) % n { 1.0 } else { 0.0 });
    let projections = Tensor::new((0..rows).flat_map(row).collect(), &[rows, 3 * n]).unwrap();
    let kept = |device: Device| -> Vec<bool> {
        let projections = projections.to(device).unwrap();
        let output = self_attention(&projections, &offsets, 1, None, Some((0.4, KEY))).unwrap();
        output.data().iter().map(|&weight| weight > 0.0).collect()
    };
    for device in accelerators() {
        assert_eq!(kept(device), kept(Device::Cpu));
    }
}

#[test]
fn extreme_scores_do_not_overflow() {
    let offsets = Offsets::from_lengths([33, 7]);
    let projections = crate::ops::scale(&sample(&[40, 24], 1), 100.0).unwrap();
    let run = |device: Device| {
        let output = self_attention(&projections.to(device).unwrap(), &offsets, 1, None, None).unwrap();
        output.data().to_vec()
    };
    for device in accelerators() {
        // Scores of up to 30,000, off by that times 2⁻²⁴, and values of up to 100.
        assert_close(&run(device), &run(Device::Cpu), 1e-2);
    }
}
