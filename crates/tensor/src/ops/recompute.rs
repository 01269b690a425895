//! A part of a model of which nothing is kept but its input: the backward computes it again.
//!
//! ```text
//! y = f(x; θ)         dx, dθ = the gradients of f, recorded anew from x, for dy
//! ```
//!
//! Memory for time: a forward pass more. Dropout draws the same masks again.
//!
//! Chen et al., *Training Deep Nets with Sublinear Memory Cost*, 2016.

use crate::{Error, Gradient, Gradients, Operation, ParameterId, Parameters, Pass, Result, Tensor};

/// `part(parameters, x, pass)`, computed again in the backward instead of kept. `used` are the parameters that it reads;
/// it must compute the same each time.
///
/// # Errors
/// Those of `part`.
pub fn recompute(
    x: &Tensor,
    parameters: &Parameters,
    used: &[ParameterId],
    pass: &mut Pass,
    part: impl Fn(&Parameters, &Tensor, &mut Pass) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let start = pass.clone();
    let leaves: Vec<Tensor> = used.iter().map(|&id| parameters.get(id).clone()).collect();
    let is_tracked = std::iter::once(x).chain(&leaves).any(Tensor::is_tracked);
    // The same call as in the backward, so that the bits are the same; its record is dropped with its result.
    let y = part(parameters, &if is_tracked { x.leaf() } else { x.detach() }, pass)?;
    let operation = Recompute { x: x.clone(), leaves, parameters: parameters.clone(), start, part };
    Ok(y.recorded_view(0, y.shape(), operation))
}

struct Recompute<F> {
    x: Tensor,
    leaves: Vec<Tensor>,
    parameters: Parameters,
    /// The pass as it was before the part.
    start: Pass,
    part: F,
}

impl<F> Operation for Recompute<F>
where
    F: Fn(&Parameters, &Tensor, &mut Pass) -> Result<Tensor> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "recompute"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        std::iter::once(&self.x).chain(&self.leaves).collect()
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let x = self.x.leaf();
        let y = (self.part)(&self.parameters, &x, &mut self.start.clone())?;
        let mut gradients = match y.is_tracked() {
            true => y.backward_from(gradient.clone())?,
            false => Gradients::default(),
        };
        let inputs = std::iter::once(&x).chain(&self.leaves);
        let of_input = |input: &Tensor| match gradients.take(input) {
            Some(gradient) => Ok(Some(gradient)),
            None => Ok(Some(Tensor::zeros_on(input.device(), input.shape())?.into())),
        };
        let found = inputs.map(of_input).collect::<Result<_>>()?;
        match gradients.is_empty() {
            true => Ok(found),
            false => Err(Error::Gradient("a recomputed part read a parameter that it did not name".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::ops::{gelu, linear};
    use crate::testing::{on_each_device, sample};

    fn part(parameters: &Parameters, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let [weight, bias] = ["weight", "bias"].map(|name| parameters.find(name).unwrap());
        let y = gelu(&linear(x, parameters.get(weight), Some(parameters.get(bias)))?)?;
        pass.dropout(&y, 0.3)
    }

    fn results(recomputing: bool, width: usize, device: Device) -> Vec<Vec<f32>> {
        let mut parameters = Parameters::default();
        let used = [("weight", &[width, 5][..]), ("bias", &[5])]
            .map(|(name, shape)| parameters.insert(name, &sample(shape, 2)).unwrap());
        let (x, mut pass) = (sample(&[7, width], 1).leaf().to(device).unwrap(), Pass::training(1, 1));
        let y = match recomputing {
            true => recompute(&x, &parameters, &used, &mut pass, part),
            false => part(&parameters, &x, &mut pass),
        };
        let y = pass.dropout(&y.unwrap(), 0.5).unwrap();
        let mut results = vec![y.data().to_vec()];
        let mut gradients = y.backward_from(sample(&[7, 5], 3)).unwrap();
        let leaves = std::iter::once(&x).chain(used.iter().map(|&id| parameters.get(id)));
        results.extend(leaves.map(|leaf| gradients.take(leaf).unwrap().values().to_vec()));
        results
    }

    #[test]
    fn values_gradients_and_the_masks_that_follow_are_those_of_the_part_itself() {
        // `gemm` sums more than 512 terms in parts, and split products more than 416.
        for width in [6, 700] {
            on_each_device(|device| assert_eq!(results(true, width, device), results(false, width, device)));
        }
    }

    #[test]
    fn a_parameter_that_the_part_does_not_read_gets_zeros() {
        let mut parameters = Parameters::default();
        let id = parameters.insert("unread", &sample(&[3], 1)).unwrap();
        on_each_device(|device| {
            let x = sample(&[2, 2], 2).leaf().to(device).unwrap();
            let y = recompute(&x, &parameters, &[id], &mut Pass::inference(), |_, x, _| gelu(x)).unwrap();
            let gradients = y.backward_from(sample(&[2, 2], 3)).unwrap();
            assert_eq!(gradients.get(&x).unwrap().to_dense().unwrap().device(), device);
            assert_eq!(gradients.get(parameters.get(id)).unwrap().values(), [0.0; 3]);
        });
    }

    #[test]
    fn a_parameter_that_was_not_named_is_an_error() {
        let mut parameters = Parameters::default();
        for (name, shape) in [("weight", &[6, 5][..]), ("bias", &[5])] {
            parameters.insert(name, &sample(shape, 2)).unwrap();
        }
        let x = sample(&[7, 6], 1).leaf();
        let y = recompute(&x, &parameters, &[], &mut Pass::training(1, 1), part).unwrap();
        let error = y.backward_from(sample(&[7, 5], 3)).unwrap_err().to_string();
        assert!(error.contains("did not name"), "{error}");
    }
}
