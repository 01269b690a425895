//! What operations, layers and plugins are tested with: gradient checks, golden values, equal bits on any number of
//! threads, one body for all devices.
//!
//! Everything here panics with a message where a law is broken: it is made for `#[test]` functions.
#![allow(clippy::panic, reason = "a test fails by a panic")]

mod golden;
mod gradient;

pub use crate::cuda::GraphCounts;
pub use golden::assert_close;
pub use gradient::{check_devices, check_gradients, check_gradients_within};

use ndarray_rand::rand::RngCore;

use crate::cuda::Gpu;
use crate::{Device, Philox, RandomKey, Result, Tensor};

/// Values in [−1, 1) of the given shape, the same for the same stream.
pub fn sample(shape: &[usize], stream: u64) -> Tensor {
    let mut generator = Philox::new(RandomKey { seed: 0x7e57, stream });
    let mut tensor = Tensor::zeros(shape);
    tensor.update(|values| {
        for value in values {
            *value = (generator.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
        }
    });
    tensor
}

/// The GPU that tests run on: the first real one where there is one, else the emulated one where it is built in (feature
/// `emulation`). One at most: a tensor has a copy on one GPU.
pub fn accelerators() -> impl Iterator<Item = Device> {
    let is_there = |device: &Device| device.open().is_ok();
    [Device::Cuda(0), Device::Emulated].into_iter().find(is_there).into_iter()
}

/// How often values were fetched from a device until now; a step of training must not do it.
///
/// # Errors
/// The device cannot be used.
pub fn downloads(device: Device) -> Result<u64> {
    match device {
        Device::Cpu => Ok(0),
        Device::Cuda(_) | Device::Emulated => Ok(Gpu::open(device)?.downloads()),
    }
}

/// How many graphs a device ran until now.
///
/// # Errors
/// The device cannot be used.
pub fn graph_counts(device: Device) -> Result<GraphCounts> {
    match device {
        Device::Cpu => Ok(GraphCounts::default()),
        Device::Cuda(_) | Device::Emulated => Ok(Gpu::open(device)?.graph_counts()),
    }
}

/// Runs one test body on every device that this machine has.
pub fn on_each_device(body: impl Fn(Device)) {
    body(Device::Cpu);
    accelerators().for_each(body);
}

/// Asserts that `compute` gives the same bits on 1, 2 and 4 threads.
pub fn assert_same_on_threads(compute: impl Fn() -> Vec<Vec<f32>> + Sync) {
    let bits = |threads: usize| -> Vec<Vec<u32>> {
        let pool = match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
            Ok(pool) => pool,
            Err(error) => panic!("no pool of {threads} threads: {error}"),
        };
        let results = pool.install(&compute);
        results.iter().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
    };
    let one = bits(1);
    for threads in [2, 4] {
        assert!(one == bits(threads), "the result on {threads} threads differs from that on one");
    }
}
