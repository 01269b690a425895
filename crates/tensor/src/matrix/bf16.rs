//! Products in bf16: operands rounded to 8 bits of mantissa, sums in f32.
//!
//! Where the processor has fast instructions for pairs of bf16 (AMX, AVX512-BF16 of AMD), a [kernel](super::kernel) of them
//! computes the product. Elsewhere the operands are rounded alike and multiplied in f32: the results agree but for the order of
//! sums, and for values below the normal numbers, which the instructions take for 0.

use std::sync::{LazyLock, OnceLock};

use super::grouped::grouped_product_then;
use super::kernel::{Bf16Pair, Group, Kernel, PANEL, Right};
use super::packing::{groups, pack_left, pack_right};
use super::rounded::Rounded;
use super::{F32Right, Matrix, product_of_kept_then, product_then};
use crate::memory::Words;
use crate::parallel::made_once;

/// The right side `[inner, columns]` of a product, rounded, in the order in which it is read.
pub(crate) struct Bf16Right {
    form: Form,
    inner: usize,
    columns: usize,
}

enum Form {
    /// `[⌈columns / 32⌉, groups, 32]` pairs along the inner dimension, for a kernel.
    Panels(Kernel, Words),
    /// For products in f32; of a kept one also its panels, once there was a product of few rows.
    Rounded(Rounded, Option<OnceLock<F32Right>>),
}

impl Bf16Right {
    /// Rounds and orders the right side of one product.
    pub(crate) fn new(right: Matrix<'_>, inner: usize, columns: usize) -> Self {
        Self::new_for(kernel_faster_than_f32(), right, inner, columns, false)
    }

    /// The same for many products.
    pub(crate) fn kept(right: Matrix<'_>, inner: usize, columns: usize) -> Self {
        Self::new_for(kernel_faster_than_f32(), right, inner, columns, true)
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    fn new_for(
        kernel: Option<Kernel>,
        right: Matrix<'_>,
        inner: usize,
        columns: usize,
        is_kept: bool,
    ) -> Self {
        assert!(right.covers(inner, columns), "an operation asked for a product beyond its inputs");
        let form = match kernel {
            Some(kernel) => {
                let groups = groups::<1>(kernel, inner);
                let mut panels = Words::overwritable(columns.next_multiple_of(PANEL) * groups);
                pack_right::<1>(right, inner, columns, groups, &mut panels);
                Form::Panels(kernel, panels)
            }
            None => Form::Rounded(Rounded::new(right, inner, columns), is_kept.then(OnceLock::new)),
        };
        Self { form, inner, columns }
    }

    /// In panels of f32, where that is faster for so many rows.
    fn in_f32(&self, rows: usize) -> Option<&F32Right> {
        let Form::Rounded(rounded, Some(panels)) = &self.form else { return None };
        let values = rounded.row_major().filter(|_| F32Right::pays_for(rows))?;
        made_once(panels, || F32Right::new(values, self.columns))
    }
}

/// `result = left · right`, with left [rows, inner]; then `finish(row, first column, values)` for each part of a row.
pub(crate) fn product_bf16_then(
    result: &mut [f32],
    left: Matrix<'_>,
    right: &Bf16Right,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    if result.is_empty() {
        return;
    }
    let (inner, columns) = (right.inner, right.columns);
    let rows = result.len() / columns;
    assert!(
        result.len() == rows * columns && left.covers(rows, inner),
        "an operation asked for a product beyond its inputs"
    );
    let (kernel, panels) = match &right.form {
        Form::Panels(kernel, panels) => (*kernel, panels),
        Form::Rounded(rounded, _) => {
            let left = Rounded::new(left, rows, inner);
            let sides = left.row_major().and_then(|left| Some((left, right.in_f32(rows)?)));
            return match sides {
                Some((left, right)) => product_of_kept_then(result, left, right, finish),
                None => product_then(result, left.matrix(), rounded.matrix(), inner, columns, finish),
            };
        }
    };
    let groups = groups::<1>(kernel, inner);
    let mut packed = Words::overwritable(rows * groups);
    pack_left::<1>(left, inner, groups, &mut packed);
    let right = Right { panels, starts: None, groups };
    // SAFETY: panels are made only for a kernel that the processor has.
    unsafe { grouped_product_then::<Bf16Pair>(kernel, result, &packed, right, [inner, columns], finish) };
}

/// The fastest kernel of this processor, where it is faster than products in f32.
fn kernel_faster_than_f32() -> Option<Kernel> {
    // Intel's vectors multiply pairs of bf16 at half the rate of f32.
    static PAYS: LazyLock<bool> = LazyLock::new(|| !is_intels());
    Bf16Pair::fastest().filter(|kernel| *kernel == Kernel::Tiles || *PAYS)
}

fn is_intels() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let maker = std::arch::x86_64::__cpuid(0);
        [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_on_threads, sample};
    use proptest::prelude::*;

    fn product(
        kernel: Option<Kernel>,
        left: Matrix<'_>,
        right: Matrix<'_>,
        rows: usize,
        inner: usize,
        columns: usize,
    ) -> Vec<f32> {
        let mut result = vec![f32::NAN; rows * columns];
        let right = Bf16Right::new_for(kernel, right, inner, columns, false);
        product_bf16_then(&mut result, left, &right, |_, _, _| {});
        result
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn all_kernels_agree_for_all_sides(
            rows in 0usize..70, inner in 0usize..70, columns in 1usize..70,
            transpose_left: bool, transpose_right: bool,
        ) {
            let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
            let left = if transpose_left { Matrix::new(a.data(), rows).transposed() } else { Matrix::new(a.data(), inner) };
            let right = if transpose_right { Matrix::new(b.data(), inner).transposed() } else { Matrix::new(b.data(), columns) };
            let expected = product(None, left, right, rows, inner, columns);
            for kernel in Bf16Pair::kernels() {
                // The same products of rounded values; 70 sums in f32 in another order.
                assert_close(&product(Some(kernel), left, right, rows, inner, columns), &expected, 1e-4);
            }
        }
    }

    #[test]
    fn large_products_agree_and_do_not_depend_on_the_threads() {
        for (rows, inner, columns) in [(385, 128, 512), (24, 384, 200), (512, 385, 128)] {
            let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
            let (left, right) = (Matrix::new(a.data(), inner), Matrix::new(b.data(), columns));
            let expected = product(None, left, right, rows, inner, columns);
            for kernel in Bf16Pair::kernels().map(Some).chain([None]) {
                let found = || product(kernel, left, right, rows, inner, columns);
                // 385 sums of size 1 in f32.
                assert_close(&found(), &expected, 1e-3);
                assert_same_on_threads(|| vec![found()]);
            }
        }
    }

    #[test]
    fn what_is_kept_gives_the_same_for_few_rows_and_for_many() {
        let (a, b) = (sample(&[200, 100], 1), sample(&[100, 150], 2));
        let (left, right) = (Matrix::new(a.data(), 100), Matrix::new(b.data(), 150));
        let expected = product(None, left, right, 200, 100, 150);
        let kept = Bf16Right::new_for(None, right, 100, 150, true);
        for rows in [1, 24, 200] {
            let mut result = vec![f32::NAN; rows * 150];
            product_bf16_then(&mut result, left, &kept, |_, _, _| {});
            // 100 sums in f32 in another order.
            assert_close(&result, &expected[..rows * 150], 1e-4);
        }
    }

    #[test]
    fn each_value_is_finished_once() {
        let (a, b) = (sample(&[200, 100], 1), sample(&[100, 150], 2));
        let right = Bf16Right::new(Matrix::new(b.data(), 150), 100, 150);
        let product = |add: f32| {
            let mut result = vec![0.0; 200 * 150];
            product_bf16_then(&mut result, Matrix::new(a.data(), 100), &right, |row, first, values| {
                let of_place = |column: usize| add * (row + first + column) as f32;
                values.iter_mut().enumerate().for_each(|(column, value)| *value += of_place(column));
            });
            result
        };
        let places: Vec<f32> = (0..200 * 150).map(|i| (i / 150 + i % 150) as f32).collect();
        let expected: Vec<f32> =
            product(0.0).iter().zip(places).map(|(value, place)| value + place).collect();
        assert_close(&product(1.0), &expected, 0.0);
    }
}
