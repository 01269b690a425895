//! A part of a transposed matrix, written out with its rows side by side.
//!
//! `gemm` packs a matrix that it must read transposed value by value, which takes a fifth of the time of the product; squares
//! of 16 × 16 values in registers take a fifth of that.

use std::cell::RefCell;

use super::Matrix;
use crate::memory::Workspace;

/// Columns that are turned at a time, and values of each.
pub(super) const SQUARE: usize = 16;

thread_local! {
    /// What each thread turns a block into.
    static TURNED: RefCell<Workspace> = RefCell::default();
}

/// Calls `work` with a transposed matrix `[inner, columns]` written out anew, its rows side by side; with itself where this
/// processor has no quick way to do so, or the shape is not of whole squares.
pub(super) fn with_rows_side_by_side(
    matrix: Matrix<'_>,
    inner: usize,
    columns: usize,
    work: impl FnOnce(Matrix<'_>),
) {
    TURNED.with_borrow_mut(|turned| {
        let turned = turned.overwritable(inner * columns);
        work(if turn(matrix, columns, turned) { Matrix::new(turned, columns) } else { matrix });
    });
}

fn turn(matrix: Matrix<'_>, columns: usize, turned: &mut [f32]) -> bool {
    let inner = turned.len() / columns;
    if !columns.is_multiple_of(SQUARE) || !inner.is_multiple_of(SQUARE) || !has_squares() {
        return false;
    }
    for column in (0..columns).step_by(SQUARE) {
        let lines: [&[f32]; SQUARE] = std::array::from_fn(|line| matrix.line(column + line, inner));
        turn_lines(&lines, &mut turned[column..], columns);
    }
    true
}

/// `turned[i · stride + line] = lines[line][i]`, for at most 16 lines of one length.
pub(super) fn turn_lines(lines: &[&[f32]], turned: &mut [f32], stride: usize) {
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "no quick way there"))]
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if let Ok(lines) = <&[&[f32]; SQUARE]>::try_from(lines)
        && has_squares()
    {
        done = lines[0].len() / SQUARE * SQUARE;
        // SAFETY: the processor has AVX-512.
        unsafe { x86::turn_squares(lines, done, turned, stride) };
    }
    for (place, line) in lines.iter().enumerate() {
        let values = turned.iter_mut().skip(done * stride + place).step_by(stride);
        values.zip(&line[done..]).for_each(|(turned, value)| *turned = *value);
    }
}

/// Whether this processor has a quick way to turn squares.
fn has_squares() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::SQUARE;

    /// The first `length` values of each line, whole squares of them.
    #[target_feature(enable = "avx512f")]
    pub(super) fn turn_squares(lines: &[&[f32]; SQUARE], length: usize, turned: &mut [f32], stride: usize) {
        assert!(lines.iter().all(|line| line.len() >= length) && length.is_multiple_of(SQUARE));
        assert!(stride >= SQUARE && (length == 0 || turned.len() >= (length - 1) * stride + SQUARE));
        for first in (0..length).step_by(SQUARE) {
            let mut rows = [_mm512_setzero_ps(); SQUARE];
            for (row, line) in rows.iter_mut().zip(lines) {
                // SAFETY: each line has a square's values from here on.
                *row = unsafe { _mm512_loadu_ps(line.as_ptr().add(first)) };
            }
            for (index, column) in transposed(rows).into_iter().enumerate() {
                // SAFETY: the last row of the last square ends within `turned`.
                unsafe { _mm512_storeu_ps(turned.as_mut_ptr().add((first + index) * stride), column) };
            }
        }
    }

    // Loops, no closures: what a function of `core` makes of a closure has this processor's instructions only if it is inlined.

    /// A square with rows and columns exchanged: pairs of values, then fours, then whole 128-bit parts change places.
    #[target_feature(enable = "avx512f")]
    fn transposed(rows: [__m512; SQUARE]) -> [__m512; SQUARE] {
        let mut pairs = [_mm512_setzero_pd(); SQUARE];
        for (i, pairs) in pairs.iter_mut().enumerate() {
            let (upper, lower) = (rows[i & !1], rows[i | 1]);
            let pair =
                if i % 2 == 0 { _mm512_unpacklo_ps(upper, lower) } else { _mm512_unpackhi_ps(upper, lower) };
            *pairs = _mm512_castps_pd(pair);
        }
        // Of each four rows: column 4 p + i in the 128-bit part p.
        let mut fours = rows;
        for (i, fours) in fours.iter_mut().enumerate() {
            let first = i / 4 * 4 + i / 2 % 2;
            let (upper, lower) = (pairs[first], pairs[first + 2]);
            let four =
                if i % 2 == 0 { _mm512_unpacklo_pd(upper, lower) } else { _mm512_unpackhi_pd(upper, lower) };
            *fours = _mm512_castpd_ps(four);
        }
        let mut columns = fours;
        for i in 0..4 {
            let (a, b, c, d) = (fours[i], fours[4 + i], fours[8 + i], fours[12 + i]);
            let (ab_even, ab_odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
            let (cd_even, cd_odd) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
            columns[i] = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
            columns[4 + i] = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
            columns[8 + i] = _mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even);
            columns[12 + i] = _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_where_it_was_read() {
        for (inner, columns) in [(48, 32), (16, 16), (47, 32), (48, 31)] {
            let values: Vec<f32> = (0..columns * inner).map(|value| value as f32).collect();
            let matrix = Matrix::new(&values, inner).transposed();
            let mut calls = 0;
            with_rows_side_by_side(matrix, inner, columns, |turned| {
                calls += 1;
                for (row, column) in (0..inner).flat_map(|row| (0..columns).map(move |column| (row, column)))
                {
                    assert_eq!(turned.at(row, column), matrix.at(row, column), "row {row}, column {column}");
                }
            });
            assert_eq!(calls, 1);
        }
    }
}
