//! Memory that goes round: what a dropped tensor held is handed to the next one that fits, so that a training loop asks
//! the system for nothing after its first steps.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Shorter ones are left to the allocator, which is as quick for them.
const SHORTEST_KEPT: usize = 4096;

/// Values that will all be overwritten: of the length asked for, holding whatever an earlier tensor left in them.
///
/// The memory comes back for the next call when the tensor that was made of them is dropped.
///
/// ```
/// let mut values = polytask_tensor::memory::overwritable(3);
/// values.copy_from_slice(&[1.0, 2.0, 3.0]);
/// let tensor = polytask_tensor::Tensor::new(values, &[3])?;
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn overwritable(length: usize) -> Vec<f32> {
    if length < SHORTEST_KEPT {
        return vec![0.0; length];
    }
    let kept = pool().take(length);
    let mut values = kept.unwrap_or_else(|| Vec::with_capacity(length));
    values.resize(length, 0.0);
    values
}

/// Zeros, in memory that goes round as that of [`overwritable`].
pub fn zeros(length: usize) -> Vec<f32> {
    if length < SHORTEST_KEPT {
        return vec![0.0; length];
    }
    let Some(mut values) = pool().take(length) else { return vec![0.0; length] };
    values.clear();
    values.resize(length, 0.0);
    values
}

/// The values of a tensor: given back when the last tensor that shares them is dropped.
pub(crate) struct Values(Vec<f32>);

impl Values {
    pub(crate) fn new(values: Vec<f32>) -> Self {
        pool().hold(values.capacity());
        Self(values)
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        pool().put(std::mem::take(&mut self.0));
    }
}

/// What tensors have taken of the process's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// How often nothing that lay ready was of the right size, so that the allocator was asked.
    pub allocations: u64,
    /// Bytes that tensors hold, or that lie ready for the next ones.
    pub bytes: usize,
    /// The most that `bytes` has been since [`release`] was called.
    pub peak_bytes: usize,
}

/// How much memory tensors have taken so far, in the whole process.
pub fn statistics() -> Statistics {
    pool().statistics
}

/// Gives what lies ready back to the allocator, and lets the count of the peak begin anew.
pub fn release() {
    pool().release();
}

#[derive(Default)]
struct Pool {
    /// By capacity.
    ready: BTreeMap<usize, Vec<Vec<f32>>>,
    statistics: Statistics,
}

fn pool() -> MutexGuard<'static, Pool> {
    static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// The smallest that fits and is not more than half as long again.
    fn take(&mut self, length: usize) -> Option<Vec<f32>> {
        let mut fitting = self.ready.range_mut(length..=length + length / 2);
        let found = fitting.find_map(|(_, of_size)| of_size.pop());
        match &found {
            Some(values) => self.statistics.bytes -= size_of::<f32>() * values.capacity(),
            None => self.statistics.allocations += 1,
        }
        found
    }

    fn hold(&mut self, capacity: usize) {
        let statistics = &mut self.statistics;
        statistics.bytes += size_of::<f32>() * capacity;
        statistics.peak_bytes = statistics.peak_bytes.max(statistics.bytes);
    }

    fn put(&mut self, values: Vec<f32>) {
        if values.capacity() < SHORTEST_KEPT {
            self.statistics.bytes -= size_of::<f32>() * values.capacity();
        } else {
            self.ready.entry(values.capacity()).or_default().push(values);
        }
    }

    fn release(&mut self) {
        for (capacity, of_size) in std::mem::take(&mut self.ready) {
            self.statistics.bytes -= size_of::<f32>() * capacity * of_size.len();
        }
        self.statistics.peak_bytes = self.statistics.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_handed_out_again() {
        let mut pool = Pool::default();
        assert!(pool.take(6000).is_none());
        pool.hold(6000);
        pool.put(Vec::with_capacity(6000));
        assert_eq!(pool.take(6001), None, "too short");
        assert_eq!(pool.take(3999), None, "more than half as long again");
        assert_eq!(pool.statistics, Statistics { allocations: 3, bytes: 24_000, peak_bytes: 24_000 });
        assert!(pool.take(5000).is_some_and(|values| values.capacity() == 6000));
        assert_eq!(pool.statistics, Statistics { allocations: 3, bytes: 0, peak_bytes: 24_000 });
    }

    #[test]
    fn what_lies_ready_can_be_given_back() {
        let mut pool = Pool::default();
        pool.hold(6000);
        pool.put(Vec::with_capacity(6000));
        pool.release();
        assert_eq!(pool.statistics, Statistics::default());
        assert!(pool.take(6000).is_none());
    }

    #[test]
    fn zeros_are_zero_in_used_memory_too() {
        drop(Values::new(vec![f32::NAN; 5000]));
        assert_eq!(zeros(5000), vec![0.0; 5000]);
        assert_eq!(overwritable(4999).len(), 4999);
    }
}
