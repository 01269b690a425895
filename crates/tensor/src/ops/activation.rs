//! Value by value through a fixed function: gelu, relu, tanh, sigmoid.
//!
//! ```text
//! gelu     y = x Φ(x)              dx = dy (Φ(x) + x φ(x))     Φ, φ: distribution and density of the standard normal
//! relu     y = max(x, 0)           dx = dy where x > 0, else 0
//! tanh     y = tanh x              dx = dy (1 − y²)
//! sigmoid  y = 1 / (1 + e^−x)      dx = dy y (1 − y)
//! ```
//!
//! Kept for the backward: x. A fifth function is one more `Function`.

use std::marker::PhantomData;

use pulp::{Arch, NullaryFnOnce};

use crate::cuda::Gpu;
use crate::exponential;
use crate::normal_distribution::standard_normal;
use crate::parallel::for_each_row_block;
use crate::{Buffer, Gradient, Operation, Result, Tensor};

/// x Φ(x), the exact form; of x's shape. Hendrycks and Gimpel, *Gaussian Error Linear Units*, 2016.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    apply::<Gelu>(x)
}

/// max(x, 0), of x's shape.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply::<Relu>(x)
}

/// The hyperbolic tangent, of x's shape.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    apply::<Tanh>(x)
}

/// 1 / (1 + e^−x), of x's shape.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    apply::<Sigmoid>(x)
}

/// A function of one number, with its derivative where x gave y. No branches: loops over it become vector code.
trait Function: Send + Sync + 'static {
    const NAME: &'static str;
    /// The kernels of `kernels/activation.cu`.
    const FORWARD: &'static str;
    const BACKWARD: &'static str;

    fn value(x: f32) -> f32;

    fn derivative(x: f32, y: f32) -> f32;
}

struct Gelu;

impl Function for Gelu {
    const NAME: &'static str = "gelu";
    const FORWARD: &'static str = "gelu_forward";
    const BACKWARD: &'static str = "gelu_backward";

    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * standard_normal(x).0
    }

    #[inline(always)]
    fn derivative(x: f32, _y: f32) -> f32 {
        let (distribution, density) = standard_normal(x);
        distribution + x * density
    }
}

struct Relu;

impl Function for Relu {
    const NAME: &'static str = "relu";
    const FORWARD: &'static str = "relu_forward";
    const BACKWARD: &'static str = "relu_backward";

    #[inline(always)]
    fn value(x: f32) -> f32 {
        // Written so that NaN stays NaN, which `max` would hide.
        if x < 0.0 { 0.0 } else { x }
    }

    #[inline(always)]
    fn derivative(x: f32, _y: f32) -> f32 {
        if x > 0.0 { 1.0 } else { 0.0 }
    }
}

struct Tanh;

impl Function for Tanh {
    const NAME: &'static str = "tanh";
    const FORWARD: &'static str = "tanh_forward";
    const BACKWARD: &'static str = "tanh_backward";

    #[inline(always)]
    fn value(x: f32) -> f32 {
        exponential::tanh(x)
    }

    #[inline(always)]
    fn derivative(_x: f32, y: f32) -> f32 {
        1.0 - y * y
    }
}

struct Sigmoid;

impl Function for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const FORWARD: &'static str = "sigmoid_forward";
    const BACKWARD: &'static str = "sigmoid_backward";

    #[inline(always)]
    fn value(x: f32) -> f32 {
        exponential::sigmoid(x)
    }

    #[inline(always)]
    fn derivative(_x: f32, y: f32) -> f32 {
        y * (1.0 - y)
    }
}

fn apply<F: Function>(x: &Tensor) -> Result<Tensor> {
    let operation = Activation::<F> { x: x.clone(), function: PhantomData };
    if let Some(gpu) = Gpu::of([x])? {
        let y = gpu.value_by_value("activation", F::FORWARD, &[x])?;
        return Ok(Buffer::on_gpu(y, x.shape()).recorded(operation));
    }
    let mut y = vec![0.0; x.len()];
    for_each_row_block(&mut y, 1, |first, y| {
        Arch::new().dispatch(Values::<F> { y, x: &x.data()[first..], function: PhantomData });
    });
    Ok(Buffer::new(y, x.shape())?.recorded(operation))
}

// The two loops are `NullaryFnOnce` rather than closures, which may not be inlined: `dispatch` compiles what is inlined
// anew for AVX2 and AVX-512. The bits stay the same, since arithmetic is neither reordered nor fused.

struct Values<'a, F> {
    y: &'a mut [f32],
    x: &'a [f32],
    function: PhantomData<F>,
}

impl<F: Function> NullaryFnOnce for Values<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = F::value(x);
        }
    }
}

struct Derivatives<'a, F> {
    dx: &'a mut [f32],
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    function: PhantomData<F>,
}

impl<F: Function> NullaryFnOnce for Derivatives<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (((dx, &x), &y), dy) in self.dx.iter_mut().zip(self.x).zip(self.y).zip(self.dy) {
            *dx = dy * F::derivative(x, y);
        }
    }
}

struct Activation<F> {
    x: Tensor,
    function: PhantomData<F>,
}

impl<F: Function> Operation for Activation<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        if let Some(gpu) = Gpu::of([gradient, &self.x])? {
            let dx = gpu.value_by_value("activation", F::BACKWARD, &[&self.x, output, gradient])?;
            return Ok(vec![Some(Tensor::on_gpu(dx, self.x.shape()).into())]);
        }
        let mut dx = vec![0.0; self.x.len()];
        for_each_row_block(&mut dx, 1, |first, dx| {
            let [x, y, dy] = [&self.x, output, gradient].map(|tensor| &tensor.data()[first..]);
            Arch::new().dispatch(Derivatives::<F> { dx, x, y, dy, function: PhantomData });
        });
        Ok(vec![Some(Tensor::new(dx, self.x.shape())?.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};

    type Activate = fn(&Tensor) -> Result<Tensor>;

    const ALL: [Activate; 4] = [gelu, relu, tanh, sigmoid];

    fn value_and_derivative(function: Activate, x: &[f32]) -> (Tensor, Gradient) {
        let x = Tensor::new(x.to_vec(), &[x.len()]).unwrap().leaf();
        let y = function(&x).unwrap();
        let mut gradients = y.clone().backward_from(Tensor::full(x.shape(), 1.0)).unwrap();
        (y, gradients.take(&x).unwrap())
    }

    #[test]
    fn gradients_agree_with_differences() {
        for shape in [[1, 7], [5, 1], [9, 17]] {
            // Away from 0, where relu has a corner.
            let x = sample(&shape, 1).data().iter().map(|value| value + 0.1f32.copysign(*value)).collect();
            let x = Tensor::new(x, &shape).unwrap();
            for function in ALL {
                check_gradients(std::slice::from_ref(&x), |t| function(&t[0]));
            }
        }
    }

    /// PyTorch 2.15 in f64: `gelu`, `relu`, `tanh`, `sigmoid` and their gradients by autograd.
    #[test]
    fn agrees_with_torch() {
        let x = [-6.0, -3.5, -1.0, -0.3, 0.0, 1e-3, 0.4, 0.7, 1.5, 6.0];
        #[rustfmt::skip]
        let golden: [(Activate, [f32; 10], [f32; 10]); 4] = [
            (gelu,
             [-5.9195258e-9, -8.142018e-4, -0.15865526, -0.11462658, 0.0, 5.00399e-4, 0.2621687, 0.5306254,
              1.3997892, 6.0],
             [-3.546871e-8, -0.0028217605, -0.08331547, 0.2676722, 0.5, 0.50079787, 0.8027298, 0.9766141,
              1.1274692, 1.0]),
            (relu,
             [0.0, 0.0, 0.0, 0.0, 0.0, 1e-3, 0.4, 0.7, 1.5, 6.0],
             [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
            (tanh,
             [-0.9999877, -0.9981779, -0.7615942, -0.2913126, 0.0, 9.999997e-4, 0.37994897, 0.6043678,
              0.90514827, 0.9999877],
             [2.4576548e-5, 0.0036408848, 0.41997433, 0.91513693, 1.0, 0.999999, 0.8556388, 0.6347396,
              0.18070664, 2.4576548e-5]),
            (sigmoid,
             [0.0024726233, 0.02931223, 0.26894143, 0.4255575, 0.5, 0.50025, 0.59868765, 0.6681878,
              0.8175745, 0.99752736],
             [0.0024665094, 0.028453024, 0.19661193, 0.2444583, 0.25, 0.24999994, 0.24026075, 0.22171287,
              0.14914645, 0.0024665094]),
        ];
        for (function, values, derivatives) in golden {
            let (y, dx) = value_and_derivative(function, &x);
            assert_close(y.data(), &values, 3e-7);
            assert_close(dx.values(), &derivatives, 3e-7);
        }
    }

    #[test]
    fn far_values_saturate_and_nan_stays() {
        let x = [-1e4, 1e4, f32::NAN];
        for (function, expected) in ALL.into_iter().zip([[0.0, 1e4], [0.0, 1e4], [-1.0, 1.0], [0.0, 1.0]]) {
            let (y, dx) = value_and_derivative(function, &x);
            assert_eq!(y.data()[..2], expected);
            assert!(y.data()[2].is_nan());
            assert!(dx.values()[..2].iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let (x, dy) = (sample(&[385, 129], 1), sample(&[385, 129], 2));
        for function in ALL {
            assert_same_on_threads(|| {
                let x = x.leaf();
                let y = function(&x).unwrap();
                let values = y.data().to_vec();
                vec![values, y.backward_from(dy.clone()).unwrap().get(&x).unwrap().values().to_vec()]
            });
        }
    }
}
