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

use crate::parallel::for_each_row_block;
use crate::{Buffer, Error, Gradient, Operation, RandomKey, Result, Tensor};

/// Random numbers drawn at a time, a multiple of 4.
const DRAWN_AT_ONCE: usize = 256;

/// x with each value dropped with `probability`, drawn from `key`'s stream; of x's shape.
///
/// # Errors
/// `probability` is not in [0, 1).
pub fn dropout(x: &Tensor, probability: f32, key: RandomKey) -> Result<Tensor> {
    if !(0.0..1.0).contains(&probability) {
        return Err(Error::shape(
            "dropout",
            format!("the probability must lie in [0, 1); found {probability}"),
        ));
    }
    let y = masked(x.data(), probability, key);
    Ok(Buffer::new(y, x.shape())?.recorded(Dropout { x: x.clone(), probability, key }))
}

fn masked(x: &[f32], probability: f32, key: RandomKey) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    for_each_row_block(&mut y, DRAWN_AT_ONCE, |first, values| {
        let x = &x[first * DRAWN_AT_ONCE..];
        let mut random = [0; DRAWN_AT_ONCE];
        for (i, (y, x)) in values.chunks_mut(DRAWN_AT_ONCE).zip(x.chunks(DRAWN_AT_ONCE)).enumerate() {
            let random = &mut random[..x.len()];
            key.fill(((first + i) * DRAWN_AT_ONCE / 4) as u64, random);
            y.copy_from_slice(x);
            drop_values(y, random, probability);
        }
    });
    y
}

/// Sets each value to 0 whose number is below p · 2³², and divides the others by 1 − p.
pub(super) fn drop_values(values: &mut [f32], random: &[u32], probability: f32) {
    let threshold = (f64::from(probability) * f64::from(u32::MAX)) as u32;
    let growth = 1.0 / (1.0 - probability);
    for (value, &random) in values.iter_mut().zip(random) {
        *value = if random >= threshold { *value * growth } else { 0.0 };
    }
}

struct Dropout {
    x: Tensor,
    probability: f32,
    key: RandomKey,
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let dx = masked(gradient.data(), self.probability, self.key);
        Ok(vec![Some(Tensor::new(dx, self.x.shape())?.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_on_threads, check_gradients, sample};

    const KEY: RandomKey = RandomKey { seed: 1, stream: 2 };

    #[test]
    fn gradients_agree_with_differences() {
        for shape in [[1, 7], [5, 1], [9, 6]] {
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
