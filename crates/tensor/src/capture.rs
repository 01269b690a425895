use std::fmt;

use crate::cuda::Gpu;
use crate::{Device, Result};

/// What is handed to a GPU while this lives, run as one CUDA graph in the end: to launch a graph takes the processor less than
/// to launch its hundreds of kernels one by one.
///
/// Nothing of it runs before, and all of it in the order in which it was handed over, so results are the same to the bit. What
/// needs an answer, such as values that are read, runs what was captured so far, and from there on nothing is captured; a later
/// capture of the same GPU does so, too.
///
/// ```
/// # use polytask_tensor::{Capture, Device, Result, Tensor, ops};
/// # fn step(device: Device, a: &Tensor, b: &Tensor) -> Result<Tensor> {
/// let capture = Capture::begin(device)?; // `None` on the processor, where everything runs at once
/// let sum = ops::add(a, b)?;
/// capture.map_or(Ok(()), Capture::launch)?;
/// # Ok(sum) }
/// # step(Device::Cpu, &Tensor::scalar(1.0), &Tensor::scalar(2.0)).unwrap();
/// ```
#[must_use = "what is captured runs when this is launched or dropped"]
pub struct Capture(&'static Gpu);

impl Capture {
    /// Captures from now on what any thread hands to a GPU.
    ///
    /// # Errors
    /// The device cannot be used.
    pub fn begin(device: Device) -> Result<Option<Self>> {
        if device == Device::Cpu {
            return Ok(None);
        }
        let gpu = Gpu::open(device)?;
        gpu.begin_capture()?;
        Ok(Some(Self(gpu)))
    }

    /// Hands over what was captured, and does not wait for it.
    ///
    /// # Errors
    /// The GPU refuses it; then nothing of it runs.
    pub fn launch(self) -> Result<()> {
        self.0.end_capture()
    }
}

impl Drop for Capture {
    /// Launches what was captured, where an error came before that: what was handed over without one is relied upon. Whoever
    /// uses the GPU next gets an error of it.
    fn drop(&mut self) {
        if let Err(error) = self.0.end_capture() {
            self.0.remember(&error);
        }
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a capture of {}", self.0.device())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{accelerators, graph_counts, sample};
    use crate::{Tensor, ops};

    /// Two layers, forward and backward: kernels, products, uploads, and memory that is handed on.
    fn layers(device: Device, rows: usize, between: impl FnOnce(&Tensor)) -> Vec<Tensor> {
        let [x, first, second] =
            [[rows, 24], [24, 40], [40, 5]].map(|shape| sample(&shape, 1).to(device).unwrap().leaf());
        let inner = ops::gelu(&ops::linear(&x, &first, None).unwrap()).unwrap();
        between(&inner);
        let y = ops::linear(&inner, &second, Some(&sample(&[5], 2))).unwrap();
        let mut gradients = y.clone().backward_from(sample(&[rows, 5], 3)).unwrap();
        let gradients = [&x, &first, &second].map(|of| gradients.take(of).unwrap().to_dense().unwrap());
        [vec![y], gradients.into()].concat()
    }

    fn bits(tensors: &[Tensor]) -> Vec<u32> {
        tensors.iter().flat_map(|tensor| tensor.data().to_vec()).map(f32::to_bits).collect()
    }

    #[test]
    fn what_is_captured_gives_the_bits_that_running_at_once_gives() {
        for device in accelerators() {
            for rows in [7, 300, 7] {
                let expected = bits(&layers(device, rows, |_| ()));
                let before = graph_counts(device).unwrap().launched;
                let capture = Capture::begin(device).unwrap().unwrap();
                let results = layers(device, rows, |_| ());
                capture.launch().unwrap();
                assert!(graph_counts(device).unwrap().launched > before, "{device}");
                assert!(bits(&results) == expected, "{device}, {rows} rows");
            }
        }
    }

    #[test]
    fn values_that_are_read_meanwhile_end_the_capture() {
        for device in accelerators() {
            let mut read = Vec::new();
            let expected = bits(&layers(device, 50, |inner| read = inner.data().to_vec()));
            let capture = Capture::begin(device).unwrap().unwrap();
            let results = layers(device, 50, |inner| assert!(inner.data() == read, "{device}"));
            capture.launch().unwrap();
            assert!(bits(&results) == expected, "{device}");
        }
    }

    #[test]
    fn what_came_before_an_error_runs_all_the_same() {
        let step = |device: Device, kept: &mut Vec<Tensor>| -> Result<()> {
            let capture = Capture::begin(device)?;
            kept.extend(layers(device, 30, |_| ()));
            let bias = sample(&[3], 0).to(device)?;
            ops::linear(&kept[0], &sample(&[6, 3], 0), Some(&bias))?;
            capture.map_or(Ok(()), Capture::launch)
        };
        for device in accelerators() {
            let expected = bits(&layers(device, 30, |_| ()));
            let mut kept = Vec::new();
            assert!(step(device, &mut kept).is_err(), "six inputs for five columns");
            assert!(bits(&kept) == expected, "{device}");
        }
    }

    #[test]
    fn a_capture_that_follows_another_launches_it() {
        for device in accelerators() {
            let expected = bits(&layers(device, 12, |_| ()));
            let first = Capture::begin(device).unwrap().unwrap();
            let results = layers(device, 12, |_| ());
            let second = Capture::begin(device).unwrap().unwrap();
            let further = layers(device, 12, |_| ());
            drop((first, second));
            assert!(bits(&results) == expected && bits(&further) == expected, "{device}");
        }
    }

    #[test]
    fn on_the_processor_nothing_is_captured() {
        assert!(Capture::begin(Device::Cpu).unwrap().is_none());
    }
}
