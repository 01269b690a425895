//! Training over several processes ("ranks"): each computes a part of every batch.
//!
//! ```text
//! batch ─▶ parts, one a rank ─▶ losses, each its share of the joined mean ─▶ backward ─▶ Σ over ranks ─▶ optimizer
//! ```
//!
//! Every rank holds all parameters. What is summed is summed in the order of the ranks, so that all of them take the same
//! step, bit for bit, and a run with as many ranks again gives the same model.

mod gpus;
mod gradients;
mod launcher;
mod losses;
#[cfg(feature = "mpi")]
mod mpi;
mod tcp;

use std::fmt::Debug;
use std::ops::Range;

pub use launcher::connect;
pub use tcp::Tcp;

pub(crate) use gpus::join_gpus;
pub(crate) use gradients::sum_gradients;
pub(crate) use launcher::local_rank;
pub(crate) use losses::{Joined, PartLoss, join};

use crate::{Error, Result};

/// What the ranks of one run say to each other. Each calls the same methods in the same order, and waits in them for the
/// others.
pub trait Communicator: Debug + Send + Sync {
    /// Which of the ranks this is, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// What each rank gives, in the order of the ranks.
    ///
    /// # Errors
    /// It does not come through.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Replaces values, as many on each rank, by their sums over the ranks: the same bits on each of them and in each run.
    ///
    /// # Errors
    /// They do not come through.
    fn sum(&self, values: &mut [f32]) -> Result<()> {
        let all = self.gather(bytemuck::cast_slice(values))?;
        values.fill(0.0);
        for part in &all {
            add(values, &bytemuck::pod_collect_to_vec(part));
        }
        Ok(())
    }

    /// Ends the processes of all ranks at once, so that none waits for one that failed; a rank alone just goes on.
    fn abort(&self);
}

/// One rank, to whom nobody speaks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![own.to_vec()])
    }

    fn abort(&self) {}
}

/// Whether it is true on any rank.
pub(crate) fn any(ranks: &dyn Communicator, own: bool) -> Result<bool> {
    if ranks.size() == 1 {
        return Ok(own);
    }
    Ok(ranks.gather(&[own.into()])?.iter().any(|flag| flag == &[1]))
}

/// Refuses ranks that do not all start from the same.
pub(crate) fn check_alike(ranks: &dyn Communicator, start: &[u8]) -> Result<()> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let starts = ranks.gather(start)?;
    match starts.iter().position(|other| other != &starts[0]) {
        Some(rank) => Err(Error::RanksDiffer { rank }),
        None => Ok(()),
    }
}

/// Which of `length` things are a rank's own: parts one after another, as equal as possible.
pub(crate) fn part(length: usize, rank: usize, size: usize) -> Range<usize> {
    length * rank / size..length * (rank + 1) / size
}

fn add(sums: &mut [f32], terms: &[f32]) {
    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_one_another_and_differ_by_one_at_most() {
        for (length, size) in [(0, 2), (1, 3), (8, 2), (8, 3), (32, 5)] {
            let parts: Vec<Range<usize>> = (0..size).map(|rank| part(length, rank, size)).collect();
            assert_eq!((parts[0].start, parts[size - 1].end), (0, length));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
            let lengths = || parts.iter().map(Range::len);
            assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1, "{parts:?}");
        }
    }
}
