//! Gradients by walking back over recorded operations.
//!
//! A result remembers its operation, and the operation its inputs. Ids grow with time, so taking the pending tensor
//! with the greatest id first visits every result after all of its uses, in the same order on every run. A tensor used
//! several times has its gradients added; nothing else is ever added to or overwritten.

use std::collections::BTreeMap;

use crate::gradient::{Gradient, RowGradient};
use crate::{Error, Result, Tensor};

/// One operation that made a tensor: what it read, and how a gradient flows back through it.
///
/// Nothing here has a default: an operation without a backward does not compile.
pub trait Operation: Send + Sync + 'static {
    /// A short name for messages, such as `linear`.
    fn name(&self) -> &'static str;

    /// The tensors that the result depends on, in a fixed order.
    fn inputs(&self) -> Vec<&Tensor>;

    /// The gradients of the inputs, in the order of [`inputs`](Self::inputs), from the result and its gradient
    /// (of the result's shape). `None` for an input that needs none: a constant.
    ///
    /// # Errors
    /// Whatever the operations inside refuse.
    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>>;
}

/// The gradients of the leaves that a backward pass reached.
#[derive(Debug, Default)]
pub struct Gradients(BTreeMap<u64, Gradient>);

impl Gradients {
    /// The gradient of a leaf; `None` where nothing flowed to it.
    pub fn get(&self, leaf: &Tensor) -> Option<&Gradient> {
        self.0.get(&leaf.id())
    }

    /// Takes the gradient of a leaf out.
    pub fn take(&mut self, leaf: &Tensor) -> Option<Gradient> {
        self.0.remove(&leaf.id())
    }

    /// Whether there is none, or all were taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the gradients of another pass, for gradient accumulation.
    ///
    /// # Errors
    /// They lie on a GPU, which failed.
    pub fn add(&mut self, other: Gradients) -> Result<()> {
        other.0.into_iter().try_for_each(|(id, gradient)| accumulate(&mut self.0, id, gradient))
    }
}

fn accumulate(sums: &mut BTreeMap<u64, Gradient>, id: u64, gradient: Gradient) -> Result<()> {
    let sum = match sums.remove(&id) {
        Some(sum) => sum.plus(gradient)?,
        None => gradient,
    };
    sums.insert(id, sum);
    Ok(())
}

impl Tensor {
    /// The gradients of this scalar with respect to all leaves it came from. Consumes it, so that each record is
    /// freed as soon as it has been walked.
    ///
    /// # Errors
    /// The tensor is not a single value, or is not tracked.
    pub fn backward(self) -> Result<Gradients> {
        if self.len() != 1 {
            let message = format!("backward starts from one value, found shape {:?}", self.shape());
            return Err(Error::Gradient(message));
        }
        let seed = Tensor::full(self.shape(), 1.0);
        self.backward_from(seed)
    }

    /// The same, from any result and the gradient that reaches it, of its shape.
    ///
    /// # Errors
    /// The shapes differ, or the tensor is not tracked.
    pub fn backward_from(self, gradient: Tensor) -> Result<Gradients> {
        let mut leaves = BTreeMap::new();
        walk(self, gradient, 0, |tensor, gradient| accumulate(&mut leaves, tensor.id(), gradient))?;
        Ok(Gradients(leaves))
    }
}

/// The gradients of several scalars with respect to one tensor they share, one dense tensor of its shape each; zero
/// where a scalar does not depend on it. The records stay, so that the scalars can be walked again.
///
/// # Errors
/// A loss is not a single tracked value.
pub fn gradients_of_losses(losses: &[Tensor], shared: &Tensor) -> Result<Vec<Tensor>> {
    let one = |loss: &Tensor| {
        if loss.len() != 1 {
            let message = format!("a loss is one value, found shape {:?}", loss.shape());
            return Err(Error::Gradient(message));
        }
        let mut sum = None;
        walk(loss.clone(), Tensor::full(loss.shape(), 1.0), shared.id(), |tensor, gradient| {
            if tensor.id() == shared.id() {
                sum = Some(gradient);
            }
            Ok(())
        })?;
        match sum {
            Some(gradient) => gradient.to_dense(),
            None => Tensor::zeros_on(shared.device(), shared.shape()),
        }
    };
    losses.iter().map(one).collect()
}

/// Walks back from `start`, newest result first, and hands each leaf, and the tensor with the id `oldest`, to `reached`
/// with its whole gradient. Nothing older than `oldest` is visited.
fn walk(
    start: Tensor,
    gradient: Tensor,
    oldest: u64,
    mut reached: impl FnMut(&Tensor, Gradient) -> Result<()>,
) -> Result<()> {
    if !start.is_tracked() {
        return Err(Error::Gradient("the tensor depends on no leaf: nothing to differentiate".into()));
    }
    if start.shape() != gradient.shape() {
        let message = format!("the result is {:?}, its gradient {:?}", start.shape(), gradient.shape());
        return Err(Error::Gradient(message));
    }
    let gradient = gradient.to(start.device())?;
    let mut tensors = BTreeMap::from([(start.id(), start)]);
    let mut sums = BTreeMap::new();
    sums.extend(tensors.keys().map(|&id| (id, Gradient::Dense(gradient.clone()))));
    drop(gradient);
    while let (Some((id, tensor)), Some((_, gradient))) = (tensors.pop_last(), sums.pop_last()) {
        let Some(operation) = tensor.operation().filter(|_| id != oldest) else {
            reached(&tensor, gradient)?;
            continue;
        };
        let inputs = operation.inputs();
        let gradients = operation.backward(&tensor, &gradient.to_dense()?)?;
        drop(gradient);
        if gradients.len() != inputs.len() {
            let message = format!("{} gradients for {} inputs", gradients.len(), inputs.len());
            return Err(faulty(operation, message));
        }
        for (place, (input, gradient)) in inputs.into_iter().zip(gradients).enumerate() {
            if !input.is_tracked() || input.id() < oldest {
                continue;
            }
            let Some(gradient) = gradient else {
                return Err(faulty(operation, format!("no gradient for input {place}, which is tracked")));
            };
            check(input, &gradient)
                .map_err(|fault| faulty(operation, format!("for input {place} {fault}")))?;
            accumulate(&mut sums, input.id(), gradient)?;
            tensors.entry(input.id()).or_insert_with(|| input.clone());
        }
    }
    Ok(())
}

fn faulty(operation: &dyn Operation, message: impl std::fmt::Display) -> Error {
    Error::shape(operation.name(), format!("the backward made {message}"))
}

/// What is wrong with the gradient of an input, as the end of a sentence.
fn check(input: &Tensor, gradient: &Gradient) -> std::result::Result<(), String> {
    let (shape, found) = match gradient {
        Gradient::Dense(tensor) => (input.shape().to_vec(), tensor.shape().to_vec()),
        Gradient::Rows(RowGradient { rows, values, total_rows }) => {
            if !rows.is_sorted_by(|a, b| a < b) {
                return Err("a gradient whose rows are not ascending, each once".into());
            }
            let (input_rows, width) = input.rows_columns();
            if *total_rows != input_rows || rows.last().is_some_and(|&row| row as usize >= input_rows) {
                return Err(format!("a gradient of rows beyond its {input_rows}"));
            }
            (vec![rows.len(), width], values.shape().to_vec())
        }
    };
    if shape == found {
        return Ok(());
    }
    Err(format!("a gradient of shape {found:?}, needed is {shape:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{add, multiply, sum};
    use crate::testing::on_each_device;

    #[test]
    fn a_tensor_used_twice_gets_the_sum() {
        let x = Tensor::new(vec![2.0, 3.0], &[2]).unwrap().leaf();
        let y = sum(&add(&multiply(&x, &x).unwrap(), &x).unwrap()).unwrap();
        let gradients = y.backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().values(), [5.0, 7.0]);
    }

    #[test]
    fn several_losses_share_one_call() {
        on_each_device(|device| {
            let x = Tensor::new(vec![2.0, 3.0], &[2]).unwrap().leaf().to(device).unwrap();
            let shared = multiply(&x, &x).unwrap();
            let first = sum(&shared).unwrap();
            let second = sum(&multiply(&shared, &shared).unwrap()).unwrap();
            let unrelated = sum(&x).unwrap();
            let gradients = gradients_of_losses(&[first.clone(), second, unrelated], &shared).unwrap();
            assert!(gradients.iter().all(|gradient| gradient.device() == device));
            assert_eq!(gradients[0].data(), [1.0, 1.0]);
            assert_eq!(gradients[1].data(), [8.0, 18.0]);
            assert_eq!(gradients[2].data(), [0.0, 0.0]);
            assert_eq!(first.backward().unwrap().get(&x).unwrap().values(), [4.0, 6.0]);
        });
    }

    #[test]
    fn a_constant_cannot_be_differentiated() {
        assert!(Tensor::scalar(1.0).backward().is_err());
        assert!(Tensor::zeros(&[2]).leaf().backward().is_err());
    }

    /// The identity with a backward that answers what it is told to.
    struct Told {
        input: Tensor,
        answer: Vec<Option<Gradient>>,
    }

    impl Operation for Told {
        fn name(&self) -> &'static str {
            "told"
        }

        fn inputs(&self) -> Vec<&Tensor> {
            vec![&self.input]
        }

        fn backward(&self, _output: &Tensor, _gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
            Ok(self.answer.clone())
        }
    }

    #[test]
    fn a_faulty_backward_is_named() {
        let message = |answer: Vec<Option<Gradient>>| {
            let input = Tensor::zeros(&[3, 2]).leaf();
            let y = input.recorded_view(0, &[3, 2], Told { input: input.clone(), answer });
            y.backward_from(Tensor::zeros(&[3, 2])).unwrap_err().to_string()
        };
        let dense = |shape: &[usize]| Some(Gradient::Dense(Tensor::zeros(shape)));
        let sparse = |rows: &[u32], shape: &[usize], total_rows| {
            Some(Gradient::Rows(RowGradient {
                rows: rows.to_vec(),
                values: Tensor::zeros(shape),
                total_rows,
            }))
        };
        assert_eq!(message(vec![]), "told: the backward made 0 gradients for 1 inputs");
        assert_eq!(message(vec![dense(&[3, 2]); 2]), "told: the backward made 2 gradients for 1 inputs");
        let expected = "told: the backward made no gradient for input 0, which is tracked";
        assert_eq!(message(vec![None]), expected);
        for (gradient, expected) in [
            (dense(&[2, 3]), "of shape [2, 3], needed is [3, 2]"),
            (sparse(&[1, 0], &[2, 2], 3), "whose rows are not ascending, each once"),
            (sparse(&[1, 1], &[2, 2], 3), "whose rows are not ascending, each once"),
            (sparse(&[0, 3], &[2, 2], 3), "of rows beyond its 3"),
            (sparse(&[0], &[1, 2], 4), "of rows beyond its 3"),
            (sparse(&[0, 1], &[1, 2], 3), "of shape [1, 2], needed is [2, 2]"),
            (sparse(&[0], &[1, 1], 3), "of shape [1, 1], needed is [1, 2]"),
        ] {
            let expected = format!("told: the backward made for input 0 a gradient {expected}");
            assert_eq!(message(vec![gradient]), expected);
        }
    }
}
