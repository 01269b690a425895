//! The emulated GPU as a driver: what is handed over runs at once, or is captured and runs later.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::emulated::Emulated;
use super::{Driver, Fault, GraphCounts, Joined};
use crate::cuda::{Grid, Product};

#[derive(Default)]
pub(super) struct EmulatedStream {
    launched: AtomicU64,
}

type Work = Box<dyn FnOnce() -> Result<(), Fault>>;

thread_local! {
    /// What is captured: by each thread its own, since tests of several threads share the one emulated GPU.
    static CAPTURED: RefCell<Option<Vec<Work>>> = const { RefCell::new(None) };
}

/// Runs work, or captures it.
fn hand_over(work: impl FnOnce() -> Result<(), Fault> + 'static) -> Result<(), Fault> {
    let at_once = CAPTURED.with_borrow_mut(|captured| match captured {
        Some(captured) => {
            captured.push(Box::new(work));
            None
        }
        None => Some(work),
    });
    at_once.map_or(Ok(()), |work| work())
}

fn alone() -> Fault {
    Fault::Other("an emulated GPU cannot be joined with others".into())
}

impl Driver for EmulatedStream {
    fn allocate(&self, bytes: usize) -> Result<u64, Fault> {
        Emulated::allocate(bytes)
    }

    unsafe fn free(&self, address: u64, bytes: usize) {
        // It cannot fail.
        let _ = hand_over(move || {
            // SAFETY: as the trait says.
            unsafe { Emulated::free(address, bytes) };
            Ok(())
        });
    }

    unsafe fn upload(&self, bytes: &[u8], address: u64) -> Result<(), Fault> {
        let bytes = bytes.to_vec();
        // SAFETY: as the trait says.
        hand_over(move || unsafe { Emulated::upload(&bytes, address) })
    }

    unsafe fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.end_capture()?;
        // SAFETY: as the trait says.
        unsafe { Emulated::download(address, bytes) }
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: as the trait says.
        hand_over(move || unsafe { Emulated::copy(from, to, bytes) })
    }

    unsafe fn clear(&self, address: u64, bytes: usize) -> Result<(), Fault> {
        // SAFETY: as the trait says.
        hand_over(move || unsafe { Emulated::clear(address, bytes) })
    }

    unsafe fn launch(
        &self,
        _file: &'static str,
        name: &'static str,
        grid: Grid,
        arguments: &mut [u64],
    ) -> Result<(), Fault> {
        let mut arguments = arguments.to_vec();
        // SAFETY: as the trait says.
        hand_over(move || unsafe { Emulated::launch(name, grid, &mut arguments) })
    }

    fn can_multiply(&self, product: &Product) -> Result<bool, Fault> {
        Ok(Emulated::can_multiply(product))
    }

    unsafe fn multiply(&self, product: &Product) -> Result<(), Fault> {
        let product = *product;
        // SAFETY: as the trait says.
        hand_over(move || unsafe { Emulated::multiply(&product) })
    }

    fn synchronize(&self) -> Result<(), Fault> {
        self.end_capture()
    }

    fn begin_capture(&self) -> Result<(), Fault> {
        self.end_capture()?;
        CAPTURED.set(Some(Vec::new()));
        Ok(())
    }

    /// All of it, also where something fails: memory is given back there.
    fn end_capture(&self) -> Result<(), Fault> {
        let captured = CAPTURED.take().unwrap_or_default();
        self.launched.fetch_add(u64::from(!captured.is_empty()), Ordering::Relaxed);
        captured.into_iter().map(|work| work()).fold(Ok(()), Result::and)
    }

    fn graph_counts(&self) -> GraphCounts {
        let launched = self.launched.load(Ordering::Relaxed);
        GraphCounts { launched, instantiated: launched }
    }

    fn check_ranks(&self) -> Result<(), Fault> {
        Err(alone())
    }

    fn rank_id(&self) -> Result<Vec<u8>, Fault> {
        Err(alone())
    }

    fn join(&self, _rank: usize, _size: usize, _id: &[u8]) -> Result<Box<dyn Joined>, Fault> {
        Err(alone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: u32 = u32::MAX;

    fn value(address: u64) -> u32 {
        // SAFETY: the tests below allocate it.
        unsafe { *(address as *const u32) }
    }

    #[test]
    fn nothing_that_is_captured_runs_before_the_end() {
        let stream = EmulatedStream::default();
        let [a, b] = [(); 2].map(|()| stream.allocate(4).unwrap_or_default());
        let is_done = |result: Result<(), Fault>| assert!(result.is_ok());
        is_done(stream.begin_capture());
        // SAFETY: each address has four bytes.
        unsafe {
            let mut bytes = 7u32.to_ne_bytes();
            is_done(stream.upload(&bytes, a));
            bytes.fill(0);
            is_done(stream.copy(a, b, 4));
            is_done(stream.clear(a, 4));
        }
        assert_eq!([a, b].map(value), [NOTHING; 2]);
        is_done(stream.end_capture());
        assert_eq!([a, b].map(value), [0, 7]);
        assert_eq!(stream.graph_counts().launched, 1);
        is_done(stream.end_capture());
        assert_eq!(stream.graph_counts().launched, 1);
    }

    #[test]
    fn a_failure_is_told_at_the_end_and_leaves_nothing_captured() {
        let stream = EmulatedStream::default();
        let Ok(a) = stream.allocate(4) else { panic!("no four bytes") };
        assert!(stream.begin_capture().is_ok());
        // SAFETY: there is no such kernel, and the address has four bytes.
        unsafe {
            assert!(stream.launch("none", "no_such_kernel", Grid::blocks(1, 32), &mut []).is_ok());
            assert!(stream.clear(a, 4).is_ok());
        }
        let Err(Fault::Other(message)) = stream.synchronize() else { panic!("it ran") };
        assert!(message.contains("no_such_kernel"), "{message}");
        assert_eq!(value(a), 0);
        assert!(stream.end_capture().is_ok());
    }
}
