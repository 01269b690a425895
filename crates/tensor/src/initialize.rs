//! How parameters begin, drawn through ndarray-rand from a counter-based stream.

use ndarray::{ArrayD, IxDyn};
use ndarray_rand::RandomExt;
use ndarray_rand::rand_distr::{Normal, Uniform};

use crate::{Error, Philox, RandomKey, Result, Tensor};

/// The distribution of a parameter's first values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initializer {
    /// One value everywhere: 0 for biases, 1 for the gains of layer norms.
    Constant(f32),
    /// Normal with mean 0; BERT draws all matrices with 0.02.
    Normal {
        /// Its standard deviation, finite and at least 0.
        standard_deviation: f32,
    },
    /// Uniform in ± a bound.
    Uniform {
        /// The bound, finite and at least 0.
        bound: f32,
    },
}

impl Initializer {
    /// Uniform in ±√(6 / (inputs + outputs)): Glorot and Bengio 2010, equation 16.
    pub fn xavier_uniform(inputs: usize, outputs: usize) -> Self {
        Self::Uniform { bound: (6.0 / (inputs + outputs).max(1) as f32).sqrt() }
    }

    /// A leaf of the given shape; the same key gives the same values.
    ///
    /// # Errors
    /// The standard deviation or the bound is negative or not finite.
    pub fn draw(self, shape: &[usize], key: RandomKey) -> Result<Tensor> {
        let mut generator = Philox::new(key);
        let array: ArrayD<f32> = match self {
            Initializer::Constant(value) => ArrayD::from_elem(IxDyn(shape), value),
            Initializer::Normal { standard_deviation } => {
                let normal = Normal::new(0.0, standard_deviation).ok().filter(|_| standard_deviation >= 0.0);
                let normal = normal.ok_or_else(|| self.refused())?;
                ArrayD::random_using(IxDyn(shape), normal, &mut generator)
            }
            Initializer::Uniform { bound } => {
                let uniform = Uniform::new_inclusive(-bound, bound).map_err(|_| self.refused())?;
                ArrayD::random_using(IxDyn(shape), uniform, &mut generator)
            }
        };
        Ok(Tensor::from_array(array.view()).leaf())
    }

    fn refused(self) -> Error {
        Error::shape("initializer", format!("{self:?} is no distribution"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RandomKey = RandomKey { seed: 7, stream: 1 };

    #[test]
    fn moments_are_those_of_the_distribution() {
        let moments = |tensor: &Tensor| {
            let n = tensor.len() as f64;
            let mean = tensor.data().iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let variance = tensor.data().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
            (mean, variance.sqrt())
        };
        // 60,000 draws: the mean's standard error is 0.4 % of a standard deviation, so 2 % is five of them.
        let (mean, deviation) =
            moments(&Initializer::Normal { standard_deviation: 0.5 }.draw(&[200, 300], KEY).unwrap());
        assert!(mean.abs() < 0.01 && (deviation - 0.5).abs() < 0.01, "{mean} {deviation}");
        let (mean, deviation) =
            moments(&Initializer::xavier_uniform(200, 300).draw(&[200, 300], KEY).unwrap());
        let expected = (2.0f64 / 500.0).sqrt();
        assert!(
            mean.abs() < 0.02 * expected && (deviation / expected - 1.0).abs() < 0.02,
            "{mean} {deviation}"
        );
    }

    #[test]
    fn one_key_gives_one_set_of_values() {
        let draw = |stream| {
            let key = RandomKey { seed: 1, stream };
            Initializer::xavier_uniform(3, 5).draw(&[3, 5], key).unwrap().data().to_vec()
        };
        assert_eq!(draw(4), draw(4));
        assert_ne!(draw(4), draw(5));
    }

    #[test]
    fn a_deviation_that_is_none_is_refused() {
        for standard_deviation in [f32::NAN, f32::INFINITY, -1.0] {
            let error = Initializer::Normal { standard_deviation }.draw(&[2], KEY).unwrap_err().to_string();
            assert!(error.starts_with("initializer: Normal { standard_deviation: "), "{error}");
        }
        for bound in [f32::NAN, f32::INFINITY, -1.0] {
            assert!(Initializer::Uniform { bound }.draw(&[2], KEY).is_err(), "{bound}");
        }
    }
}
