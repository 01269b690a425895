use std::collections::BTreeMap;

use super::Gpu;
use crate::Result;

/// Some of a GPU's memory. When it is dropped it lies ready for the next: all use of it is in the order of one stream.
pub(crate) struct Memory {
    gpu: &'static Gpu,
    address: u64,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(gpu: &'static Gpu, bytes: usize) -> Result<Self> {
        let (bytes, address) = gpu.address(size_class(bytes))?;
        Ok(Self { gpu, address, bytes })
    }

    pub(crate) fn gpu(&self) -> &'static Gpu {
        self.gpu
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.gpu.give_back(self.bytes, self.address);
    }
}

/// Bytes that are really taken: sizes with two significant bits and 512 at least, so that what one tensor left fits the next
/// of almost the same size, at the price of a quarter at most.
fn size_class(bytes: usize) -> usize {
    let step = (bytes.max(1).next_power_of_two() / 8).max(512);
    bytes.max(1).next_multiple_of(step)
}

/// Memory that nobody owns: addresses by size.
#[derive(Default)]
pub(super) struct Cache(BTreeMap<usize, Vec<u64>>);

impl Cache {
    /// So many bytes, or up to twice as many, with their number: batches differ, and each would else keep its own.
    pub(super) fn take(&mut self, bytes: usize) -> Option<(usize, u64)> {
        let mut fitting = self.0.range_mut(bytes..=2 * bytes);
        fitting.find_map(|(&bytes, addresses)| addresses.pop().map(|address| (bytes, address)))
    }

    pub(super) fn put(&mut self, bytes: usize, address: u64) {
        self.0.entry(bytes).or_default().push(address);
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = (usize, u64)> + use<> {
        let all = std::mem::take(&mut self.0);
        all.into_iter()
            .flat_map(|(bytes, addresses)| addresses.into_iter().map(move |address| (bytes, address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_ready_serves_half_its_size_and_more() {
        let mut cache = Cache::default();
        cache.put(4096, 7);
        assert_eq!(cache.take(1024), None);
        assert_eq!(cache.take(8192), None);
        assert_eq!(cache.take(2048), Some((4096, 7)));
        assert_eq!(cache.take(2048), None);
    }

    #[test]
    fn a_size_class_holds_what_was_asked_for_and_little_more() {
        for bytes in (0..5000).chain([1 << 20, (1 << 20) + 1, 3 << 30]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(512), "{bytes}: {class}");
            assert!(class <= (bytes + bytes / 4).max(bytes + 512), "{bytes}: {class}");
            assert_eq!(size_class(class), class);
        }
    }
}
