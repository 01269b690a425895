//! Products of the size of one head of one text: a tile of the result stays in registers while the inner dimension goes
//! by.

use pulp::{Simd, WithSimd};

use crate::parallel::RowParts;

/// Rows of a tile of two vectors a row, and of one: the sums, a row of the right side and a value of the left one fill
/// the 16 registers of AVX2.
const ROWS_OF_TWO: usize = 6;
const ROWS_OF_ONE: usize = 2 * ROWS_OF_TWO;

/// Rows of a matrix, or some columns of them: row i begins with value `i · stride`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

impl Rows<'_> {
    /// The rows from `first` on.
    #[inline(always)]
    pub(super) fn from(self, first: usize) -> Self {
        Self { values: &self.values[first * self.stride..], stride: self.stride }
    }

    /// The columns from `first` on.
    #[inline(always)]
    pub(super) fn columns_from(self, first: usize) -> Self {
        Self { values: &self.values[first..], stride: self.stride }
    }
}

/// The left side of a product.
pub(super) trait Left: Copy {
    fn values(&self) -> &[f32];

    /// Where value (row, inner) stands; grows with both.
    fn place(&self, row: usize, inner: usize) -> usize;
}

impl Left for Rows<'_> {
    #[inline(always)]
    fn values(&self) -> &[f32] {
        self.values
    }

    #[inline(always)]
    fn place(&self, row: usize, inner: usize) -> usize {
        row * self.stride + inner
    }
}

/// The same values read with rows and columns exchanged.
#[derive(Clone, Copy)]
pub(super) struct Transposed<'a>(pub(super) Rows<'a>);

impl Left for Transposed<'_> {
    #[inline(always)]
    fn values(&self) -> &[f32] {
        self.0.values
    }

    #[inline(always)]
    fn place(&self, row: usize, inner: usize) -> usize {
        self.0.place(inner, row)
    }
}

/// Where a result begins, among rows of which other tasks may write other parts.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) rows: &'a RowParts<'a>,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// result `[rows, columns]` = left `[rows, inner]` · right `[inner, columns]`.
#[inline(always)]
pub(super) fn product<S: Simd>(
    simd: S,
    result: &mut [f32],
    left: impl Left,
    right: Rows<'_>,
    inner: usize,
    columns: usize,
) {
    let shape = [result.len() / columns, inner, columns];
    let rows = RowParts::new(result, columns);
    // SAFETY: the result is borrowed for the call.
    unsafe { product_at(simd, Place { rows: &rows, row: 0, column: 0 }, left, right, shape, false) }
}

/// The same at a place among other values, which is overwritten or added to; `shape` is rows, inner, columns.
///
/// # Safety
/// Nobody else may read or write that place meanwhile.
#[inline(always)]
pub(super) unsafe fn product_at<S: Simd>(
    simd: S,
    result: Place<'_>,
    left: impl Left,
    right: Rows<'_>,
    shape: [usize; 3],
    add: bool,
) {
    let [rows, inner, columns] = shape;
    assert!(
        rows == 0
            || inner == 0
            || left.place(rows - 1, inner - 1) < left.values().len()
                && (inner - 1) * right.stride + columns <= right.values.len(),
        "a product beyond its inputs"
    );
    simd.vectorize(Product { left, right, result, shape, add });
}

struct Product<'a, L> {
    left: L,
    right: Rows<'a>,
    result: Place<'a>,
    shape: [usize; 3],
    add: bool,
}

impl<L: Left> WithSimd for Product<'_, L> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let columns = self.shape[2];
        let mut column = 0;
        while column + 2 * S::F32_LANES <= columns {
            let whole = self.tiles::<S, ROWS_OF_TWO, 2>(simd, 0, column, 2 * S::F32_LANES);
            self.last_rows::<S, 2>(simd, whole, column, 2 * S::F32_LANES);
            column += 2 * S::F32_LANES;
        }
        while column < columns {
            let width = S::F32_LANES.min(columns - column);
            let whole = self.tiles::<S, ROWS_OF_ONE, 1>(simd, 0, column, width);
            let whole = self.tiles::<S, ROWS_OF_TWO, 1>(simd, whole, column, width);
            self.last_rows::<S, 1>(simd, whole, column, width);
            column += width;
        }
    }
}

impl<L: Left> Product<'_, L> {
    /// Tiles of `R` rows from `row` on, as many as are whole; returns the first row beyond them.
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        mut row: usize,
        column: usize,
        width: usize,
    ) -> usize {
        while row + R <= self.shape[0] {
            self.tile::<S, R, V>(simd, row, column, width);
            row += R;
        }
        row
    }

    /// The last rows, fewer than `ROWS_OF_TWO`.
    #[inline(always)]
    fn last_rows<S: Simd, const V: usize>(&self, simd: S, row: usize, column: usize, width: usize) {
        match self.shape[0] - row {
            1 => self.tile::<S, 1, V>(simd, row, column, width),
            2 => self.tile::<S, 2, V>(simd, row, column, width),
            3 => self.tile::<S, 3, V>(simd, row, column, width),
            4 => self.tile::<S, 4, V>(simd, row, column, width),
            5 => self.tile::<S, 5, V>(simd, row, column, width),
            _ => {}
        }
    }

    /// `R` rows and `width` columns, which are `V` vectors, the last perhaps not full.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        row: usize,
        column: usize,
        width: usize,
    ) {
        let Self { left, right, result, .. } = self;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for k in 0..self.shape[1] {
            let first = k * right.stride + column;
            // SAFETY: `product_at` has checked that both sides cover the shape.
            let right: [S::f32s; V] = load(simd, unsafe { right.values.get_unchecked(first..first + width) });
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let left = unsafe { *left.values().get_unchecked(left.place(row + r, k)) };
                let left = simd.splat_f32s(left);
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = simd.mul_add_e_f32s(left, right, *sum);
                }
            }
        }
        let columns = result.column + column..result.column + column + width;
        for (r, mut sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller of `product_at` answers for being alone there.
            let result = unsafe { result.rows.part(result.row + row + r, columns.clone()) };
            if self.add {
                let before: [S::f32s; V] = load(simd, result);
                for (sum, before) in sums.iter_mut().zip(before) {
                    *sum = simd.add_f32s(*sum, before);
                }
            }
            store(simd, result, sums);
        }
    }
}

/// `V` vectors, the last filled up with zeros.
#[inline(always)]
fn load<S: Simd, const V: usize>(simd: S, row: &[f32]) -> [S::f32s; V] {
    let (vectors, rest) = S::as_simd_f32s(row);
    std::array::from_fn(|v| vectors.get(v).copied().unwrap_or_else(|| simd.partial_load_f32s(rest)))
}

#[inline(always)]
fn store<S: Simd, const V: usize>(simd: S, row: &mut [f32], values: [S::f32s; V]) {
    let (vectors, rest) = S::as_mut_simd_f32s(row);
    for (v, value) in values.into_iter().enumerate() {
        match vectors.get_mut(v) {
            Some(vector) => *vector = value,
            None => simd.partial_store_f32s(rest, value),
        }
    }
}

/// Side of the squares that are transposed in registers.
const SIDE: usize = 4;

/// Writes the transposed of `[rows, columns]`, `[columns, padded]`, padded a multiple of 4. Beyond the rows stands the
/// last one.
#[inline(always)]
pub(super) fn transpose(matrix: Rows<'_>, rows: usize, columns: usize, result: &mut [f32]) {
    let padded = result.len() / columns;
    for first in (0..padded).step_by(SIDE) {
        let line = |i: usize| &matrix.values[(first + i).min(rows - 1) * matrix.stride..][..columns];
        let lines: [&[f32]; SIDE] = std::array::from_fn(line);
        let [a, b, c, d] = lines.map(|line| line.as_chunks().0);
        let mut blocks = result.chunks_exact_mut(SIDE * padded);
        for ((((a, b), c), d), result) in a.iter().zip(b).zip(c).zip(d).zip(&mut blocks) {
            for (line, result) in transposed([a, b, c, d]).iter().zip(result.chunks_exact_mut(padded)) {
                result[first..first + SIDE].copy_from_slice(line);
            }
        }
        let rest = columns / SIDE * SIDE..columns;
        for (column, result) in rest.zip(blocks.into_remainder().chunks_exact_mut(padded)) {
            result[first..first + SIDE].copy_from_slice(&lines.map(|line| line[column]));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed(lines: [&[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps};
    // SAFETY: every x86-64 processor has these instructions; a vector and four numbers are the same bits.
    unsafe {
        let [mut a, mut b, mut c, mut d] = lines.map(|line| _mm_loadu_ps(line.as_ptr()));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        std::mem::transmute([a, b, c, d])
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn transposed(lines: [&[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    std::array::from_fn(|i| lines.map(|line| line[i]))
}
