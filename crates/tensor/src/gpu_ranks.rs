//! Sums of tensors over several processes, each with a GPU of its own.

use std::fmt;

use crate::cuda::{Gpu, Joined};
use crate::{Device, Result, Tensor};

/// The GPUs of several processes, "ranks", that sum tensors without their coming to main memory, by NCCL.
///
/// ```text
/// rank 0: find, unique_id ─▶ id to all ranks, by other means ─▶ each rank: new(device, rank, size, id) ─▶ sum, sum, …
/// ```
pub struct GpuRanks {
    gpu: &'static Gpu,
    rank: usize,
    size: usize,
    joined: Box<dyn Joined>,
}

impl GpuRanks {
    /// Whether the ranks of such devices can be joined: before anything waits for anybody.
    ///
    /// # Errors
    /// It is no NVIDIA GPU, or NCCL is not installed.
    pub fn find(device: Device) -> Result<()> {
        Gpu::open(device)?.check_ranks()
    }

    /// What all ranks join by: one of them draws it and gives it to the others.
    ///
    /// # Errors
    /// As [`find`](Self::find); or NCCL finds no network.
    pub fn unique_id(device: Device) -> Result<Vec<u8>> {
        Gpu::open(device)?.rank_id()
    }

    /// One of `size` ranks, on a GPU that no other has; waits for all.
    ///
    /// # Errors
    /// NCCL refuses: two ranks have one GPU, or they do not reach each other.
    pub fn new(device: Device, rank: usize, size: usize, id: &[u8]) -> Result<Self> {
        let gpu = Gpu::open(device)?;
        Ok(Self { gpu, rank, size, joined: gpu.join(rank, size, id)? })
    }

    /// The GPU of this rank.
    pub fn device(&self) -> Device {
        self.gpu.device()
    }

    /// Replaces tensors, of the same shapes on each rank, by their sums over the ranks: the same bits on all of them, added in
    /// an order that NCCL chooses by the sizes and how the GPUs are connected. What lies elsewhere comes to the GPU.
    /// It is handed to the GPU, and nothing waits; a rank that is gone shows where somebody does.
    ///
    /// All ranks must be done with their sums before one drops this: whoever still sums then would miss it.
    ///
    /// # Errors
    /// NCCL or the GPU failed.
    pub fn sum(&self, tensors: &mut [&mut Tensor]) -> Result<()> {
        let place = |tensor: &mut &mut Tensor| {
            let values = tensor.len();
            Ok((tensor.address_mut_on(self.gpu)?, values))
        };
        let places = tensors.iter_mut().map(place).collect::<Result<Vec<_>>>()?;
        self.gpu.sum_over_ranks(self.joined.as_ref(), &places)
    }
}

impl fmt::Debug for GpuRanks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rank {} of {} on {} (NCCL)", self.rank, self.size, self.device())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::testing::{accelerators, sample};

    #[test]
    fn what_has_no_nccl_is_an_error_that_says_so() {
        for device in [Device::Cpu, Device::Emulated, Device::Cuda(4096)] {
            let error = GpuRanks::find(device).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{device}: ")), "{error}");
        }
        for device in accelerators().filter(|device| *device == Device::Emulated) {
            assert!(GpuRanks::new(device, 0, 2, &[0; 128]).is_err());
        }
    }

    /// Of matrices, vectors and views, twice; needs two GPUs and NCCL.
    #[test]
    fn two_gpus_hold_the_sum_of_both() {
        let devices = [Device::Cuda(0), Device::Cuda(1)];
        if let Some(reason) = devices.iter().find_map(|&device| GpuRanks::find(device).err()) {
            return eprintln!("skipped, for want of two GPUs and NCCL: {reason}");
        }
        let id = GpuRanks::unique_id(devices[0]).unwrap();
        let tensors = |rank: u64| -> Vec<Tensor> {
            [&[300, 17][..], &[5], &[0, 4], &[1 << 20]].map(|shape| sample(shape, rank)).into()
        };
        let (first, second) = (tensors(1), tensors(2));
        let sums = |rank: usize, own: &[Tensor]| {
            let ranks = GpuRanks::new(devices[rank], rank, 2, &id).unwrap();
            let mut sums: Vec<Tensor> = own.iter().map(|own| own.to(devices[rank]).unwrap()).collect();
            ranks.sum(&mut sums.iter_mut().collect::<Vec<_>>()).unwrap();
            ranks.sum(&mut [&mut sums[0]]).unwrap();
            devices[rank].synchronize().unwrap();
            (ranks, sums)
        };
        thread::scope(|scope| {
            let other = scope.spawn(|| sums(1, &second));
            let results = [sums(0, &first), other.join().unwrap()];
            for (_, sums) in &results {
                for (i, sum) in sums.iter().enumerate() {
                    let factor = if i == 0 { 2.0 } else { 1.0 };
                    let expected =
                        first[i].data().iter().zip(second[i].data()).map(|(a, b)| factor * (a + b));
                    assert!(sum.data().iter().copied().eq(expected), "tensor {i}");
                }
            }
        });
        // What the ranks started from is as it was.
        assert_eq!(first[0].data(), sample(&[300, 17], 1).data());
    }
}
