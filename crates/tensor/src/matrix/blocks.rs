//! How a product is cut into blocks of its result, for threads to take.

use std::ops::{Range, RangeInclusive};

use super::kernel::PANEL;
use crate::parallel::hand_out;

/// Multiply-adds below which a product is one block: handing it out would cost more.
pub(super) const SMALL_PRODUCT: usize = 2_000_000;
/// The same in f32, which takes longer.
pub(super) const SMALL_PRODUCT_IN_F32: usize = 200_000;
/// Columns of a block are a multiple of these: what `gemm` and the packed kernel hold in registers, or half of it.
const COLUMN_STEP: usize = 64;
/// Blocks that a large product is cut into at least, where it has rows enough.
const BLOCKS: usize = 8;
/// Rows of a block are a multiple of these: the packed kernel takes so many at a time.
const ROW_STEP: usize = 12;
/// The same where the kernel computes tiles.
const ROW_STEP_OF_TILES: usize = 32;
/// Rows of a block of tiles, or so.
const ROWS_OF_TILES: usize = 192;
/// Parts that the columns fall into at least where a kernel computes tiles.
const PARTS_OF_TILES: usize = 4;

/// The blocks of a product, a function of its shape alone.
pub(super) struct Blocks {
    rows: usize,
    columns: usize,
    block_rows: usize,
    block_columns: usize,
    multiply_adds: usize,
}

impl Blocks {
    /// Cut by columns first, so that each part of the right side is read by few blocks; what is tall or narrow is cut by rows
    /// too, `rows_of_block` or so a block. Below `small_product` multiply-adds it is one block.
    pub(super) fn new(
        [rows, inner, columns]: [usize; 3],
        rows_of_block: RangeInclusive<usize>,
        small_product: usize,
    ) -> Self {
        let whole = Self::whole(rows, inner, columns);
        if whole.multiply_adds < small_product {
            return whole;
        }
        // Even, so that two threads have as much each, as far as the step of the columns lets them.
        let most = (whole.multiply_adds / smallest_block(small_product) / 2 * 2).max(1);
        let block_columns = columns.div_ceil(most).next_multiple_of(COLUMN_STEP);
        let across = columns.div_ceil(block_columns);
        // Not one of the fewest rows and a rest: the thread that takes the rest would wait.
        let most_down = (rows / rows_of_block.start()).max(1);
        let down = (BLOCKS / across).max(rows / rows_of_block.end()).clamp(1, most_down);
        let block_rows = rows.div_ceil(down).next_multiple_of(ROW_STEP);
        Self { block_rows, block_columns, ..whole }
    }

    /// For a kernel of tiles, which waits for both sides: cut by rows and by columns, so that what a block reads of either is
    /// small beside what it computes.
    pub(super) fn of_tiles([rows, inner, columns]: [usize; 3]) -> Self {
        let whole = Self::whole(rows, inner, columns);
        if whole.multiply_adds < SMALL_PRODUCT {
            return whole;
        }
        let down = ((rows + ROWS_OF_TILES / 4) / ROWS_OF_TILES).max(1);
        let block_rows = rows.div_ceil(down).next_multiple_of(ROW_STEP_OF_TILES);
        let across = (BLOCKS / down).max(PARTS_OF_TILES);
        let fewest_columns = smallest_block(SMALL_PRODUCT).div_ceil(block_rows.min(rows) * inner);
        let block_columns = columns.div_ceil(across).max(fewest_columns).next_multiple_of(PANEL);
        Self { block_rows, block_columns, ..whole }
    }

    /// One block.
    fn whole(rows: usize, inner: usize, columns: usize) -> Self {
        let multiply_adds = rows * inner * columns;
        Self { rows, columns, block_rows: rows, block_columns: columns, multiply_adds }
    }

    /// Calls `work(rows, columns)` for each block.
    pub(super) fn for_each(&self, work: impl Fn(Range<usize>, Range<usize>) + Sync) {
        let (down, across) = (self.rows.div_ceil(self.block_rows), self.columns.div_ceil(self.block_columns));
        let block = |index: usize| {
            let (row, column) = (index / across * self.block_rows, index % across * self.block_columns);
            let rows = row..self.rows.min(row + self.block_rows);
            work(rows, column..self.columns.min(column + self.block_columns));
        };
        hand_out(self.multiply_adds, 0..down * across, block);
    }
}

/// Multiply-adds that a block has at least, where there are columns enough.
fn smallest_block(small_product: usize) -> usize {
    small_product / 4 * 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Mutex;

    proptest! {
        #[test]
        fn blocks_cover_every_place_once(rows in 1usize..700, inner in 1usize..2000, columns in 1usize..700, fewest in 1usize..400, more in 0usize..400) {
            let counts = Mutex::new(vec![0u8; rows * columns]);
            let count = |rows: Range<usize>, block_columns: Range<usize>| {
                let mut counts = counts.lock().unwrap();
                for row in rows {
                    let part = &mut counts[row * columns..][block_columns.clone()];
                    part.iter_mut().for_each(|count| *count += 1);
                }
            };
            let shape = [rows, inner, columns];
            for small_product in [SMALL_PRODUCT, SMALL_PRODUCT_IN_F32] {
                Blocks::new(shape, fewest..=fewest + more, small_product).for_each(count);
            }
            Blocks::of_tiles(shape).for_each(count);
            prop_assert!(counts.lock().unwrap().iter().all(|&count| count == 3));
        }
    }
}
