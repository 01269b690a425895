//! Calls of one function that several threads take.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Calls of a job at most: with those who find none left, their number must stay below 2³².
pub(super) const MOST_CALLS: usize = 1 << 31;
/// Rounds of a pause, after which the system may run something else.
const ROUNDS: usize = 32;

/// Waits a moment for what another thread is about to do; whether it is done.
pub(super) fn pause_until(is_done: impl Fn() -> bool) -> bool {
    for _ in 0..ROUNDS {
        if is_done() {
            return true;
        }
        spin_loop();
    }
    thread::yield_now();
    false
}

/// A value that some threads write and others read, alone in its lines of the cache; processors fetch two at once.
#[repr(align(128))]
#[derive(Default)]
struct Apart<T>(T);

type Work<'a> = *const (dyn Fn(usize) + Sync + 'a);

/// Calls that a leader posts, one job after the other, and that several threads take.
///
/// A line of the cache takes a tenth of a microsecond or more to get from one core to another, so there is no lock, and little
/// to read. A call is taken in one step, and whoever has taken it holds the job open: the leader waits for it.
pub(super) struct Job {
    posted: Apart<Posted>,
    shares: Box<[Apart<Share>]>,
    /// Calls of this job that others than the leader have finished.
    finished: Apart<AtomicUsize>,
    /// The first panic of a call.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Default)]
struct Posted {
    /// How many jobs there were.
    number: AtomicUsize,
    /// The shares in use, the first of all.
    shares: AtomicUsize,
}

/// The calls that one thread takes first.
struct Share {
    /// The next index, and above it, 32 bits further up, the first that is no longer of the share.
    indices: AtomicU64,
    /// Written by the leader while there are no calls; read by those who have taken one.
    work: UnsafeCell<Work<'static>>,
}

// SAFETY: `work` may be called from any thread; who reads it, and when, is said above.
unsafe impl Sync for Share {}
// SAFETY: as above.
unsafe impl Send for Share {}

impl Share {
    fn empty() -> Self {
        Self { indices: AtomicU64::new(0), work: UnsafeCell::new(&|_: usize| {}) }
    }

    /// # Safety
    /// No call of this share is open, and all that are taken from now on end before `work` does.
    unsafe fn fill(&self, indices: Range<usize>, work: Work<'static>) {
        // SAFETY: nobody reads it before there are indices to take.
        unsafe { *self.work.get() = work };
        self.indices.store((indices.end as u64) << 32 | indices.start as u64, Release);
    }

    /// Takes the next index, if one is left.
    fn take(&self) -> Option<usize> {
        let indices = self.indices.fetch_add(1, Acquire);
        let (next, end) = (indices & u64::from(u32::MAX), indices >> 32);
        (next < end).then_some(next as usize)
    }
}

impl Job {
    /// A place where a leader posts jobs for so many threads.
    pub(super) fn for_threads(threads: usize) -> Self {
        let shares = (0..threads).map(|_| Apart(Share::empty())).collect();
        Self { posted: Apart::default(), shares, finished: Apart::default(), panic: Mutex::default() }
    }

    /// How many jobs there were.
    pub(super) fn number(&self) -> usize {
        self.posted.0.number.load(Acquire)
    }

    /// Makes all calls of `work` with an index below `count`, together with those who [help](Self::help), in so many shares of at
    /// least one call each. Gives the first panic, after all calls.
    ///
    /// # Safety
    /// Nobody leads this job already, this thread included.
    pub(super) unsafe fn lead(
        &self,
        shares: usize,
        count: usize,
        work: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Box<dyn Any + Send>> {
        assert!((1..=count).contains(&shares) && count <= MOST_CALLS, "a job of too few calls or too many");
        // SAFETY: only the lifetime changes; what follows does not panic, and waits for all calls.
        let work = unsafe { mem::transmute::<Work<'_>, Work<'static>>(work) };
        self.finished.0.store(0, Relaxed);
        let begin = |place: usize| (count as u64 * place as u64 / shares as u64) as usize;
        for (place, Apart(share)) in self.shares[..shares].iter().enumerate() {
            // To take the first call would be to wait for all lines that are written here: it is the leader's.
            let first = begin(place).max(1);
            // SAFETY: all calls of the job before have ended.
            unsafe { share.fill(first..begin(place + 1), work) };
        }
        self.posted.0.shares.store(shares, Relaxed);
        self.posted.0.number.store(self.number().wrapping_add(1), Release);
        // SAFETY: this call is open.
        unsafe { self.call(work, 0) };
        let mut own = 1;
        self.take_part(0, |finished| own += finished);
        while !pause_until(|| own + self.finished.0.load(Acquire) == count) {}
        self.panic().take().map_or(Ok(()), Err)
    }

    /// Takes part in what is posted, from a place other than the leader's, 0.
    pub(super) fn help(&self, place: usize) {
        self.take_part(place, |finished| {
            self.finished.0.fetch_add(finished, Release);
        });
    }

    /// Takes the calls of the share at a place, then what is left of the others; `finished` gets how many of each have ended.
    fn take_part(&self, place: usize, mut finished: impl FnMut(usize)) {
        let shares = &self.shares[..self.posted.0.shares.load(Relaxed)];
        let (before, from) = shares.split_at(place % shares.len());
        for Apart(share) in from.iter().chain(before) {
            let mut count = 0;
            while let Some(index) = share.take() {
                // SAFETY: this call is open.
                unsafe { self.call(*share.work.get(), index) };
                count += 1;
            }
            if count > 0 {
                finished(count);
            }
        }
    }

    /// Does not panic: the calls would then never be finished.
    ///
    /// # Safety
    /// The call is open: so `work` lives.
    unsafe fn call(&self, work: Work<'_>, index: usize) {
        // SAFETY: the caller's promise.
        let work = unsafe { &*work };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(index))) {
            let mut first = self.panic();
            match *first {
                None => *first = Some(panic),
                // To drop it may panic as well.
                Some(_) => mem::forget(panic),
            }
        }
    }

    /// A panic elsewhere does not close the lock.
    fn panic(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
