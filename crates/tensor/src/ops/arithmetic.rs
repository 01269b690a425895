//! Value by value: sum, product, multiple; and the sum of all values.
//!
//! ```text
//! add       C = A + B     dA = dC       dB = dC
//! multiply  C = A ⊙ B     dA = dC ⊙ B   dB = dC ⊙ A
//! scale     B = c A       dA = c dB
//! sum       s = Σ A       dA = ds everywhere
//! ```

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

fn zip(a: &Tensor, b: &Tensor, function: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut c = memory::overwritable(a.len());
    for_each_row_block(&mut c, 1, |first, c| {
        let values = first..first + c.len();
        let pairs = a.data()[values.clone()].iter().zip(&b.data()[values]);
        c.iter_mut().zip(pairs).for_each(|(c, (&a, &b))| *c = function(a, b));
    });
    c
}

/// A + B, of one shape.
///
/// # Errors
/// The shapes differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_shape("add", a, b)?;
    Ok(Buffer::new(zip(a, b, |a, b| a + b), a.shape())?.recorded(Add { a: a.clone(), b: b.clone() }))
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
    Ok(Buffer::new(zip(a, b, |a, b| a * b), a.shape())?.recorded(Multiply { a: a.clone(), b: b.clone() }))
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
        let by = |other: &Tensor| Tensor::new(zip(gradient, other, |g, v| g * v), gradient.shape());
        Ok(vec![Some(by(&self.b)?.into()), Some(by(&self.a)?.into())])
    }
}

/// factor · A.
pub fn scale(a: &Tensor, factor: f32) -> Result<Tensor> {
    let values = zip(a, a, |value, _| value * factor);
    Ok(Buffer::new(values, a.shape())?.recorded(Scale { a: a.clone(), factor }))
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
    let total = a.data().iter().map(|&value| f64::from(value)).sum::<f64>() as f32;
    Ok(Buffer::new(vec![total], &[])?.recorded(Sum { a: a.clone() }))
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
