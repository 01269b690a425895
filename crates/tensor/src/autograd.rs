//! Gradients by walking back over recorded operations.
//!
//! A result remembers its operation, and the operation its inputs. Ids grow with time, so taking the pending tensor
//! with the greatest id first visits every result after all of its uses, in the same order on every run. A tensor used
//! several times has its gradients added; nothing else is ever added to or overwritten.

use std::collections::BTreeMap;

use crate::cuda::{Gpu, Grid};
use crate::lanes::add;
use crate::parallel::for_each_row_block;
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

/// The gradient of one tensor.
#[derive(Clone, Debug)]
pub enum Gradient {
    /// One value for each value of the tensor, in its shape.
    Dense(Tensor),
    /// Only the rows that were touched; all others are zero.
    Rows(RowGradient),
}

/// The gradient of a matrix of which few rows were read, such as an embedding.
#[derive(Clone, Debug)]
pub struct RowGradient {
    /// The rows touched, ascending, each once.
    pub rows: Vec<u32>,
    /// Their gradients, `[rows.len(), width]`.
    pub values: Tensor,
    /// The number of rows of the whole matrix.
    pub total_rows: usize,
}

impl From<Tensor> for Gradient {
    fn from(tensor: Tensor) -> Self {
        Gradient::Dense(tensor)
    }
}

impl Gradient {
    /// The gradient with a value everywhere.
    pub fn to_dense(&self) -> Tensor {
        match self {
            Gradient::Dense(tensor) => tensor.clone(),
            Gradient::Rows(sparse) => {
                let (_, width) = sparse.values.rows_columns();
                let mut dense = Tensor::zeros(&[sparse.total_rows, width]);
                dense.update(|values| sparse.add_to(values));
                dense
            }
        }
    }

    /// What is kept: the whole gradient, or that of the touched rows.
    pub fn kept(&self) -> &Tensor {
        match self {
            Gradient::Dense(tensor) => tensor,
            Gradient::Rows(sparse) => &sparse.values,
        }
    }

    /// What is kept, to be changed in place, its shape apart.
    pub fn kept_mut(&mut self) -> &mut Tensor {
        match self {
            Gradient::Dense(tensor) => tensor,
            Gradient::Rows(sparse) => &mut sparse.values,
        }
    }

    /// The values that are kept: all of them, or those of the touched rows.
    pub fn values(&self) -> &[f32] {
        self.kept().data()
    }

    /// Changes the kept values in place.
    pub fn update(&mut self, change: impl FnOnce(&mut [f32])) {
        self.kept_mut().update(change);
    }
}

impl Gradient {
    /// The sum of two gradients of one tensor.
    ///
    /// # Errors
    /// They lie on a GPU, which failed.
    pub fn plus(self, other: Gradient) -> Result<Gradient> {
        match (self, other) {
            (Gradient::Dense(mut sum), Gradient::Dense(term)) => {
                add_to(&mut sum, &term)?;
                Ok(Gradient::Dense(sum))
            }
            (Gradient::Dense(mut sum), Gradient::Rows(term))
            | (Gradient::Rows(term), Gradient::Dense(mut sum)) => {
                sum.update(|values| term.add_to(values));
                Ok(Gradient::Dense(sum))
            }
            (Gradient::Rows(a), Gradient::Rows(b)) => Ok(Gradient::Rows(a.merge(&b))),
        }
    }
}

/// sum ← sum + term.
fn add_to(sum: &mut Tensor, term: &Tensor) -> Result<()> {
    if let Some(gpu) = Gpu::of([&*sum, term])? {
        let arguments = [sum.address_mut_on(gpu)?, gpu.read(term)?, sum.len().into()];
        return gpu.launch("arithmetic", "add_to", Grid::over(sum.len()), &arguments);
    }
    sum.update(|values| {
        for_each_row_block(values, 1, |first, values| add(values, &term.data()[first..]));
    });
    Ok(())
}

impl RowGradient {
    fn add_to(&self, dense: &mut [f32]) {
        let (_, width) = self.values.rows_columns();
        for (i, &row) in self.rows.iter().enumerate() {
            let target = &mut dense[row as usize * width..(row as usize + 1) * width];
            target.iter_mut().zip(self.values.row(i)).for_each(|(v, t)| *v += t);
        }
    }

    fn merge(&self, other: &RowGradient) -> RowGradient {
        let (_, width) = self.values.rows_columns();
        let mut rows: Vec<u32> = self.rows.iter().chain(&other.rows).copied().collect();
        rows.sort_unstable();
        rows.dedup();
        let mut values = Tensor::zeros(&[rows.len(), width]);
        values.update(|sum| {
            for part in [self, other] {
                for (i, row) in part.rows.iter().enumerate() {
                    // Present by construction: `rows` is the union.
                    let Ok(at) = rows.binary_search(row) else { continue };
                    let target = &mut sum[at * width..(at + 1) * width];
                    target.iter_mut().zip(part.values.row(i)).for_each(|(v, t)| *v += t);
                }
            }
        });
        RowGradient { rows, values, total_rows: self.total_rows }
    }
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
        Ok(sum.map_or_else(|| Tensor::zeros(shared.shape()), |gradient| gradient.to_dense()))
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
        let gradients = operation.backward(&tensor, &gradient.to_dense())?;
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

    #[test]
    fn a_tensor_used_twice_gets_the_sum() {
        let x = Tensor::new(vec![2.0, 3.0], &[2]).unwrap().leaf();
        let y = sum(&add(&multiply(&x, &x).unwrap(), &x).unwrap()).unwrap();
        let gradients = y.backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().values(), [5.0, 7.0]);
    }

    #[test]
    fn several_losses_share_one_call() {
        let x = Tensor::new(vec![2.0, 3.0], &[2]).unwrap().leaf();
        let shared = multiply(&x, &x).unwrap();
        let first = sum(&shared).unwrap();
        let second = sum(&multiply(&shared, &shared).unwrap()).unwrap();
        let unrelated = sum(&x).unwrap();
        let gradients = gradients_of_losses(&[first.clone(), second, unrelated], &shared).unwrap();
        assert_eq!(gradients[0].data(), [1.0, 1.0]);
        assert_eq!(gradients[1].data(), [8.0, 18.0]);
        assert_eq!(gradients[2].data(), [0.0, 0.0]);
        assert_eq!(first.backward().unwrap().get(&x).unwrap().values(), [4.0, 6.0]);
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

    #[test]
    fn sparse_and_dense_gradients_add_up() {
        let sparse = |rows: &[u32], values: &[f32]| {
            let values = Tensor::new(values.to_vec(), &[rows.len(), 2]).unwrap();
            Gradient::Rows(RowGradient { rows: rows.to_vec(), values, total_rows: 3 })
        };
        let both =
            sparse(&[0, 2], &[1.0, 2.0, 3.0, 4.0]).plus(sparse(&[1, 2], &[5.0, 6.0, 7.0, 8.0])).unwrap();
        assert_eq!(both.to_dense().data(), [1.0, 2.0, 5.0, 6.0, 10.0, 12.0]);
        let dense = Gradient::Dense(Tensor::full(&[3, 2], 1.0)).plus(both).unwrap();
        assert_eq!(dense.values(), [2.0, 3.0, 6.0, 7.0, 11.0, 13.0]);
    }
}
