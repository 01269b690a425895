//! Calls of one function that several threads take.

use std::any::Any;
use std::hint::spin_loop;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Rounds of a pause, after which the system may run something else.
const ROUNDS: usize = 32;

/// A lock that a panic elsewhere does not close.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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

/// Calls that anyone may take, one after the other.
pub(super) struct Job {
    /// Lives until all calls are finished.
    work: *const (dyn Fn(usize) + Sync),
    /// The next call of each share, and the first that is no longer of it.
    shares: Box<[(AtomicUsize, usize)]>,
    unfinished: AtomicUsize,
    /// The first panic of a call.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` may be called from any thread, and is called only while it lives.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

impl Job {
    /// Calls of `work` with each index below `count`, in so many shares.
    ///
    /// # Safety
    /// [`finish`](Self::finish) must be called before `work` ends: no call is made after it.
    pub(super) unsafe fn new<'a>(shares: usize, count: usize, work: &'a (dyn Fn(usize) + Sync + 'a)) -> Self {
        // SAFETY: only the lifetime changes, for which the caller answers.
        let work = unsafe {
            mem::transmute::<*const (dyn Fn(usize) + Sync + 'a), *const (dyn Fn(usize) + Sync)>(work)
        };
        let share = |place| (AtomicUsize::new(count * place / shares), count * (place + 1) / shares);
        let shares = (0..shares).map(share).collect();
        Self { work, shares, unfinished: AtomicUsize::new(count), panic: Mutex::default() }
    }

    /// Takes the calls of the share at a place, then what is left of the others.
    pub(super) fn take_part(&self, place: usize) {
        let (before, from) = self.shares.split_at(place % self.shares.len());
        for (next, end) in from.iter().chain(before) {
            let mut finished = 0;
            loop {
                let index = next.fetch_add(1, Relaxed);
                if index >= *end {
                    break;
                }
                self.call(index);
                finished += 1;
            }
            self.unfinished.fetch_sub(finished, Release);
        }
    }

    /// Does not panic: the calls would then never be finished.
    fn call(&self, index: usize) {
        // SAFETY: this call is not finished, so `work` lives.
        let work = unsafe { &*self.work };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(index))) {
            let mut first = lock(&self.panic);
            match *first {
                None => *first = Some(panic),
                // To drop it may panic as well.
                Some(_) => mem::forget(panic),
            }
        }
    }

    /// Waits for the calls that others have taken. Panics where one of all calls did.
    pub(super) fn finish(&self) {
        while !pause_until(|| self.unfinished.load(Acquire) == 0) {}
        if let Some(panic) = lock(&self.panic).take() {
            resume_unwind(panic);
        }
    }
}
