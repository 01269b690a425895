use super::super::by_gemm::gemm_product_then;
use super::*;
use crate::testing::{assert_close, assert_same_on_threads, sample};
use proptest::prelude::*;

type Side<'a> = (&'a [f32], bool);

/// Read transposed or not.
fn matrix<'a>((values, is_transposed): Side<'a>, rows: usize, columns: usize) -> Matrix<'a> {
    if is_transposed { Matrix::new(values, rows).transposed() } else { Matrix::new(values, columns) }
}

fn product(kernel: Kernel, left: Side<'_>, right: Side<'_>, [rows, inner, columns]: [usize; 3]) -> Vec<f32> {
    let mut result = vec![f32::NAN; rows * columns];
    let (left, right) = (matrix(left, rows, inner), matrix(right, inner, columns));
    // SAFETY: whoever asks has a kernel of this processor.
    unsafe { split_product_then(kernel, &mut result, left, right, [inner, columns], |_, _, _| {}) };
    result
}

fn product_by_gemm(left: Side<'_>, right: Side<'_>, [rows, inner, columns]: [usize; 3]) -> Vec<f32> {
    let mut result = vec![f32::NAN; rows * columns];
    let (left, right) = (matrix(left, rows, inner), matrix(right, inner, columns));
    gemm_product_then(&mut result, left, right, [inner, columns], |_, _, _| {});
    result
}

/// The greatest error beside the sum of |x y|, in units of 2⁻²⁴.
fn greatest_error(
    found: &[f32],
    left: Matrix<'_>,
    right: Matrix<'_>,
    [rows, inner, columns]: [usize; 3],
) -> f64 {
    let mut greatest = 0.0f64;
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let terms = (0..inner).map(|k| f64::from(left.at(row, k)) * f64::from(right.at(k, column)));
        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
        greatest = greatest.max((f64::from(found[row * columns + column]) - sum).abs() / size);
    }
    greatest * f64::from(1 << 24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn agrees_for_all_sides_and_sizes(
        rows in 1usize..70, inner in 1usize..70, columns in 1usize..70,
        left_is_transposed: bool, right_is_transposed: bool,
    ) {
        let shape = [rows, inner, columns];
        let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
        let (a, b) = ((a.data(), left_is_transposed), (b.data(), right_is_transposed));
        for kernel in SplitPair::kernels() {
            let found = product(kernel, a, b, shape);
            let error = greatest_error(&found, matrix(a, rows, inner), matrix(b, inner, columns), shape);
            prop_assert!(error < 3.0, "{error} units");
        }
    }
}

/// Values of very different sizes, so that each part of them counts.
#[test]
fn is_as_near_as_gemm() {
    for shape @ [rows, inner, columns] in [[40, 300, 50], [20, 1500, 40], [100, 100, 100]] {
        let spread = |values: &[f32]| -> Vec<f32> {
            values.iter().enumerate().map(|(i, value)| value * 2.0f32.powi((i % 23) as i32 - 11)).collect()
        };
        let (a, b) = (spread(sample(&[rows, inner], 1).data()), spread(sample(&[inner, columns], 2).data()));
        let (a, b) = ((&a[..], false), (&b[..], true));
        let error =
            |found: &[f32]| greatest_error(found, matrix(a, rows, inner), matrix(b, inner, columns), shape);
        for kernel in SplitPair::kernels() {
            let (found, of_gemm) =
                (error(&product(kernel, a, b, shape)), error(&product_by_gemm(a, b, shape)));
            assert!(found <= of_gemm, "{shape:?}: {found} units, gemm {of_gemm}");
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    for shape @ [rows, inner, columns] in
        [[385, 128, 512], [500, 900, 100], [100, 2500, 384], [1000, 70, 65], [400, 416, 96]]
    {
        let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
        for kernel in SplitPair::kernels() {
            assert_same_on_threads(|| vec![product(kernel, (a.data(), true), (b.data(), false), shape)]);
        }
    }
}

/// Several blocks in all three directions, one product after the other; the last has more inner values than are held at once.
#[test]
fn large_products_agree_with_gemm() {
    for shape @ [rows, inner, columns] in [[450, 900, 250], [833, 417, 193], [450, 900, 250], [97, 2500, 64]]
    {
        for (left_is_transposed, right_is_transposed, seed) in
            [(false, false, 1), (true, false, 2), (false, true, 3), (true, true, 4)]
        {
            let (a, b) = (sample(&[rows, inner], seed), sample(&[inner, columns], seed + 9));
            let (a, b) = ((a.data(), left_is_transposed), (b.data(), right_is_transposed));
            let expected = product_by_gemm(a, b, shape);
            for kernel in SplitPair::kernels() {
                // Sums of up to 2500 values of size 1.
                assert_close(&product(kernel, a, b, shape), &expected, 1e-3);
            }
        }
    }
}

/// Beside 1, values so small that AMX takes parts of them for 0.
#[test]
fn tiny_values_leave_their_neighbours_alone() {
    for bits in [0x0770_0001, 0x0600_1234, 0x0040_7fff, 0x7fff, 0x7f80, 0x8000_7f80] {
        let values: Vec<f32> =
            (0..40 * 40).map(|i| if i / 40 % 2 == i % 2 { 1.0 } else { f32::from_bits(bits) }).collect();
        let ones = vec![1.0; 40 * 40];
        for (kernel, is_transposed) in
            SplitPair::kernels().flat_map(|kernel| [(kernel, false), (kernel, true)])
        {
            for (left, right) in [(&values, &ones), (&ones, &values)] {
                let found = product(kernel, (left, is_transposed), (right, is_transposed), [40, 40, 40]);
                assert_close(&found, &[20.0; 1600], 0.0);
            }
        }
    }
}

#[test]
fn each_value_is_finished_once() {
    for [rows, inner, columns] in [[450, 100, 250], [450, 900, 250], [100, 2500, 100]] {
        let (a, b) = (sample(&[rows, inner], 1), sample(&[inner, columns], 2));
        let (left, right) = (Matrix::new(a.data(), inner), Matrix::new(b.data(), columns));
        for kernel in SplitPair::kernels() {
            let before = product(kernel, (a.data(), false), (b.data(), false), [rows, inner, columns]);
            let mut after = vec![f32::NAN; rows * columns];
            let add_place = |row: usize, first: usize, values: &mut [f32]| {
                values.iter_mut().enumerate().for_each(|(i, value)| *value += (row + first + i) as f32);
            };
            // SAFETY: a kernel of this processor.
            unsafe { split_product_then(kernel, &mut after, left, right, [inner, columns], add_place) };
            for (i, (before, after)) in before.iter().zip(after).enumerate() {
                assert_eq!(after, before + (i / columns + i % columns) as f32);
            }
        }
    }
}

#[test]
fn what_is_not_finite_does_not_pass_for_a_number() {
    let ones = vec![1.0; 40 * 70];
    for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7fff_ffff), f32::MAX] {
        let mut with = ones.clone();
        with[3 * 40 + 5] = value;
        for (kernel, is_transposed) in
            SplitPair::kernels().flat_map(|kernel| [(kernel, false), (kernel, true)])
        {
            let on_the_left = product(kernel, (&with, is_transposed), (&ones, false), [40, 70, 40]);
            let on_the_right = product(kernel, (&ones, false), (&with, is_transposed), [40, 70, 40]);
            let nan = |found: &[f32]| found.iter().filter(|value| value.is_nan()).count();
            assert_eq!((nan(&on_the_left), nan(&on_the_right)), (40, 40));
        }
    }
}
