//! The sides of a product in bf16 as the kernels read them: pairs along the inner dimension, rounded.

use std::ops::Range;

use super::Matrix;
use super::kernel::{Bf16Pair, Group, Kernel, PANEL, pair_lines, pair_neighbours};
use super::turned::{SQUARE, turn_lines};
use crate::memory::AlignedWords;
use crate::parallel::{VALUES_A_TASK, for_each, for_each_row_block};

/// Pairs of each line that are turned at a time.
const LENGTH: usize = 64;
/// Panels of a row-major right side that are packed at a time at most: so much of each row is read at once.
const PANELS: usize = 6;
/// Rows by which those of a matrix whose rows lie side by side are asked for before they are packed.
const AHEAD: usize = 8;
/// Parts into which the panels fall at least, where there are enough of them.
const PARTS: usize = 8;

/// Pairs along an inner dimension, filled up to what the kernel takes at a time.
pub(super) fn groups(kernel: Kernel, inner: usize) -> usize {
    kernel.filled_up(inner.div_ceil(2))
}

/// The left side `[rows, inner]` in pairs: `[rows, groups]`.
pub(super) fn pack_left(left: Matrix<'_>, rows: usize, inner: usize, groups: usize) -> AlignedWords {
    assert!(Bf16Pair::fastest().is_some(), "packed for a processor without a kernel");
    let mut packed = AlignedWords::overwritable(rows * groups);
    if left.is_row_major() {
        for_each_row_block(&mut packed, groups, |first, pairs| {
            for (row, pairs) in (first..).zip(pairs.chunks_exact_mut(groups)) {
                let (pairs, beyond) = pairs.split_at_mut(inner.div_ceil(2));
                // SAFETY: checked where packing began.
                unsafe { pair_neighbours(left.line(row, inner), pairs) };
                beyond.fill(0);
            }
        });
    } else {
        for_each_row_block(&mut packed, LENGTH * groups, |first, pairs| {
            for (strip, pairs) in (first..).zip(pairs.chunks_mut(LENGTH * groups)) {
                pack_transposed_rows(left, strip * LENGTH, inner, groups, pairs);
            }
        });
    }
    packed
}

/// At most [`LENGTH`] rows of a left side that is read transposed, from `first_row` on.
fn pack_transposed_rows(left: Matrix<'_>, first_row: usize, inner: usize, groups: usize, pairs: &mut [u32]) {
    let rows = first_row..first_row + pairs.len() / groups;
    let pairs: &mut [f32] = bytemuck::cast_slice_mut(pairs);
    let mut lines = [[0.0; LENGTH]; SQUARE];
    for first_group in (0..groups).step_by(SQUARE) {
        let count = SQUARE.min(groups - first_group);
        for (group, line) in (first_group..).zip(&mut lines[..count]) {
            let line = bytemuck::cast_slice_mut(&mut line[..rows.len()]);
            pair_rows(left, group, inner, rows.clone(), line, PANEL);
        }
        let lines = lines.each_ref().map(|line| &line[..rows.len()]);
        turn_lines(&lines[..count], &mut pairs[first_group..], groups);
    }
}

/// The right side `[inner, columns]` in panels of pairs: `[⌈columns / 32⌉, groups, 32]`.
pub(super) fn pack_right(right: Matrix<'_>, inner: usize, columns: usize, groups: usize) -> AlignedWords {
    assert!(Bf16Pair::fastest().is_some(), "packed for a processor without a kernel");
    let mut packed = AlignedWords::overwritable(columns.div_ceil(PANEL) * groups * PANEL);
    let of_panel = (groups * PANEL).max(1);
    let at_once = columns.div_ceil(PANEL * PARTS).clamp(1, PANELS).max(VALUES_A_TASK.div_ceil(of_panel));
    for_each(packed.chunks_mut(at_once * of_panel).enumerate(), |(block, panels)| {
        let first = block * at_once * PANEL;
        if right.is_row_major() {
            let columns = first..columns.min(first + at_once * PANEL);
            for group in 0..groups {
                let pairs = &mut panels[group * PANEL..];
                pair_rows(right, group, inner, columns.clone(), pairs, of_panel);
            }
        } else {
            for (first, pairs) in (first..).step_by(PANEL).zip(panels.chunks_exact_mut(of_panel)) {
                pack_transposed_panel(right, inner, first..columns.min(first + PANEL), pairs);
            }
        }
    });
    packed
}

fn pack_transposed_panel(right: Matrix<'_>, inner: usize, columns: Range<usize>, pairs: &mut [u32]) {
    let groups = pairs.len() / PANEL;
    let pairs: &mut [f32] = bytemuck::cast_slice_mut(pairs);
    let mut lines = [[0.0; LENGTH]; SQUARE];
    for first_group in (0..groups).step_by(LENGTH) {
        let count = LENGTH.min(groups - first_group);
        for half in 0..PANEL / SQUARE {
            for (column, line) in (columns.start + half * SQUARE..).zip(&mut lines) {
                let values = if columns.contains(&column) { right.line(column, inner) } else { &[] };
                let values =
                    &values[values.len().min(2 * first_group)..values.len().min(2 * (first_group + count))];
                let line: &mut [u32] = bytemuck::cast_slice_mut(&mut line[..count]);
                let (line, beyond) = line.split_at_mut(values.len().div_ceil(2));
                // SAFETY: checked where packing began.
                unsafe { pair_neighbours(values, line) };
                beyond.fill(0);
            }
            let place = &mut pairs[first_group * PANEL + half * SQUARE..];
            turn_lines(&lines.each_ref().map(|line| &line[..count]), place, PANEL);
        }
    }
}

/// Pairs of the rows 2 · group and 2 · group + 1 of a matrix whose rows lie side by side, `columns` of them; zeros beyond
/// the inner dimension. Each 32 of them go to the beginning of the next `stride` pairs.
fn pair_rows(
    matrix: Matrix<'_>,
    group: usize,
    inner: usize,
    columns: Range<usize>,
    pairs: &mut [u32],
    stride: usize,
) {
    let row = |row: usize| match row < inner {
        true => &matrix.line(row, columns.end)[columns.start..],
        false => &[],
    };
    let (first, second) = (row(2 * group), row(2 * group + 1));
    // SAFETY: checked where packing began.
    unsafe { pair_lines(first, second, columns.len(), pairs, stride, AHEAD * matrix.line_stride()) };
}
