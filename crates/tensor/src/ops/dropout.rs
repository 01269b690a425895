//! Dropout: each value is 0 with probability p, the others grow so that the mean stays.
//!
//! ```text
//! y = m ⊙ x / (1 − p)     m ∈ {0, 1}, P(m = 0) = p
//! dx = m ⊙ dy / (1 − p)
//! ```
//!
//! Value i keeps its place when number i of the key's stream is at least p · 2³², so the mask is the same on every
//! device and at any thread count, and the backward draws it again instead of keeping it.
//!
//! Srivastava et al., *Dropout*, JMLR 2014.

use crate::cuda::{Argument, Gpu, Grid};
use crate::lanes::vectorized;
use crate::parallel::for_each_row_block;
use crate::{Buffer, Error, Gradient, Operation, RandomKey, Result, Tensor, memory};

/// x with each value dropped with `probability`, drawn from `key`'s stream; of x's shape.
///
/// # Errors
/// `probability` is not in [0, 1).
pub fn dropout(x: &Tensor, probability: f32, key: RandomKey) -> Result<Tensor> {
    Mask::new("dropout", probability, key)?.of(x, Gpu::of([x])?)
}

/// Which values of a tensor are dropped.
#[derive(Clone, Copy)]
pub(super) struct Mask {
    probability: f32,
    key: RandomKey,
}

/// Random numbers drawn at a time, a multiple of 4.
const DRAWN_AT_ONCE: usize = 256;

impl Mask {
    fn new(operation: &'static str, probability: f32, key: RandomKey) -> Result<Self> {
        if (0.0..1.0).contains(&probability) {
            return Ok(Self { probability, key });
        }
        let message = format!("the probability must lie in [0, 1); found {probability}");
        Err(Error::shape(operation, message))
    }

    /// What an operation with dropout inside is asked for; `None` where nothing is dropped.
    pub(super) fn inside(operation: &'static str, dropout: Option<(f32, RandomKey)>) -> Result<Option<Self>> {
        let mask = dropout.map(|(probability, key)| Self::new(operation, probability, key)).transpose()?;
        Ok(mask.filter(|mask| mask.probability > 0.0))
    }

    /// m ⊙ x / (1 − p) of a whole tensor; on a GPU where one is given.
    pub(super) fn of(self, x: &Tensor, gpu: Option<&'static Gpu>) -> Result<Tensor> {
        let operation = Dropout { x: x.clone(), mask: self };
        if let Some(gpu) = gpu {
            let y = gpu.allocate(x.len())?;
            let arguments = [gpu.read(x)?, Argument::from(&y), x.len().into()];
            let arguments = [&arguments[..], &Self::arguments(Some(self))].concat();
            gpu.launch("dropout", "dropout", Self::drawn_in(Grid::over(x.len())), &arguments)?;
            return Ok(Buffer::on_gpu(y, x.shape()).recorded(operation));
        }
        let mut y = memory::overwritable(x.len());
        for_each_row_block(&mut y, 1, |first, y| {
            masked(self, first, &x.data()[first..first + y.len()], y);
        });
        Ok(Buffer::new(y, x.shape())?.recorded(operation))
    }

    /// The last arguments of a kernel that drops: those of `Dropout` in `kernels/dropout.cuh`.
    pub(super) fn arguments(mask: Option<Self>) -> [Argument; 4] {
        match mask {
            Some(Self { probability, key: RandomKey { seed, stream } }) => {
                [seed.into(), stream.into(), threshold(probability).into(), growth(probability).into()]
            }
            None => [0u64.into(), 0u64.into(), 0u32.into(), 1.0.into()],
        }
    }

    /// The grid of such a kernel, with the shared memory that it draws in: 33 blocks of four numbers a warp.
    pub(super) fn drawn_in(grid: Grid) -> Grid {
        grid.with_shared(grid.threads as usize / 32 * 33 * 16)
    }

    /// Drops of the values `first …` of a tensor.
    #[inline(always)]
    pub(super) fn apply(self, first: usize, values: &mut [f32]) {
        let mut random = [0; DRAWN_AT_ONCE];
        let (mut first, mut rest) = (first, values);
        while !rest.is_empty() {
            // Numbers come in blocks of 4.
            let before = first % 4;
            let count = rest.len().min(DRAWN_AT_ONCE - before);
            let (values, others) = rest.split_at_mut(count);
            self.key.fill((first / 4) as u64, &mut random[..before + count]);
            drop_values(values, &random[before..before + count], self.probability);
            (first, rest) = (first + count, others);
        }
    }
}

vectorized! {
    /// y = m ⊙ x / (1 − p), of the values `first …` of a tensor.
    pub(super) fn masked(mask: Mask, first: usize, x: &[f32], y: &mut [f32]) {
        for (i, (y, x)) in y.chunks_mut(DRAWN_AT_ONCE).zip(x.chunks(DRAWN_AT_ONCE)).enumerate() {
            y.copy_from_slice(x);
            mask.apply(first + i * DRAWN_AT_ONCE, y);
        }
    }
}

/// Sets each value to 0 whose number is below p · 2³², and divides the others by 1 − p.
#[inline(always)]
pub(super) fn drop_values(values: &mut [f32], random: &[u32], probability: f32) {
    let (threshold, growth) = (threshold(probability), growth(probability));
    for (value, &random) in values.iter_mut().zip(random) {
        *value = if random >= threshold { *value * growth } else { 0.0 };
    }
}

/// Numbers below it drop their values.
#[inline(always)]
fn threshold(probability: f32) -> u32 {
    (f64::from(probability) * f64::from(u32::MAX)) as u32
}

/// What the other values are multiplied by.
#[inline(always)]
fn growth(probability: f32) -> f32 {
    1.0 / (1.0 - probability)
}

struct Dropout {
    x: Tensor,
    mask: Mask,
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(self.mask.of(gradient, Gpu::of([gradient, &self.x])?)?.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_on_threads, check_gradients, sample};

    const KEY: RandomKey = RandomKey { seed: 1, stream: 2 };

    #[test]
    fn gradients_agree_with_differences() {
        for shape in [[1, 7], [5, 1], [9, 6], [3, 50]] {
            check_gradients(&[sample(&shape, 1)], |t| dropout(&t[0], 0.3, KEY));
        }
    }

    #[test]
    fn the_share_dropped_and_the_mean_are_as_promised() {
        let y = dropout(&Tensor::full(&[1000, 100], 1.0), 0.3, KEY).unwrap();
        let dropped = y.data().iter().filter(|&&v| v == 0.0).count() as f64 / 1e5;
        // 100,000 draws: the standard error is 0.0015.
        assert!((dropped - 0.3).abs() < 0.008, "{dropped}");
        assert!(y.data().iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
    }

    #[test]
    fn the_mask_depends_on_the_key_alone() {
        let x = sample(&[700, 65], 1);
        assert_same_on_threads(|| vec![dropout(&x, 0.5, KEY).unwrap().data().to_vec()]);
        let other = RandomKey { stream: 3, ..KEY };
        assert_ne!(dropout(&x, 0.5, KEY).unwrap().data(), dropout(&x, 0.5, other).unwrap().data());
    }

    #[test]
    fn a_probability_of_one_is_refused() {
        assert!(dropout(&Tensor::zeros(&[1]), 1.0, KEY).is_err());
        assert!(dropout(&Tensor::zeros(&[1]), f32::NAN, KEY).is_err());
    }
}
