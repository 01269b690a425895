//! The inner loop of products of small numbers: a tile of the result stays in registers while the groups go by.
//!
//! A *group* is what one instruction multiplies and adds at a time: two bf16, or four bytes, in 32 bits. With `d` groups
//! along the inner dimension
//!
//! ```text
//! result [rows, 32] += Σ_{g < d} left[row, g] · right[g, column]       ·: the sum of the 2 or 4 products of a group
//! ```
//!
//! The right side lies in panels of 32 columns, group after group, so that the loop reads it from front to back.

use std::ops::Range;

/// Columns of a panel: two vectors of 16.
pub(super) const PANEL: usize = 32;
/// Rows of a tile: 24 of the 32 registers then hold sums.
const TILE_ROWS: usize = 12;

/// The left side: `groups[row · row_stride + group · group_stride]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) groups: &'a [u32],
    pub(super) row_stride: usize,
    pub(super) group_stride: usize,
}

/// The right side: panels `[⌈columns / 32⌉, groups, 32]`, and what each column's sum starts from, `[⌈columns / 32⌉ · 32]`.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) panels: &'a [u32],
    pub(super) starts: Option<&'a [i32]>,
    /// Groups along the inner dimension.
    pub(super) groups: usize,
}

/// A kind of group.
pub(super) trait Group: Copy + Send + Sync {
    /// Whether this processor multiplies such groups in one instruction.
    fn is_native() -> bool;

    /// Columns `columns` (beginning with a panel) of some rows of the result, row i at `result + i · stride`.
    ///
    /// # Safety
    /// The processor [is native](Self::is_native); left and right cover the rows and columns; the places of the result
    /// are the caller's alone.
    unsafe fn block(
        left: Left<'_>,
        right: Right<'_>,
        rows: Range<usize>,
        columns: Range<usize>,
        result: *mut f32,
        stride: usize,
    );
}

/// Two bf16, the first in the lower half; sums in f32.
#[derive(Clone, Copy)]
pub(super) struct Bf16Pair;

/// Four bytes: unsigned on the left, signed on the right; sums in i32, which come out as f32.
#[derive(Clone, Copy)]
pub(super) struct Bytes;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::*;

    trait Instruction {
        /// sum + left · right for each of 16 groups; a sum's bits are those of an f32 or an i32.
        unsafe fn multiply_add(sum: __m512i, left: __m512i, right: __m512i) -> __m512i;

        unsafe fn to_f32(sum: __m512i) -> __m512;
    }

    impl Instruction for Bf16Pair {
        #[inline(always)]
        unsafe fn multiply_add(sum: __m512i, left: __m512i, right: __m512i) -> __m512i {
            // SAFETY: plain bits in and out; the caller has checked the processor.
            unsafe {
                let (left, right) =
                    (transmute::<__m512i, __m512bh>(left), transmute::<__m512i, __m512bh>(right));
                _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), left, right))
            }
        }

        #[inline(always)]
        unsafe fn to_f32(sum: __m512i) -> __m512 {
            // SAFETY: the caller has checked the processor.
            unsafe { _mm512_castsi512_ps(sum) }
        }
    }

    impl Instruction for Bytes {
        #[inline(always)]
        unsafe fn multiply_add(sum: __m512i, left: __m512i, right: __m512i) -> __m512i {
            // SAFETY: the caller has checked the processor.
            unsafe { _mm512_dpbusd_epi32(sum, left, right) }
        }

        #[inline(always)]
        unsafe fn to_f32(sum: __m512i) -> __m512 {
            // SAFETY: the caller has checked the processor.
            unsafe { _mm512_cvtepi32_ps(sum) }
        }
    }

    macro_rules! native_with {
        ($group:ty, $feature:tt) => {
            impl Group for $group {
                fn is_native() -> bool {
                    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!($feature)
                }

                #[target_feature(enable = "avx512f", enable = $feature)]
                unsafe fn block(
                    left: Left<'_>,
                    right: Right<'_>,
                    rows: Range<usize>,
                    columns: Range<usize>,
                    result: *mut f32,
                    stride: usize,
                ) {
                    // SAFETY: the caller's promises.
                    unsafe { tiles::<Self>(left, right, rows, columns, result, stride) }
                }
            }
        };
    }

    native_with!(Bf16Pair, "avx512bf16");
    native_with!(Bytes, "avx512vnni");

    /// Tile after tile: few rows, which then stay in the nearest cache, through all panels.
    #[inline(always)]
    unsafe fn tiles<G: Instruction>(
        left: Left<'_>,
        right: Right<'_>,
        rows: Range<usize>,
        columns: Range<usize>,
        result: *mut f32,
        stride: usize,
    ) {
        let (end, first_row) = (rows.end, rows.start);
        for row in rows.step_by(TILE_ROWS) {
            for column in columns.clone().step_by(PANEL) {
                // SAFETY: the caller's promises.
                unsafe {
                    let result = result.add((row - first_row) * stride + column - columns.start);
                    let place =
                        Place { row, column, width: (columns.end - column).min(PANEL), result, stride };
                    match (end - row).min(TILE_ROWS) {
                        1 => tile::<G, 1>(left, right, place),
                        2 => tile::<G, 2>(left, right, place),
                        3 => tile::<G, 3>(left, right, place),
                        4 => tile::<G, 4>(left, right, place),
                        5 => tile::<G, 5>(left, right, place),
                        6 => tile::<G, 6>(left, right, place),
                        7 => tile::<G, 7>(left, right, place),
                        8 => tile::<G, 8>(left, right, place),
                        9 => tile::<G, 9>(left, right, place),
                        10 => tile::<G, 10>(left, right, place),
                        11 => tile::<G, 11>(left, right, place),
                        _ => tile::<G, TILE_ROWS>(left, right, place),
                    }
                }
            }
        }
    }

    /// Where a tile begins, and how many of its columns there are.
    struct Place {
        row: usize,
        column: usize,
        width: usize,
        result: *mut f32,
        stride: usize,
    }

    #[inline(always)]
    unsafe fn tile<G: Instruction, const ROWS: usize>(left: Left<'_>, right: Right<'_>, place: Place) {
        // SAFETY: the caller's promises; a panel has 32 columns even where the result has fewer.
        unsafe {
            let start = |half: usize| match right.starts {
                Some(starts) => _mm512_loadu_si512(starts.as_ptr().add(place.column + 16 * half).cast()),
                None => _mm512_setzero_si512(),
            };
            let mut sums = [[start(0), start(1)]; ROWS];
            let mut left_group = left.groups.as_ptr().wrapping_add(place.row * left.row_stride);
            let mut right_group = right.panels.as_ptr().add(place.column * right.groups);
            for _ in 0..right.groups {
                let first = _mm512_loadu_si512(right_group.cast());
                let second = _mm512_loadu_si512(right_group.add(16).cast());
                for (row, sums) in sums.iter_mut().enumerate() {
                    let left = _mm512_set1_epi32(*left_group.add(row * left.row_stride) as i32);
                    sums[0] = G::multiply_add(sums[0], left, first);
                    sums[1] = G::multiply_add(sums[1], left, second);
                }
                // Beyond the last group it may point past the end.
                left_group = left_group.wrapping_add(left.group_stride);
                right_group = right_group.add(PANEL);
            }
            let masks = [mask(place.width), mask(place.width.saturating_sub(16))];
            for (row, sums) in sums.into_iter().enumerate() {
                let result = place.result.add(row * place.stride);
                _mm512_mask_storeu_ps(result, masks[0], G::to_f32(sums[0]));
                _mm512_mask_storeu_ps(result.wrapping_add(16), masks[1], G::to_f32(sums[1]));
            }
        }
    }

    fn mask(width: usize) -> u16 {
        match width {
            16.. => u16::MAX,
            width => (1 << width) - 1,
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod other {
    use super::*;

    impl Group for Bf16Pair {
        fn is_native() -> bool {
            false
        }

        unsafe fn block(_: Left<'_>, _: Right<'_>, _: Range<usize>, _: Range<usize>, _: *mut f32, _: usize) {}
    }

    impl Group for Bytes {
        fn is_native() -> bool {
            false
        }

        unsafe fn block(_: Left<'_>, _: Right<'_>, _: Range<usize>, _: Range<usize>, _: *mut f32, _: usize) {}
    }
}
