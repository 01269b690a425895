//! Work split over rows of the result, or over blocks of fixed size: no sum depends on the number of threads.

mod job;
mod row_parts;
mod team;

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::OnceLock;

use crate::Offsets;
use crate::lanes::add;

pub(crate) use row_parts::RowParts;

/// Values that one task should at least handle, so that handing it out pays.
pub(crate) const VALUES_A_TASK: usize = 16 * 1024;
/// Multiply-adds below which a caller that is no thread of the pool does them all: one would have to be woken.
const FEWEST_FROM_OUTSIDE: usize = 10_000_000;

/// Calls `work(item)` for each of the items, in parallel, in any order.
///
/// Where a call panics, so does this; the items that are left then are dropped, or handed over all the same.
pub fn for_each<T: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    let items: Vec<T> = items.into_iter().collect();
    if team::helpers(items.len()) == 0 {
        return items.into_iter().for_each(work);
    }
    let mut items: Vec<ManuallyDrop<T>> = items.into_iter().map(ManuallyDrop::new).collect();
    let count = items.len();
    let places = RowParts::new(&mut items, 1);
    team::for_each_index(count, &|index| {
        // SAFETY: each item is taken once.
        let item = unsafe { places.pointer(index, 0).read() };
        work(ManuallyDrop::into_inner(item));
    });
}

/// [`for_each`] of the blocks of a product, or other parts, that have so many multiply-adds together; on this thread where to
/// hand them out would cost more.
pub(crate) fn hand_out<T: Send>(
    multiply_adds: usize,
    blocks: impl ExactSizeIterator<Item = T>,
    work: impl Fn(T) + Sync,
) {
    let is_outside = rayon::current_thread_index().is_none();
    if blocks.len() == 1 || is_outside && multiply_adds < FEWEST_FROM_OUTSIDE {
        blocks.for_each(work);
    } else {
        for_each(blocks, work);
    }
}

/// What `work(item)` makes of each of the items, in their order; computed in parallel.
pub fn map<T: Send, R: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let items: Vec<T> = items.into_iter().collect();
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    for_each(items.into_iter().zip(&mut results), |(item, result)| *result = Some(work(item)));
    results.into_iter().flatten().collect()
}

/// Calls `work(first_row, rows)` on blocks of whole rows of `result`, `columns` values each, in parallel.
///
/// A row's values must depend on that row alone, or on inputs: then the result is the same at any thread count.
pub fn for_each_row_block<T: Send>(result: &mut [T], columns: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if columns == 0 {
        return;
    }
    let block_rows = VALUES_A_TASK.div_ceil(columns);
    if result.len() <= block_rows * columns {
        work(0, result);
        return;
    }
    let blocks = result.chunks_mut(block_rows * columns).enumerate();
    for_each(blocks, |(block, rows)| work(block * block_rows, rows));
}

/// The value of a cell, made if there is none; `None` where `make` makes none.
///
/// It is made outside the cell: whoever waits for a cell cannot do the work that its maker hands out.
pub(crate) fn made_once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Option<T>) -> Option<&T> {
    if cell.get().is_none() {
        let _ = cell.set(make()?);
    }
    cell.get()
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
    let blocks = row_blocks(rows, columns);
    let mut block_sums = vec![0.0; blocks.len() * columns];
    for_each(block_sums.chunks_mut(columns.max(1)).zip(blocks), |(sums, rows)| {
        rows.for_each(|row| add_row(row, sums));
    });
    sum_of_blocks(&block_sums, columns)
}

/// Blocks of rows that are worth a task each, from the first row to the last; they depend on the shape alone.
pub(crate) fn row_blocks(rows: usize, columns: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    let block_rows = VALUES_A_TASK.div_ceil(columns.max(1));
    (0..rows.div_ceil(block_rows)).map(move |block| block * block_rows..rows.min((block + 1) * block_rows))
}

/// The sum of blocks of `columns` values, from the first to the last.
pub(crate) fn sum_of_blocks(blocks: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for block in blocks.chunks_exact(columns.max(1)) {
        add(&mut sums, block);
    }
    sums
}

/// [`for_each_part`] of the segments of packed rows.
pub(crate) fn for_each_segment<const N: usize>(
    results: [&mut [f32]; N],
    offsets: &Offsets,
    lengths: impl Fn(usize) -> [usize; N],
    work: impl Fn(usize, Range<usize>, [&mut [f32]; N]) + Sync,
) {
    for_each_part(results, offsets.iter(), lengths, work);
}

/// Calls `work(part, rows, [its values of each result])` for each of the parts that the rows are cut into, in parallel.
/// The values lie one after another in each result; `lengths(rows)` are how many a part of so many rows has there.
///
/// A part's values must depend on inputs alone: then the result is the same at any thread count.
pub(crate) fn for_each_part<const N: usize>(
    results: [&mut [f32]; N],
    parts: impl Iterator<Item = Range<usize>>,
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
    let parts = parts.map(split).enumerate();
    let run = |(part, (rows, values))| work(part, rows, values);
    if values <= VALUES_A_TASK {
        parts.for_each(run);
    } else {
        for_each(parts, run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, sample};
    use std::sync::Arc;

    #[test]
    fn items_are_handed_over_and_dropped_once() {
        let kept = Arc::new(());
        for_each(vec![Arc::clone(&kept); 100], drop);
        assert_eq!(Arc::strong_count(&kept), 1);
        let panic = || for_each(vec![Arc::clone(&kept); 100], |_| panic!("on purpose"));
        assert!(std::panic::catch_unwind(panic).is_err());
        assert_eq!(Arc::strong_count(&kept), 1);
        assert_eq!(map(0..100, |index| index + 1), (1..101).collect::<Vec<_>>());
    }

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
    fn every_part_has_its_own_rows_of_every_result() {
        for (rows, columns) in [(0, 3), (1, 0), (300, 100), (500, 128)] {
            let (mut values, mut kept) = (vec![0.0; rows * columns], vec![0.0; rows]);
            let lengths = |rows| [rows * columns, rows];
            for_each_part(
                [&mut values, &mut kept],
                row_blocks(rows, columns),
                lengths,
                |part, rows, parts| {
                    let [values, kept] = parts;
                    assert_eq!((values.len(), kept.len()), (rows.len() * columns, rows.len()));
                    values.fill(part as f32);
                    rows.zip(kept).for_each(|(row, kept)| *kept = row as f32);
                },
            );
            assert!(kept.iter().enumerate().all(|(row, &kept)| kept == row as f32));
            assert!(values.is_sorted());
        }
    }

    #[test]
    fn blocks_are_added_in_their_order() {
        assert_eq!(sum_of_blocks(&[1.0, 2.0, 10.0, 20.0, 100.0, 200.0], 2), [111.0, 222.0]);
        assert_eq!(sum_of_blocks(&[], 2), [0.0; 2]);
        // From the last to the first this would be 0.
        assert_eq!(sum_of_blocks(&[1e30, -1e30, 1.0], 1), [1.0]);
    }
}
