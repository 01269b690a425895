//! Sums of the rows that belong to one id: how gradients come back to rows that were read by their ids.
//!
//! ```text
//! X [n, width]   ids [n · k], k a row of X   →   S_r = Σ_{p, i : id_{p k + i} = r} X_p     for each id r that occurs
//! ```
//!
//! A row is summed from its first use to its last; on a GPU in parts of so many uses, then part by part.

use crate::cuda::{Argument, Gpu, Grid, Memory};
use crate::lanes::{add_scaled, vectorized};
use crate::parallel::for_each_row_block;
use crate::{Ids, Result, Tensor, memory};

/// The rows of a matrix X, brought together by their ids.
pub(super) struct Uses {
    /// The ids that occur, ascending.
    ids: Vec<u32>,
    /// Where the rows of each id begin, and where the last ones end.
    starts: Vec<usize>,
    /// The rows of the first id, ascending, then those of the next.
    rows: Vec<u32>,
}

impl Uses {
    /// Of ids of which `a_row` stand for each row of X.
    pub(super) fn new(ids: &Ids, a_row: usize) -> Self {
        // An id in the high word, its row in the low one: sorting brings equal ids together, their rows in order.
        let places = ids.as_slice().iter().zip(0..);
        let mut order: Vec<u64> =
            places.map(|(&id, place)| (u64::from(id) << 32) | (place / a_row as u64)).collect();
        order.sort_unstable();
        let id = |entry: u64| (entry >> 32) as u32;
        let (mut ids, mut starts) = (Vec::new(), vec![0]);
        for uses in order.chunk_by(|&a, &b| id(a) == id(b)) {
            ids.push(id(uses[0]));
            starts.push(starts[starts.len() - 1] + uses.len());
        }
        Self { ids, starts, rows: order.into_iter().map(|entry| entry as u32).collect() }
    }

    /// The rows of each id.
    fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.starts.windows(2).map(|pair| &self.rows[pair[0]..pair[1]])
    }

    /// The ids that occur, ascending, and the sum of the rows of each, `[ids, width]`; on a GPU, where one is given.
    pub(super) fn sums(self, gpu: Option<&'static Gpu>, x: &Tensor) -> Result<(Vec<u32>, Tensor)> {
        let (_, width) = x.rows_columns();
        let shape = [self.ids.len(), width];
        if let Some(gpu) = gpu {
            let sums = self.sums_on(gpu, x, shape[0], 0..)?;
            return Ok((self.ids, Tensor::on_gpu(sums, &shape)));
        }
        let mut sums = memory::overwritable(shape[0] * width);
        for_each_row_block(&mut sums, width, |first, block| {
            add_uses(x.data(), &self.rows, &self.starts[first..], width, block);
        });
        Ok((self.ids, Tensor::of(sums, &shape)?))
    }

    /// The sums of each id in the row that it names, of `rows` rows; zeros in all others.
    pub(super) fn dense_sums_on(&self, gpu: &'static Gpu, x: &Tensor, rows: usize) -> Result<Memory> {
        self.sums_on(gpu, x, rows, self.ids.iter().copied())
    }

    /// The sums of each id in its target of `rows` rows. Behind them lie the sums of the parts.
    fn sums_on(
        &self,
        gpu: &'static Gpu,
        x: &Tensor,
        rows: usize,
        targets: impl IntoIterator<Item = u32>,
    ) -> Result<Memory> {
        /// Uses that one block adds: so an id that is everywhere takes no longer than its share.
        const PART: usize = 64;
        let (_, width) = x.rows_columns();
        let (mut parts, mut wholes) = (Groups::default(), Groups::default());
        let mut behind = rows as u32;
        for (uses, target) in self.iter().zip(targets) {
            if uses.len() <= PART {
                parts.push(uses.iter().copied(), target);
                continue;
            }
            let first = behind;
            for part in uses.chunks(PART) {
                parts.push(part.iter().copied(), behind);
                behind += 1;
            }
            wholes.push(first..behind, target);
        }
        let sums = gpu.zeros(behind as usize * width)?;
        parts.sum(gpu, gpu.read(x)?, width, &sums)?;
        wholes.sum(gpu, Argument::from(&sums), width, &sums)?;
        Ok(sums)
    }
}

/// Groups of rows, and the row that the sum of each goes to.
struct Groups {
    /// The rows of the first group, then those of the next.
    chosen: Vec<u32>,
    /// Where the rows of each group begin, and where the last ones end.
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Default for Groups {
    fn default() -> Self {
        Self { chosen: Vec::new(), starts: vec![0], targets: Vec::new() }
    }
}

impl Groups {
    fn push(&mut self, rows: impl IntoIterator<Item = u32>, target: u32) {
        self.chosen.extend(rows);
        self.starts.push(self.chosen.len() as u32);
        self.targets.push(target);
    }

    fn sum(&self, gpu: &'static Gpu, x: Argument, width: usize, sums: &Memory) -> Result<()> {
        /// Columns of a block.
        const COLUMNS: u32 = 128;
        let groups = self.targets.len();
        if groups == 0 {
            return Ok(());
        }
        let numbers = gpu.upload(&[&*self.chosen, &*self.starts, &*self.targets].concat())?;
        let chosen = Argument::from(&numbers);
        let starts = chosen.plus(self.chosen.len());
        let arguments =
            [x, chosen, starts, starts.plus(self.starts.len()), width.into(), Argument::from(sums)];
        let grid = Grid::blocks(groups, COLUMNS).times(width.div_ceil(COLUMNS as usize), 1);
        gpu.launch("sum_by_id", "sum_chosen_rows", grid, &arguments)
    }
}

vectorized! {
    /// In each row the sum of the rows of X that are its own, of which `starts` tells where they begin.
    fn add_uses(x: &[f32], rows: &[u32], starts: &[usize], width: usize, sums: &mut [f32]) {
        for (sum, pair) in sums.chunks_exact_mut(width).zip(starts.windows(2)) {
            sum.fill(0.0);
            for &row in &rows[pair[0]..pair[1]] {
                let start = row as usize * width;
                add_scaled(sum, 1.0, &x[start..start + width]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_each_device;

    /// Whole numbers, whose sums are exact in any order; one id that is everywhere, one often, the others once.
    #[test]
    fn rare_and_frequent_ids_get_the_sum_of_their_rows() {
        const ROWS: usize = 5000;
        const WIDTH: usize = 133;
        let value = |row: usize, column: usize| ((row * 7 + column * 3) % 11) as f32;
        let x = (0..ROWS * WIDTH).map(|i| value(i / WIDTH, i % WIDTH)).collect();
        let x = Tensor::new(x, &[ROWS, WIDTH]).unwrap();
        let ids: Vec<u32> = (0..ROWS as u32)
            .flat_map(|row| {
                [
                    3,
                    if row % 70 == 0 {
                        9000
                    } else if row % 35 == 0 {
                        17
                    } else {
                        100 + row
                    },
                ]
            })
            .collect();
        let mut expected = std::collections::BTreeMap::new();
        for (place, &id) in ids.iter().enumerate() {
            let sum = expected.entry(id).or_insert_with(|| vec![0.0; WIDTH]);
            sum.iter_mut().enumerate().for_each(|(column, sum)| *sum += value(place / 2, column));
        }
        let ids = Ids::from(ids);
        on_each_device(|device| {
            let x = x.to(device).unwrap();
            let (found, sums) = Uses::new(&ids, 2).sums(Gpu::of([&x]).unwrap(), &x).unwrap();
            assert!(found.iter().eq(expected.keys()));
            assert_eq!((sums.device(), sums.shape()), (device, &[expected.len(), WIDTH][..]));
            assert!(sums.data().iter().eq(expected.values().flatten()), "on {device}");
        });
    }
}
