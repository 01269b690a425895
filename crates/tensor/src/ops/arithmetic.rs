//! Value by value: sum, product, multiple; and the sum of all values.
//!
//! ```text
//! add       C = A + B     dA = dC       dB = dC
//! multiply  C = A ⊙ B     dA = dC ⊙ B   dB = dC ⊙ A
//! scale     B = c A       dA = c dB
//! sum       s = Σ A       dA = ds everywhere
//! ```

use crate::cuda::{Argument, Gpu, Grid};
use crate::parallel::for_each_row_block;
use crate::{Buffer, Error, Gradient, Operation, Result, Tensor, memory};

fn same_shape(operation: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.shape() == b.shape() {
        return Ok(());
    }
    Err(Error::shape(
        operation,
        format!("both sides need one shape; found {:?} and {:?}", a.shape(), b.shape()),
    ))
}

/// A result of A's shape: by `kernel` of `kernels/arithmetic.cu`, or by `function` on the processor.
fn zip(
    a: &Tensor,
    b: &Tensor,
    kernel: &'static str,
    function: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<Buffer> {
    if let Some(gpu) = Gpu::of([a, b])? {
        return Ok(Buffer::on_gpu(gpu.value_by_value("arithmetic", kernel, &[a, b])?, a.shape()));
    }
    let mut c = memory::overwritable(a.len());
    for_each_row_block(&mut c, 1, |first, c| {
        let values = first..first + c.len();
        let pairs = a.data()[values.clone()].iter().zip(&b.data()[values]);
        c.iter_mut().zip(pairs).for_each(|(c, (&a, &b))| *c = function(a, b));
    });
    Buffer::new(c, a.shape())
}

/// A + B, of one shape.
///
/// # Errors
/// The shapes differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_shape("add", a, b)?;
    Ok(zip(a, b, "add", |a, b| a + b)?.recorded(Add { a: a.clone(), b: b.clone() }))
}

struct Add {
    a: Tensor,
    b: Tensor,
}

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a, &self.b]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(gradient.clone().into()), Some(gradient.clone().into())])
    }
}

/// A ⊙ B, value by value, of one shape.
///
/// # Errors
/// The shapes differ.
pub fn multiply(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_shape("multiply", a, b)?;
    Ok(zip(a, b, "multiply", |a, b| a * b)?.recorded(Multiply { a: a.clone(), b: b.clone() }))
}

struct Multiply {
    a: Tensor,
    b: Tensor,
}

impl Operation for Multiply {
    fn name(&self) -> &'static str {
        "multiply"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a, &self.b]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let by = |other: &Tensor| multiply(gradient, &other.detach());
        Ok(vec![Some(by(&self.b)?.into()), Some(by(&self.a)?.into())])
    }
}

/// factor · A.
pub fn scale(a: &Tensor, factor: f32) -> Result<Tensor> {
    let operation = Scale { a: a.clone(), factor };
    if let Some(gpu) = Gpu::of([a])? {
        let b = gpu.allocate(a.len())?;
        let arguments = [gpu.read(a)?, factor.into(), Argument::from(&b), a.len().into()];
        gpu.launch("arithmetic", "scale", Grid::over(a.len()), &arguments)?;
        return Ok(Buffer::on_gpu(b, a.shape()).recorded(operation));
    }
    let mut b = memory::overwritable(a.len());
    for_each_row_block(&mut b, 1, |first, b| {
        b.iter_mut().zip(&a.data()[first..]).for_each(|(b, a)| *b = a * factor);
    });
    Ok(Buffer::new(b, a.shape())?.recorded(operation))
}

struct Scale {
    a: Tensor,
    factor: f32,
}

impl Operation for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(scale(gradient, self.factor)?.into())])
    }
}

/// The sum of all values, from the first to the last; a scalar.
pub fn sum(a: &Tensor) -> Result<Tensor> {
    let operation = Sum { a: a.clone() };
    if let Some(gpu) = Gpu::of([a])? {
        return Ok(Buffer::on_gpu(gpu.sum(gpu.read(a)?, a.len())?, &[]).recorded(operation));
    }
    let total = a.data().iter().map(|&value| f64::from(value)).sum::<f64>() as f32;
    Ok(Buffer::new(vec![total], &[])?.recorded(operation))
}

struct Sum {
    a: Tensor,
}

impl Operation for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        if let Some(gpu) = Gpu::of([gradient, &self.a])? {
            let da = gpu.allocate(self.a.len())?;
            let arguments = [gpu.read(gradient)?, Argument::from(&da), self.a.len().into()];
            gpu.launch("arithmetic", "fill_with", Grid::over(self.a.len()), &arguments)?;
            return Ok(vec![Some(Tensor::on_gpu(da, self.a.shape()).into())]);
        }
        Ok(vec![Some(Tensor::full(self.a.shape(), gradient.item()?).into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradients, sample};

    #[test]
    fn gradients_agree_with_differences() {
        for shape in [&[1usize][..], &[1, 3], &[4, 1], &[6, 5]] {
            let inputs = [sample(shape, 1), sample(shape, 2)];
            check_gradients(&inputs, |t| add(&t[0], &t[1]));
            check_gradients(&inputs, |t| multiply(&t[0], &t[1]));
            check_gradients(&inputs[..1], |t| scale(&t[0], -2.5));
            check_gradients(&inputs[..1], |t| sum(&t[0]));
        }
    }

    #[test]
    fn two_shapes_are_refused() {
        let error = add(&Tensor::zeros(&[2, 3]), &Tensor::zeros(&[3, 2])).unwrap_err().to_string();
        assert_eq!(error, "add: both sides need one shape; found [2, 3] and [3, 2]");
        assert!(multiply(&Tensor::zeros(&[2]), &Tensor::zeros(&[3])).is_err());
    }
}
