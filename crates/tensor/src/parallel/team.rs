//! Work handed out to the threads of the pool, who wait for it awake.
//!
//! A thread of the pool falls asleep after some 30 µs without work, and to wake it takes as long again; a pass of an
//! encoder has a hundred such pauses. So whoever has helped once looks out for what is posted next, for a while.

use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicUsize, fence};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::job::{Job, lock, pause_until};

/// How long a helper looks out for more to do.
const PATIENCE: Duration = Duration::from_micros(200);
/// After which a helper leaves in any case: what waits for this thread, and other work of the pool, have their turn.
const STAY: Duration = Duration::from_millis(5);

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
        // SAFETY: `finish` is called below, and nothing between panics.
        let job = Arc::new(unsafe { Job::new(helpers + 1, count, work) });
        *lock(&self.job) = Some(Arc::clone(&job));
        self.posted.fetch_add(1, Release);
        self.call(leader, helpers);
        busy(|| job.take_part(0));
        job.finish();
    }

    /// Calls threads of the pool until there are so many helpers.
    fn call(self: &Arc<Self>, leader: usize, helpers: usize) {
        let mut has_called = false;
        while self.helpers.load(Relaxed) < helpers {
            self.helpers.fetch_add(1, Relaxed);
            let team = Arc::clone(self);
            rayon::spawn(move || team.receive(leader));
            has_called = true;
        }
        if has_called {
            // A thread that falls asleep just now may have missed the call: rayon leaves such work to whoever handed it
            // out, and this thread may not come back to it. After the fence the call is seen, or the sleeper is.
            fence(SeqCst);
            rayon::spawn(|| {});
        }
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
        let (mut seen, mut last) = (0, came);
        while last.elapsed() < PATIENCE && came.elapsed() < STAY {
            if pause_until(|| self.posted.load(Acquire) != seen) {
                seen = self.posted.load(Acquire);
                let job = lock(&self.job).clone();
                busy(|| job.iter().for_each(|job| job.take_part(place)));
                last = Instant::now();
            }
        }
    }
}

fn busy(work: impl FnOnce()) {
    let was_busy = IS_BUSY.replace(true);
    work();
    IS_BUSY.set(was_busy);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::for_each;
    use std::hint::spin_loop;
    use std::mem;
    use std::panic::{self, AssertUnwindSafe};
    use std::thread;

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
    fn a_thread_may_be_given_work_to_hand_out_while_it_waits_in_a_call() {
        on_threads(3, || {
            for _ in 0..100 {
                // As where the call waits in rayon, and finds there what a thread outside of the pool has handed out.
                for_each(0..20, |_| {
                    let calls: Vec<AtomicUsize> = (0..30).map(|_| AtomicUsize::new(0)).collect();
                    for_each_index(30, &|index| {
                        calls[index].fetch_add(1, Relaxed);
                    });
                    assert!(calls.iter().all(|calls| calls.load(Relaxed) == 1));
                    assert_eq!(helpers(30), 0, "still busy");
                });
                assert_eq!(calls(40), [1; 40]);
            }
        });
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
    fn a_helper_comes_again_though_it_was_about_to_fall_asleep() {
        on_threads(2, || {
            let mut rounds_alone = 0;
            for round in 0..1000 {
                let start = Instant::now();
                while start.elapsed() < PATIENCE + Duration::from_nanos(round * 7919 % 60_000) {
                    spin_loop();
                }
                // Each of the two calls waits a while for the other.
                let (here, is_alone) = (AtomicUsize::new(0), AtomicUsize::new(0));
                for_each(0..2, |_| {
                    here.fetch_add(1, Relaxed);
                    while here.load(Relaxed) < 2 && is_alone.load(Relaxed) == 0 {
                        is_alone.store(usize::from(start.elapsed() > Duration::from_millis(100)), Relaxed);
                        thread::yield_now();
                    }
                });
                rounds_alone = if is_alone.into_inner() == 0 { 0 } else { rounds_alone + 1 };
                assert!(rounds_alone < 50, "nobody comes any more in round {round}");
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
