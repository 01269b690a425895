//! Ranks that speak MPI.

use std::thread;

use mpi::Threading;
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives};

use super::{Communicator, add, part};
use crate::{Error, Result};

/// Values that are summed at a time: MPI counts with 32 bits.
const VALUES: usize = 1 << 26;

/// The ranks of `MPI_COMM_WORLD`.
pub(super) struct Mpi {
    /// MPI ends when it is dropped.
    _universe: Universe,
    rank: usize,
    size: usize,
}

impl Mpi {
    /// Starts MPI, once a process. Training calls it from one thread at a time, not always the same.
    pub(super) fn new() -> Result<Self> {
        let failed = |message: &str| Error::Communication(message.into());
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| failed("it has been started already"))?;
        if threading < Threading::Serialized {
            return Err(failed("the library was built without threads (MPI_THREAD_SERIALIZED)"));
        }
        let world = universe.world();
        Ok(Self { rank: world.rank() as usize, size: world.size() as usize, _universe: universe })
    }

    /// How `length` values are cut into one part a rank: counts and places.
    fn parts(&self, length: usize) -> Result<(Vec<i32>, Vec<i32>)> {
        let parts = || (0..self.size).map(|rank| part(length, rank, self.size));
        Ok((counts(parts().map(|part| part.len()))?, counts(parts().map(|part| part.start))?))
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let world = SimpleCommunicator::world();
        let mut lengths = vec![0; self.size];
        world.all_gather_into(&(own.len() as u64), &mut lengths[..]);
        let lengths: Vec<usize> = lengths.into_iter().map(|length: u64| length as usize).collect();
        let starts = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end - length)
        });
        let (counts, places) = (counts(lengths.iter().copied())?, counts(starts)?);
        let mut all = vec![0; lengths.iter().sum()];
        world.all_gather_varcount_into(own, &mut PartitionMut::new(&mut all[..], counts, places));
        let mut rest = all.as_slice();
        let mut take = |&length| {
            let (part, others) = rest.split_at(length);
            rest = others;
            part.to_vec()
        };
        Ok(lengths.iter().map(&mut take).collect())
    }

    /// Each rank gets all ranks' values of its own part, sums them in order, and gives the sums to all: every value crosses
    /// the network twice, however many ranks there are.
    fn sum(&self, values: &mut [f32]) -> Result<()> {
        let world = SimpleCommunicator::world();
        for values in values.chunks_mut(VALUES) {
            let (counts_of_parts, places) = self.parts(values.len())?;
            let own = part(values.len(), self.rank, self.size);
            let mut received = vec![0.0; own.len() * self.size];
            let places_received = counts((0..self.size).map(|rank| rank * own.len()))?;
            let counts_received = counts((0..self.size).map(|_| own.len()))?;
            world.all_to_all_varcount_into(
                &Partition::new(&*values, &counts_of_parts[..], &places[..]),
                &mut PartitionMut::new(&mut received[..], counts_received, places_received),
            );
            let (sums, others) = received.split_at_mut(own.len());
            others.chunks(own.len().max(1)).for_each(|terms| add(sums, terms));
            world.all_gather_varcount_into(
                &*sums,
                &mut PartitionMut::new(values, &counts_of_parts[..], &places[..]),
            );
        }
        Ok(())
    }

    fn abort(&self) {
        SimpleCommunicator::world().abort(1);
    }
}

impl Drop for Mpi {
    /// To end MPI is to wait for all ranks, which a panic on one of them would do for ever.
    fn drop(&mut self) {
        if thread::panicking() {
            self.abort();
        }
    }
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "rank {} of {} (MPI)", self.rank, self.size)
    }
}

/// Counts as MPI has them.
fn counts(lengths: impl IntoIterator<Item = usize>) -> Result<Vec<i32>> {
    let count = |length: usize| {
        i32::try_from(length)
            .map_err(|_| Error::Communication(format!("{length} values at once are too many")))
    };
    lengths.into_iter().map(count).collect()
}
