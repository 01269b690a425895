//! Work split over rows of the result, or over blocks of fixed size: no sum depends on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::Offsets;

/// Values that one task should at least handle, so that handing it out pays.
const VALUES_A_TASK: usize = 16 * 1024;

/// Calls `work(first_row, rows)` on blocks of whole rows of `result`, `columns` values each, in parallel.
///
/// A row's values must depend on that row alone, or on inputs: then the result is the same at any thread count.
pub fn for_each_row_block(result: &mut [f32], columns: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if columns == 0 {
        return;
    }
    let block_rows = VALUES_A_TASK.div_ceil(columns);
    if result.len() <= block_rows * columns {
        work(0, result);
        return;
    }
    result
        .par_chunks_mut(block_rows * columns)
        .enumerate()
        .for_each(|(block, rows)| work(block * block_rows, rows));
}

/// Calls `work(row, values, kept)` for each row of `result`, `columns` values each, in parallel; `kept` are the `N`
/// numbers that the row leaves beside its values.
pub(crate) fn for_each_row_keeping<const N: usize>(
    result: &mut [f32],
    columns: usize,
    kept: &mut [[f32; N]],
    work: impl Fn(usize, &mut [f32], &mut [f32; N]) + Sync,
) {
    let columns = columns.max(1);
    let block_rows = VALUES_A_TASK.div_ceil(columns);
    let run = |(block, (values, kept)): (usize, (&mut [f32], &mut [[f32; N]]))| {
        for (i, (values, kept)) in values.chunks_exact_mut(columns).zip(kept).enumerate() {
            work(block * block_rows + i, values, kept);
        }
    };
    if kept.len() <= block_rows {
        run((0, (result, kept)));
        return;
    }
    result
        .par_chunks_mut(block_rows * columns)
        .zip(kept.par_chunks_mut(block_rows))
        .enumerate()
        .for_each(run);
}

/// Σ over rows, `columns` values: `add_row(row, sums)` adds one row's terms.
///
/// Blocks of rows, whose size depends on `columns` alone, are summed in parallel, and their sums then added from the
/// first block to the last.
pub(crate) fn sum_over_rows(
    rows: usize,
    columns: usize,
    add_row: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    let block_rows = VALUES_A_TASK.div_ceil(columns.max(1));
    let add_block = |block: usize, sums: &mut [f32]| {
        (block * block_rows..rows.min((block + 1) * block_rows)).for_each(|row| add_row(row, sums));
    };
    if rows <= block_rows || columns == 0 {
        add_block(0, &mut sums);
        return sums;
    }
    let mut block_sums = vec![0.0; rows.div_ceil(block_rows) * columns];
    block_sums.par_chunks_mut(columns).enumerate().for_each(|(block, sums)| add_block(block, sums));
    for block in block_sums.chunks_exact(columns) {
        sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// Calls `work(segment, rows, [its part of each result])` for each segment, in parallel. The parts lie one after another
/// in each result; `lengths(rows)` are the values that a segment of so many rows has there.
///
/// A segment's parts must depend on inputs alone: then the result is the same at any thread count.
pub(crate) fn for_each_segment<const N: usize>(
    results: [&mut [f32]; N],
    offsets: &Offsets,
    lengths: impl Fn(usize) -> [usize; N],
    work: impl Fn(usize, Range<usize>, [&mut [f32]; N]) + Sync,
) {
    let values: usize = results.iter().map(|result| result.len()).sum();
    let mut rest = results;
    let split = |rows: Range<usize>| {
        let mut lengths = lengths(rows.len()).into_iter();
        let parts = rest.each_mut().map(|rest| rest.split_off_mut(..lengths.next()?));
        (rows, parts.map(Option::unwrap_or_default))
    };
    let segments: Vec<_> = offsets.iter().map(split).collect();
    let run = |(segment, (rows, parts))| work(segment, rows, parts);
    if values <= VALUES_A_TASK {
        segments.into_iter().enumerate().for_each(run);
    } else {
        segments.into_par_iter().enumerate().for_each(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, sample};

    #[test]
    fn rows_are_summed_whatever_their_number() {
        let sums = |rows, columns| {
            sum_over_rows(rows, columns, |row, sums| sums.iter_mut().for_each(|sum| *sum += row as f32))
        };
        for (rows, columns) in [(0usize, 3), (1, 1), (5, 4), (300, 128), (129, 256)] {
            let expected = (rows * rows.saturating_sub(1) / 2) as f32;
            assert_close(&sums(rows, columns), &vec![expected; columns], 0.0);
        }
        assert!(sums(4, 0).is_empty());
    }

    #[test]
    fn the_bits_of_a_sum_do_not_depend_on_the_threads() {
        let x = sample(&[1000, 129], 1);
        let add_row =
            |row: usize, sums: &mut [f32]| sums.iter_mut().zip(x.row(row)).for_each(|(s, v)| *s += v);
        assert_same_on_threads(|| vec![sum_over_rows(1000, 129, add_row)]);
    }

    #[test]
    fn every_row_keeps_its_own_numbers() {
        let (mut values, mut kept) = (vec![0.0; 300 * 100], vec![[0.0]; 300]);
        for_each_row_keeping(&mut values, 100, &mut kept, |row, values, kept| {
            values.fill(row as f32);
            *kept = [-(row as f32)];
        });
        assert!(values.chunks(100).enumerate().all(|(row, values)| values == [row as f32; 100]));
        assert!(kept.iter().enumerate().all(|(row, kept)| *kept == [-(row as f32)]));
    }
}
