//! The sides of a product as the kernels of bf16 read them: pairs along the inner dimension, of values that are rounded (`N` is
//! 1) or split into [parts](super::kernel::PARTS).

use std::ops::Range;

use super::Matrix;
use super::kernel::{Bf16Pair, Group, Kernel, PANEL, PairPlaces, pair_lines, pair_neighbours};
use super::turned::{SQUARE, turn_lines};
use crate::parallel::{VALUES_A_TASK, for_each, for_each_row_block};

/// Pairs of each line that are turned at a time.
const LENGTH: usize = 64;
/// Panels of a row-major right side that are packed at a time at most: so much of each row is read at once.
const PANELS: usize = 6;
/// Rows by which those of a matrix whose rows lie side by side are asked for before they are packed.
const AHEAD: usize = 16;
/// Tasks that the panels fall into at least, where there are enough of them.
const TASKS: usize = 8;

/// Groups along an inner dimension, filled up to what the kernel takes at a time: each pair in so many parts.
pub(super) fn groups<const N: usize>(kernel: Kernel, inner: usize) -> usize {
    N * kernel.filled_up(inner.div_ceil(2))
}

/// The left side `[rows, inner]` in pairs: `[rows, groups]`.
pub(super) fn pack_left<const N: usize>(left: Matrix<'_>, inner: usize, groups: usize, packed: &mut [u32]) {
    assert!(Bf16Pair::fastest().is_some(), "packed for a processor without a kernel");
    if left.is_row_major() {
        for_each_row_block(packed, groups, |first, pairs| {
            for (row, pairs) in (first..).zip(pairs.chunks_exact_mut(groups)) {
                // SAFETY: checked where packing began.
                unsafe { pair_neighbours::<N>(left.line(row, inner), pairs) };
            }
        });
    } else {
        for_each_row_block(packed, LENGTH * groups, |first, pairs| {
            for (strip, pairs) in (first..).zip(pairs.chunks_mut(LENGTH * groups)) {
                pack_transposed_rows::<N>(left, strip * LENGTH, inner, groups, pairs);
            }
        });
    }
}

/// At most [`LENGTH`] rows of a left side that is read transposed, from `first_row` on.
fn pack_transposed_rows<const N: usize>(
    left: Matrix<'_>,
    first_row: usize,
    inner: usize,
    groups: usize,
    packed: &mut [u32],
) {
    const PLACES: PairPlaces = PairPlaces { panel: PANEL, part: SQUARE * LENGTH };
    let rows = first_row..first_row + packed.len() / groups;
    let packed: &mut [f32] = bytemuck::cast_slice_mut(packed);
    let mut lines = [[[0.0; LENGTH]; SQUARE]; N];
    for first_pair in (0..groups / N).step_by(SQUARE) {
        let count = SQUARE.min(groups / N - first_pair);
        let pairs: &mut [u32] = bytemuck::cast_slice_mut(lines.as_flattened_mut().as_flattened_mut());
        for line in 0..count {
            let place = &mut pairs[line * LENGTH..];
            pair_rows::<N>(left, first_pair + line, inner, rows.clone(), place, PLACES);
        }
        for (part, lines) in lines.iter().enumerate() {
            let lines = lines.each_ref().map(|line| &line[..rows.len()]);
            turn_lines(&lines[..count], &mut packed[N * first_pair + part * SQUARE..], groups);
        }
    }
}

/// The right side `[inner, columns]` in panels of pairs: `[⌈columns / 32⌉, groups, 32]`.
pub(super) fn pack_right<const N: usize>(
    right: Matrix<'_>,
    inner: usize,
    columns: usize,
    groups: usize,
    packed: &mut [u32],
) {
    assert!(Bf16Pair::fastest().is_some(), "packed for a processor without a kernel");
    let of_panel = (groups * PANEL).max(1);
    let at_once = columns.div_ceil(PANEL * TASKS).clamp(1, PANELS).max(VALUES_A_TASK.div_ceil(of_panel));
    for_each(packed.chunks_mut(at_once * of_panel).enumerate(), |(block, panels)| {
        let first = block * at_once * PANEL;
        if right.is_row_major() {
            let columns = first..columns.min(first + at_once * PANEL);
            let places = PairPlaces { panel: of_panel, part: SQUARE * PANEL };
            for pair in 0..groups / N {
                let first = N * (pair / SQUARE * SQUARE) + pair % SQUARE;
                pair_rows::<N>(right, pair, inner, columns.clone(), &mut panels[first * PANEL..], places);
            }
        } else {
            for (first, panel) in (first..).step_by(PANEL).zip(panels.chunks_exact_mut(of_panel)) {
                pack_transposed_panel::<N>(right, inner, first..columns.min(first + PANEL), panel);
            }
        }
    });
}

fn pack_transposed_panel<const N: usize>(
    right: Matrix<'_>,
    inner: usize,
    columns: Range<usize>,
    panel: &mut [u32],
) {
    let pairs = panel.len() / (N * PANEL);
    let panel: &mut [f32] = bytemuck::cast_slice_mut(panel);
    let mut lines = [[[0.0; LENGTH]; N]; SQUARE];
    for first_pair in (0..pairs).step_by(LENGTH) {
        let count = LENGTH.min(pairs - first_pair);
        for half in 0..PANEL / SQUARE {
            for (column, line) in (columns.start + half * SQUARE..).zip(&mut lines) {
                let values = if columns.contains(&column) { right.line(column, inner) } else { &[] };
                let [first, last] = [first_pair, first_pair + count].map(|pair| values.len().min(2 * pair));
                let line: &mut [u32] = bytemuck::cast_slice_mut(line.as_flattened_mut());
                // SAFETY: checked where packing began.
                unsafe { pair_neighbours::<N>(&values[first..last], &mut line[..N * count]) };
            }
            let place = &mut panel[N * first_pair * PANEL + half * SQUARE..];
            turn_lines(&lines.each_ref().map(|line| &line.as_flattened()[..N * count]), place, PANEL);
        }
    }
}

/// Pairs of the rows 2 · pair and 2 · pair + 1 of a matrix whose rows lie side by side, `columns` of them; zeros beyond the
/// inner dimension.
fn pair_rows<const N: usize>(
    matrix: Matrix<'_>,
    pair: usize,
    inner: usize,
    columns: Range<usize>,
    pairs: &mut [u32],
    places: PairPlaces,
) {
    let row = |row: usize| match row < inner {
        true => &matrix.line(row, columns.end)[columns.start..],
        false => &[],
    };
    let (first, second) = (row(2 * pair), row(2 * pair + 1));
    let ahead = AHEAD * matrix.line_stride();
    // SAFETY: checked where packing began.
    unsafe { pair_lines::<N>(first, second, columns.len(), pairs, places, ahead) };
}
