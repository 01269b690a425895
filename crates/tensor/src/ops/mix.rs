//! A weighted sum of tensors of one shape, with weights that are learnt.
//!
//! ```text
//! X_1 … X_n, of one shape   w [n]   →   Y = Σ_l w_l X_l
//! dX_l = w_l dY             dw_l = Σ X_l ⊙ dY
//! ```
//!
//! Peters et al., *Deep contextualized word representations*, 2018, mix the layers of an encoder so. Kept for the backward:
//! all X, w.

use crate::cuda::{Argument, Gpu, Grid, Memory};
use crate::lanes::{add_scaled, sum_pairs, vectorized};
use crate::parallel::{for_each_row_block, row_blocks};
use crate::{Buffer, Error, Gradient, Operation, Result, Tensor, memory};

/// Σ_l w_l X_l, of the tensors' common shape; one weight each.
///
/// # Errors
/// There is no tensor, the shapes differ, or the number of weights.
pub fn mix(tensors: &[Tensor], weights: &Tensor) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::shape("mix", "needs one tensor at least"));
    };
    if let Some(other) = tensors.iter().find(|other| other.shape() != first.shape()) {
        let message = format!("all must have one shape; found {:?} and {:?}", first.shape(), other.shape());
        return Err(Error::shape("mix", message));
    }
    if weights.len() != tensors.len() {
        let message = format!("{} weights for {} tensors", weights.len(), tensors.len());
        return Err(Error::shape("mix", message));
    }
    let operation = Mix { tensors: tensors.to_vec(), weights: weights.clone() };
    if let Some(gpu) = Gpu::of(tensors.iter().chain([weights]))? {
        let y = gpu.allocate(first.len())?;
        for (l, tensor) in tensors.iter().enumerate() {
            add_term(gpu, tensor, gpu.read(weights)?.plus(l), l == 0, &y)?;
        }
        return Ok(Buffer::on_gpu(y, first.shape()).recorded(operation));
    }
    let mut y = memory::zeros(first.len());
    for_each_row_block(&mut y, 1, |start, y| {
        for (tensor, &weight) in tensors.iter().zip(weights.data()) {
            add_multiple(y, weight, &tensor.data()[start..start + y.len()]);
        }
    });
    Ok(Buffer::new(y, first.shape())?.recorded(operation))
}

/// y = w x for the first term, y += w x for the others; w lies at an address.
fn add_term(gpu: &'static Gpu, x: &Tensor, weight: Argument, is_first: bool, y: &Memory) -> Result<()> {
    let arguments = [gpu.read(x)?, weight, u32::from(is_first).into(), Argument::from(y), x.len().into()];
    gpu.launch("mix", "mix_term", Grid::over(x.len()), &arguments)
}

vectorized! {
    fn add_multiple(y: &mut [f32], weight: f32, x: &[f32]) {
        add_scaled(y, weight, x);
    }
}

vectorized! {
    fn product_sum(a: &[f32], b: &[f32]) -> f32 {
        sum_pairs(a, b, |a, b| a * b)
    }
}

struct Mix {
    tensors: Vec<Tensor>,
    weights: Tensor,
}

impl Mix {
    fn backward_on(&self, gpu: &'static Gpu, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let (terms, count) = (self.tensors.len(), gradient.len());
        let grid = Grid::over(count);
        let [blocks, ..] = grid.blocks.map(|blocks| blocks as usize);
        let sums = gpu.allocate(blocks * terms)?;
        let mut gradients = Vec::with_capacity(terms + 1);
        for (l, tensor) in self.tensors.iter().enumerate() {
            let of_term = Argument::from(&sums).plus(l);
            let arguments = [gpu.read(tensor)?, gpu.read(gradient)?, count.into(), terms.into(), of_term];
            gpu.launch("mix", "mix_products", grid, &arguments)?;
            let dx = tensor.is_tracked().then(|| -> Result<Gradient> {
                let dx = gpu.allocate(count)?;
                add_term(gpu, gradient, gpu.read(&self.weights)?.plus(l), true, &dx)?;
                Ok(Tensor::on_gpu(dx, tensor.shape()).into())
            });
            gradients.push(dx.transpose()?);
        }
        let dw = gpu.sum_over_rows(&Tensor::on_gpu(sums, &[blocks, terms]))?;
        gradients.push(Some(Tensor::on_gpu(dw, self.weights.shape()).into()));
        Ok(gradients)
    }
}

impl Operation for Mix {
    fn name(&self) -> &'static str {
        "mix"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        self.tensors.iter().chain([&self.weights]).collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        if let Some(gpu) = Gpu::of([gradient].into_iter().chain(self.inputs()))? {
            return self.backward_on(gpu, gradient);
        }
        let of_tensor = |(tensor, &weight): (&Tensor, &f32)| -> Result<Option<Gradient>> {
            if !tensor.is_tracked() {
                return Ok(None);
            }
            let mut dx = memory::zeros(tensor.len());
            for_each_row_block(&mut dx, 1, |start, dx| {
                add_multiple(dx, weight, &gradient.data()[start..start + dx.len()]);
            });
            Ok(Some(Tensor::of(dx, tensor.shape())?.into()))
        };
        let mut gradients =
            self.tensors.iter().zip(self.weights.data()).map(of_tensor).collect::<Result<Vec<_>>>()?;
        let of_weight = |tensor: &Tensor| {
            let block = |values: std::ops::Range<usize>| {
                product_sum(&tensor.data()[values.clone()], &gradient.data()[values])
            };
            row_blocks(tensor.len(), 1).map(block).sum()
        };
        let dw = self.tensors.iter().map(of_weight).collect();
        gradients.push(Some(Tensor::new(dw, self.weights.shape())?.into()));
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for shape in [[1, 1], [3, 5], [7, 33], [9, 65]] {
            let tensors: Vec<Tensor> = (0..3).map(|stream| sample(&shape, stream)).collect();
            let inputs = [tensors, vec![sample(&[3], 9)]].concat();
            check_gradients(&inputs, |t| mix(&t[..3], &t[3]));
        }
    }

    #[test]
    fn the_sum_is_weighted() {
        let tensors = [1.0, 10.0].map(|value| Tensor::full(&[2, 2], value));
        let weights = Tensor::new(vec![0.5, 0.25], &[2]).unwrap();
        assert_close(mix(&tensors, &weights).unwrap().data(), &[3.0; 4], 0.0);
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let tensors: Vec<Tensor> = (0..3).map(|stream| sample(&[700, 65], stream).leaf()).collect();
        let weights = sample(&[3], 9).leaf();
        assert_same_on_threads(|| {
            let y = mix(&tensors, &weights).unwrap();
            let values = y.data().to_vec();
            let gradients = y.backward_from(sample(&[700, 65], 5)).unwrap();
            vec![values, gradients.get(&weights).unwrap().values().to_vec()]
        });
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let message = |tensors: &[Tensor], weights: usize| {
            mix(tensors, &Tensor::zeros(&[weights])).unwrap_err().to_string()
        };
        let one = Tensor::zeros(&[2, 2]);
        assert_eq!(message(&[], 0), "mix: needs one tensor at least");
        assert_eq!(message(&[one.clone(), one.clone()], 3), "mix: 3 weights for 2 tensors");
        let other = Tensor::zeros(&[2, 3]);
        assert_eq!(message(&[one, other], 2), "mix: all must have one shape; found [2, 2] and [2, 3]");
    }
}
