//! Rotary position embedding: pairs of columns of query and key are turned by an angle that grows with the place of the
//! token in its text, so that their product depends on the distance of two tokens alone.
//!
//! ```text
//! rows of Q, K, V side by side [tokens, 3 · width]   →   the same, Q and K turned, V as it is
//! of a head of d = width / heads columns, and a token at place p of its text, for i < d / 2
//! φ_i = p · base^(−2i / d)
//! Y_i = X_i cos φ_i − X_{i + d/2} sin φ_i        Y_{i + d/2} = X_{i + d/2} cos φ_i + X_i sin φ_i
//!
//! dX is dY turned by −φ
//! ```
//!
//! Kept for the backward: on the processor the cosines and sines, `[longest text, d]`. A GPU, which waits for memory
//! anyway, computes them again.
//!
//! Su et al., *RoFormer*, 2021; the pairs are those of GPT-NeoX, which Hugging Face's models share.

use std::sync::{Arc, OnceLock};

use crate::cuda::{Argument, Gpu, Grid};
use crate::lanes::vectorized;
use crate::memory::{self, Values};
use crate::parallel::for_each_row_block;
use crate::{Buffer, Error, Gradient, Offsets, Operation, Result, Tensor};

/// The rows of query, key and value side by side, `[tokens, 3 · width]` as [`self_attention`](super::self_attention())
/// takes them, with query and key of each head turned by the place of the token in its text; of the same shape. `base`
/// sets how slowly the last pairs of columns turn.
///
/// # Errors
/// The columns are not 3 · width for a width that the heads divide into an even number of columns each, the offsets do
/// not cover the tokens, or the base is not above 0.
///
/// ```
/// # use polytask_tensor::{Offsets, Tensor, ops::rotary};
/// // Query [1, 0], key [0, 1] and value [5, 6] of two tokens; the second is turned by one radian.
/// let projections = Tensor::new([[1.0, 0.0, 0.0, 1.0, 5.0, 6.0]; 2].concat(), &[2, 6])?;
/// let turned = rotary(&projections, &Offsets::from_lengths([2]), 1, 10_000.0)?;
/// let (sin, cos) = 1f32.sin_cos();
/// assert_eq!(turned.row(0), projections.row(0));
/// assert_eq!(turned.row(1), [cos, sin, -sin, cos, 5.0, 6.0]);
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn rotary(projections: &Tensor, texts: &Offsets, heads: usize, base: f32) -> Result<Tensor> {
    let (tokens, columns) = projections.rows_columns();
    if heads == 0 || columns == 0 || columns % (6 * heads) != 0 {
        let found = projections.shape();
        let message = format!(
            "{heads} heads need [tokens, 3 · width] with a width that they divide into even parts; \
             found {found:?}"
        );
        return Err(Error::shape("rotary", message));
    }
    texts.check_rows(tokens, "rotary")?;
    if !(base > 0.0 && base.is_finite()) {
        return Err(Error::shape("rotary", format!("the base must be above 0; found {base}")));
    }
    let rotation = Arc::new(Rotation::new(texts.clone(), columns / (3 * heads), base)?);
    rotation.turned(projections, 1.0, Gpu::of([projections])?)
}

/// By what each token is turned.
struct Rotation {
    texts: Offsets,
    head_width: usize,
    /// How far a pair of columns turns from one place to the next, `[d / 2]`.
    frequencies: Tensor,
    /// Made once the processor turns something.
    table: OnceLock<Table>,
}

struct Table {
    head_width: usize,
    /// The d / 2 cosines of each place, then its sines, `[longest text, d]`.
    values: Values,
    /// The place of each token in its text.
    places: Vec<usize>,
}

impl Rotation {
    fn new(texts: Offsets, head_width: usize, base: f32) -> Result<Self> {
        // Rounded to f32 where PyTorch rounds: far places multiply what the last bit of a frequency changes.
        let frequency = |i: usize| {
            let exponent = (2 * i) as f32 / head_width as f32;
            1.0 / f64::from(base).powf(f64::from(exponent)) as f32
        };
        let frequencies = Tensor::new((0..head_width / 2).map(frequency).collect(), &[head_width / 2])?;
        Ok(Self { texts, head_width, frequencies, table: OnceLock::new() })
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| Table {
            head_width: self.head_width,
            values: self.cosines_and_sines(),
            places: self.texts.iter().flat_map(|text| 0..text.len()).collect(),
        })
    }

    fn cosines_and_sines(&self) -> Values {
        let (head_width, frequencies) = (self.head_width, self.frequencies.data());
        let mut table = memory::overwritable(self.texts.longest() * head_width);
        for_each_row_block(&mut table, head_width, |first, rows| {
            for (place, row) in (first..).zip(rows.chunks_exact_mut(head_width)) {
                let (cosines, sines) = row.split_at_mut(head_width / 2);
                for ((cos, sin), frequency) in cosines.iter_mut().zip(sines).zip(frequencies) {
                    let (s, c) = f64::from(place as f32 * frequency).sin_cos();
                    (*cos, *sin) = (c as f32, s as f32);
                }
            }
        });
        table
    }

    /// Turns query and key of each row of `x` `[tokens, 3 · width]`, forth with a `direction` of 1, back with −1;
    /// on a GPU where one is given.
    fn turned(self: &Arc<Self>, x: &Tensor, direction: f32, gpu: Option<&'static Gpu>) -> Result<Tensor> {
        let (_, columns) = x.rows_columns();
        let operation = Rotary { projections: x.clone(), rotation: self.clone(), direction };
        if let Some(gpu) = gpu {
            let y = gpu.allocate(x.len())?;
            let inputs = [gpu.read(x)?, self.texts.on(gpu)?, gpu.read(&self.frequencies)?];
            let numbers = [columns.into(), self.head_width.into(), direction.into()];
            let arguments = [&inputs[..], &numbers, &[Argument::from(&y)]].concat();
            gpu.launch("rotary", "rotary", Grid::over_rows_of(&self.texts), &arguments)?;
            return Ok(Buffer::on_gpu(y, x.shape()).recorded(operation));
        }
        let table = self.table();
        let mut y = memory::overwritable(x.len());
        for_each_row_block(&mut y, columns, |first, y| {
            let x = &x.data()[first * columns..][..y.len()];
            turn(table, first, columns, direction, x, y);
        });
        Ok(Buffer::new(y, x.shape())?.recorded(operation))
    }
}

vectorized! {
    /// The rows of some tokens from the `first` on.
    fn turn(table: &Table, first: usize, columns: usize, direction: f32, x: &[f32], y: &mut [f32]) {
        let (d, places) = (table.head_width, &table.places[first..]);
        for ((&place, x), y) in places.iter().zip(x.chunks_exact(columns)).zip(y.chunks_exact_mut(columns)) {
            let (cosines, sines) = table.values[place * d..][..d].split_at(d / 2);
            let ((x, value), (y, same)) = (x.split_at(columns / 3 * 2), y.split_at_mut(columns / 3 * 2));
            same.copy_from_slice(value);
            for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
                let ((x, x_half), (y, y_half)) = (x.split_at(d / 2), y.split_at_mut(d / 2));
                let pairs = x.iter().zip(x_half).zip(y.iter_mut().zip(y_half));
                for (((x, x_half), (y, y_half)), (cos, sin)) in pairs.zip(cosines.iter().zip(sines)) {
                    let sin = direction * sin;
                    *y = x * cos - x_half * sin;
                    *y_half = x_half * cos + x * sin;
                }
            }
        }
    }
}

struct Rotary {
    projections: Tensor,
    rotation: Arc<Rotation>,
    direction: f32,
}

impl Operation for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.projections]
    }

    fn backward(&self, _output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let gpu = Gpu::of([gradient, &self.projections])?;
        Ok(vec![Some(self.rotation.turned(gradient, -self.direction, gpu)?.into())])
    }
}

#[cfg(test)]
mod tests;
