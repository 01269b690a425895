//! Memory that goes round: what a dropped tensor held is handed to the next one that fits, so that a training loop asks
//! the system for nothing after its first steps.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Shorter ones are left to the allocator, which is as quick for them.
const SHORTEST_KEPT: usize = 64;
/// Shorter ones than these have multiples of [`STEP`] values, so that few lengths serve all, found without a search.
const LONG: usize = 4096;
const STEP: usize = 256;
/// So many lie ready of a short length, at most.
const SHORT_READY: usize = 64;
/// What may lie ready beyond the most that was ever held, since lengths change from batch to batch.
const SLACK_BYTES: usize = 16 << 20;
/// Bytes of a cache line.
pub(crate) const LINE_BYTES: usize = 64;
/// Values of one.
const LINE: usize = LINE_BYTES / size_of::<f32>();

/// Values that will all be overwritten: of the length asked for, holding whatever an earlier tensor left in them.
///
/// They begin with a cache line: what is read in whole lines takes twice as long where each of them lies in two, and threads
/// that write neighbouring parts of rows would write to the same lines.
///
/// The memory comes back for the next call when the tensor that was made of them is dropped.
///
/// ```
/// let mut values = polytask_tensor::memory::overwritable(3);
/// values.copy_from_slice(&[1.0, 2.0, 3.0]);
/// let tensor = polytask_tensor::Tensor::of(values, &[3])?;
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn overwritable(length: usize) -> Values {
    if cfg!(test) {
        // The tests of this crate find who reads what it has not written.
        return Values::of(vec![f32::NAN; length + LINE], length);
    }
    kept(length).unwrap_or_else(|| new(length))
}

/// Zeros, in memory that goes round as that of [`overwritable`].
pub fn zeros(length: usize) -> Values {
    let Some(mut values) = kept(length) else { return new(length) };
    values.fill(0.0);
    values
}

/// So many values that lay ready.
fn kept(length: usize) -> Option<Values> {
    if length < SHORTEST_KEPT {
        return None;
    }
    let memory = pool().take(length + LINE)?;
    Some(Values::of(memory, length))
}

/// So many zeros, in memory that can be kept.
fn new(length: usize) -> Values {
    let with_line = length + LINE;
    let is_short = length >= SHORTEST_KEPT && with_line < LONG;
    let memory = vec![0.0; if is_short { with_line.next_multiple_of(STEP) } else { with_line }];
    Values::of(memory, length)
}

/// The values of a tensor: their memory is given back when the last tensor that shares them is dropped.
pub struct Values {
    /// All that was ever written, and so need not be filled with zeros when it serves for more values.
    memory: Vec<f32>,
    place: Range<usize>,
}

impl Values {
    /// So many, from the first cache line on: the memory has a line more at least.
    fn of(memory: Vec<f32>, length: usize) -> Self {
        let first = memory.as_ptr().align_offset(LINE_BYTES);
        Self::at(first..first + length, memory)
    }

    fn at(place: Range<usize>, memory: Vec<f32>) -> Self {
        pool().hold(memory.len());
        Self { memory, place }
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Self {
        Self::at(0..values.len(), values)
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[self.place.clone()]
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.place.clone()]
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        pool().put(std::mem::take(&mut self.memory));
    }
}

/// Words of 32 bits, in memory that goes round.
pub(crate) struct Words(Values);

impl Words {
    /// Words that will all be overwritten, from the beginning of a cache line on.
    pub(crate) fn overwritable(length: usize) -> Self {
        Self(overwritable(length))
    }
}

impl Deref for Words {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// Memory that a thread keeps for what it needs again and again.
#[derive(Default)]
pub(crate) struct Workspace(Option<Values>);

impl Workspace {
    /// So many values that will all be overwritten.
    pub(crate) fn overwritable(&mut self, length: usize) -> &mut [f32] {
        let sufficient = self.0.take().filter(|values| values.len() >= length);
        &mut self.0.insert(sufficient.unwrap_or_else(|| overwritable(length)))[..length]
    }
}

/// What tensors have taken of the process's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// How often nothing that lay ready was of the right size, so that the allocator was asked.
    pub allocations: u64,
    /// Bytes that tensors hold. What lies ready for the next ones comes on top: together not much more than the peak.
    pub held_bytes: usize,
    /// The most that `held_bytes` has been since [`release`] was called.
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
    /// Short ones by their length in steps, the last that came on top.
    short: [Vec<Vec<f32>>; LONG / STEP],
    /// Long ones by length, and by when they came.
    ready: BTreeMap<(usize, u64), Vec<f32>>,
    /// The lengths of what lies ready, by when they came.
    order: BTreeMap<u64, usize>,
    arrivals: u64,
    ready_bytes: usize,
    statistics: Statistics,
}

fn pool() -> MutexGuard<'static, Pool> {
    static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// One that fits.
    fn take(&mut self, length: usize) -> Option<Vec<f32>> {
        let found = match self.short.get_mut(length.div_ceil(STEP)) {
            Some(ready) => ready.pop(),
            None => self.take_long(length),
        };
        self.statistics.allocations += u64::from(found.is_none());
        found
    }

    /// The smallest that fits and is not more than twice as long; of those the one that came last, which may still be near
    /// the processor. Where none fits, the longest of the shorter ones goes: so, batch after batch, what lies ready becomes
    /// long enough for the longest.
    fn take_long(&mut self, length: usize) -> Option<Vec<f32>> {
        let first = |ready: &BTreeMap<(usize, u64), _>| {
            ready.range((length, 0)..=(2 * length, u64::MAX)).next().map(|(&(length, _), _)| length)
        };
        let last = |ready: &BTreeMap<(usize, u64), _>, shortest: usize, longest: usize| {
            ready.range((shortest, 0)..=(longest, u64::MAX)).next_back().map(|(&place, _)| place)
        };
        let Some(fitting) = first(&self.ready) else {
            if let Some((shorter, arrival)) = last(&self.ready, length.div_ceil(2), length) {
                self.remove(shorter, arrival);
            }
            return None;
        };
        let (fitting, arrival) = last(&self.ready, fitting, fitting)?;
        self.remove(fitting, arrival)
    }

    fn remove(&mut self, length: usize, arrival: u64) -> Option<Vec<f32>> {
        self.order.remove(&arrival);
        self.ready_bytes -= bytes(length);
        self.ready.remove(&(length, arrival))
    }

    fn hold(&mut self, length: usize) {
        let statistics = &mut self.statistics;
        statistics.held_bytes += bytes(length);
        statistics.peak_bytes = statistics.peak_bytes.max(statistics.held_bytes);
    }

    /// Keeps what comes back, and lets the oldest go where more would lie ready than has ever been held at once.
    fn put(&mut self, memory: Vec<f32>) {
        let length = memory.len();
        self.statistics.held_bytes -= bytes(length);
        if length < LONG {
            self.put_short(memory);
            return;
        }
        self.arrivals += 1;
        self.ready_bytes += bytes(length);
        self.order.insert(self.arrivals, length);
        self.ready.insert((length, self.arrivals), memory);
        while self.statistics.held_bytes + self.ready_bytes > self.statistics.peak_bytes + SLACK_BYTES {
            let Some((&arrival, &length)) = self.order.first_key_value() else { break };
            self.remove(length, arrival);
        }
    }

    fn put_short(&mut self, memory: Vec<f32>) {
        let (steps, rest) = (memory.len() / STEP, memory.len() % STEP);
        let ready = &mut self.short[steps];
        if steps > 0 && rest == 0 && ready.len() < SHORT_READY {
            ready.push(memory);
        }
    }

    fn release(&mut self) {
        self.short = Default::default();
        self.ready.clear();
        self.order.clear();
        self.ready_bytes = 0;
        self.statistics.peak_bytes = self.statistics.held_bytes;
    }
}

fn bytes(length: usize) -> usize {
    length * size_of::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_with_a_line() {
        for length in [0, 1, 100, 4080, 5000, 100_001] {
            // The second gets the first one's memory, the last perhaps what was a vector.
            for make in [new, zeros, overwritable, zeros] {
                let values = make(length);
                assert_eq!((values.len(), values.as_ptr() as usize % LINE_BYTES), (length, 0));
                drop(Values::from(vec![0.0; length + LINE]));
            }
        }
    }

    #[test]
    fn what_was_dropped_is_handed_out_again() {
        let mut pool = Pool::default();
        assert!(pool.take(6000).is_none());
        pool.hold(6000);
        pool.put(vec![0.0; 6000]);
        assert_eq!(pool.take(2999), None, "more than twice as long");
        assert!(pool.take(5000).is_some_and(|values| values.len() == 6000));
        assert_eq!(pool.statistics, Statistics { allocations: 2, held_bytes: 0, peak_bytes: 24_000 });
    }

    #[test]
    fn short_ones_come_back_by_their_steps_and_not_all_are_kept() {
        let mut pool = Pool::default();
        pool.hold(4000 * STEP);
        (0..SHORT_READY + 1).for_each(|_| pool.put(vec![0.0; 2 * STEP]));
        pool.put(vec![0.0; 2 * STEP + 1]);
        assert_eq!(pool.take(STEP), None, "a step shorter");
        assert_eq!(pool.take(2 * STEP + 1), None, "a step longer");
        let lengths = |_| pool.take(STEP + 1).map(|values| values.len());
        assert_eq!((0..SHORT_READY).map_while(lengths).collect::<Vec<_>>(), [2 * STEP; SHORT_READY]);
        assert_eq!(pool.take(2 * STEP), None);
        for length in [SHORTEST_KEPT, STEP, STEP + 1, LONG - STEP, LONG - 1, LONG] {
            pool.put(std::mem::take(&mut new(length).memory));
            assert!(pool.take(length + LINE).is_some(), "{length}");
        }
    }

    #[test]
    fn what_is_too_short_makes_room_for_the_longer() {
        let mut pool = Pool::default();
        pool.hold(6000);
        pool.put(vec![0.0; 6000]);
        assert_eq!(pool.take(12_001), None);
        assert_eq!(pool.ready.len(), 1, "less than half as long: of another kind");
        assert_eq!(pool.take(6001), None);
        assert_eq!((pool.ready.len(), pool.order.len(), pool.ready_bytes), (0, 0, 0));
    }

    #[test]
    fn what_lies_ready_can_be_given_back() {
        let mut pool = Pool::default();
        pool.hold(6000);
        pool.put(vec![0.0; 6000]);
        pool.release();
        assert_eq!(pool.statistics, Statistics::default());
        assert!(pool.take(6000).is_none());
    }

    #[test]
    fn no_more_lies_ready_than_was_ever_held_and_the_oldest_goes_first() {
        let mut pool = Pool::default();
        let length = SLACK_BYTES / size_of::<f32>();
        for longer in 0..5 {
            pool.hold(length + longer);
            pool.put(vec![0.0; length + longer]);
        }
        // One was held at a time, and there is room for another.
        assert_eq!(pool.order.values().copied().collect::<Vec<_>>(), [length + 4]);
        assert_eq!(pool.ready_bytes, bytes(length + 4));
    }

    #[test]
    fn zeros_are_zero_in_used_memory_too() {
        drop(Values::from(vec![f32::NAN; 5000 + LINE]));
        assert_eq!(*zeros(5000), [0.0; 5000]);
        assert_eq!(overwritable(4999).len(), 4999);
    }
}
