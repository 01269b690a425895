//! Work handed out to the threads of the pool, who wait for it awake.
//!
//! A thread of the pool falls asleep after some 30 µs without work, and to wake it takes as long again; a pass of an
//! encoder has a hundred such pauses. So whoever has helped once looks out for what is posted next, for a while.

use std::any::Any;
use std::cell::Cell;
use std::hint::spin_loop;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a helper looks out for more to do.
const PATIENCE: Duration = Duration::from_micros(200);
/// After which a helper leaves in any case: what waits for this thread, and other work of the pool, have their turn.
const STAY: Duration = Duration::from_millis(5);
/// Rounds of waiting after which the system may run something else.
const ROUNDS: usize = 32;

thread_local! {
    /// Those who help this thread.
    static TEAM: Arc<Team> = Arc::default();
    /// Whether this thread works for a team: what it would hand out meanwhile, it does itself.
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
}

/// How many threads may help the calling one with so many calls.
pub(super) fn helpers(calls: usize) -> usize {
    if IS_BUSY.get() { 0 } else { calls.min(rayon::current_num_threads()).saturating_sub(1) }
}

/// Calls `work(index)` for each index below `count`, on whichever thread is free. Panics, after all calls, where one did.
pub(super) fn for_each_index(count: usize, work: &(dyn Fn(usize) + Sync)) {
    match rayon::current_thread_index() {
        Some(leader) => TEAM.with(|team| team.run(leader, count, work)),
        None => rayon::scope(|_| for_each_index(count, work)),
    }
}

/// A thread that hands out its work, and the others that come to help.
#[derive(Default)]
struct Team {
    job: Mutex<Option<Arc<Job>>>,
    /// How many jobs there were.
    posted: AtomicUsize,
    /// Who is there, or called.
    helpers: AtomicUsize,
}

impl Team {
    fn run(self: &Arc<Self>, leader: usize, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let helpers = helpers(count);
        let job = Arc::new(Job::new(helpers + 1, count, work));
        *lock(&self.job) = Some(Arc::clone(&job));
        self.posted.fetch_add(1, Release);
        while self.helpers.load(Relaxed) < helpers {
            self.helpers.fetch_add(1, Relaxed);
            let team = Arc::clone(self);
            rayon::spawn(move || team.receive(leader));
        }
        busy(|| job.take_part(0));
        job.finish();
    }

    /// What a thread of the pool does that is called. It may be the leader itself, waiting for something else.
    fn receive(&self, leader: usize) {
        let (own, threads) = (rayon::current_thread_index().unwrap_or(leader), rayon::current_num_threads());
        let place = (own + threads - leader) % threads;
        if place > 0 && !IS_BUSY.get() {
            self.help(place);
        }
        self.helpers.fetch_sub(1, Relaxed);
    }

    /// Takes part in what is there, and in what is posted soon after. The same thread has the same place each time, and so
    /// finds in its own cache what it wrote before.
    fn help(&self, place: usize) {
        let came = Instant::now();
        let (mut seen, mut last) = (0, None);
        while came.elapsed() < STAY && last.is_none_or(|last: Instant| last.elapsed() < PATIENCE) {
            let posted = self.posted.load(Acquire);
            if posted == seen {
                pause();
                continue;
            }
            seen = posted;
            let job = lock(&self.job).clone();
            busy(|| job.iter().for_each(|job| job.take_part(place)));
            last = Some(Instant::now());
        }
    }
}

fn busy(work: impl FnOnce()) {
    IS_BUSY.set(true);
    work();
    IS_BUSY.set(false);
}

fn pause() {
    (0..ROUNDS).for_each(|_| spin_loop());
    thread::yield_now();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls that anyone may take, one after the other.
struct Job {
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
    fn new<'a>(shares: usize, count: usize, work: &'a (dyn Fn(usize) + Sync + 'a)) -> Self {
        // SAFETY: only the lifetime changes; `finish` is called before it ends.
        let work = unsafe {
            mem::transmute::<*const (dyn Fn(usize) + Sync + 'a), *const (dyn Fn(usize) + Sync)>(work)
        };
        let share = |place| (AtomicUsize::new(count * place / shares), count * (place + 1) / shares);
        let shares = (0..shares).map(share).collect();
        Self { work, shares, unfinished: AtomicUsize::new(count), panic: Mutex::default() }
    }

    /// Takes the calls of the share at a place, then what is left of the others.
    fn take_part(&self, place: usize) {
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

    /// Waits for the calls that others have taken.
    fn finish(&self) {
        while self.unfinished.load(Acquire) > 0 {
            pause();
        }
        if let Some(panic) = lock(&self.panic).take() {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::for_each;
    use std::panic;

    fn on_threads(threads: usize, work: impl Fn() + Send + Sync) {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work);
    }

    fn calls(count: usize) -> Vec<usize> {
        let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        for_each(0..count, |index| {
            calls[index].fetch_add(1, Relaxed);
        });
        calls.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_index_is_called_once_on_any_number_of_threads() {
        let check = || (0..200).for_each(|count| assert_eq!(calls(count), vec![1; count]));
        (1..5).for_each(|threads| on_threads(threads, check));
        check();
    }

    #[test]
    fn work_may_hand_out_work() {
        on_threads(3, || for_each(0..20, |_| assert_eq!(calls(30), [1; 30])));
    }

    #[test]
    fn several_may_hand_out_work_at_once_beside_the_pool_s_own() {
        on_threads(3, || {
            rayon::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(|_| {
                        let (left, right) = rayon::join(|| calls(100), || calls(50));
                        assert_eq!((left, right), (vec![1; 100], vec![1; 50]));
                        for_each(0..5, |_| {
                            let (left, right) = rayon::join(|| calls(7), || calls(8));
                            assert_eq!(left.len() + right.len(), 15);
                        });
                    });
                }
            });
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_after_all_calls_and_the_team_goes_on() {
        on_threads(2, || {
            let calls_made = AtomicUsize::new(0);
            let result = panic::catch_unwind(AssertUnwindSafe(|| {
                for_each(0..50, |index| {
                    calls_made.fetch_add(1, Relaxed);
                    assert!(index % 7 != 0, "a seventh");
                });
            }));
            assert_eq!(result.unwrap_err().downcast_ref(), Some(&"a seventh"));
            assert_eq!(calls_made.load(Relaxed), 50);
            assert_eq!(calls(10), [1; 10]);
        });
    }

    #[test]
    fn a_panic_that_panics_when_it_is_dropped_ends_no_call_early() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                assert!(thread::panicking(), "dropped");
            }
        }
        on_threads(2, || {
            let result = panic::catch_unwind(|| for_each(0..50, |_| panic::panic_any(Bomb)));
            mem::forget(result.unwrap_err());
            assert_eq!(calls(10), [1; 10]);
        });
    }

    #[test]
    fn a_helper_does_not_stay_for_ever() {
        on_threads(2, || {
            let start = Instant::now();
            let (sender, receiver) = std::sync::mpsc::channel();
            calls(100);
            rayon::spawn(move || sender.send(()).unwrap());
            // The other thread takes up what was spawned although there is always more to help with.
            while receiver.try_recv().is_err() {
                assert!(start.elapsed() < Duration::from_secs(60));
                calls(100);
            }
        });
    }

    #[test]
    fn who_waits_in_vain_leaves() {
        on_threads(2, || {
            calls(100);
            let helpers = || TEAM.with(|team| team.helpers.load(Relaxed));
            let start = Instant::now();
            // The other thread of the pool is free again.
            while helpers() > 0 {
                assert!(start.elapsed() < Duration::from_secs(60));
                rayon::yield_now();
            }
        });
    }
}
