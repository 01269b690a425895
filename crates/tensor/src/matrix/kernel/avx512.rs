//! The kernel of vectors: 12 rows and 32 columns of the result in registers.

use std::arch::x86_64::*;
use std::mem::transmute;
use std::ops::Range;

use super::{Bf16Pair, Bytes, PANEL, Place, Right, Single};

/// Rows of a tile: 24 of the 32 registers then hold sums.
const TILE_ROWS: usize = 12;
/// Words of the right side by which it is asked for before it is read. Of a large encoder's weights, each read once for a
/// text, none is in a near cache.
const AHEAD: usize = 1024;

pub(super) trait Instruction {
    /// sum + left · right for each of 16 groups; a sum's bits are those of an f32 or an i32.
    unsafe fn multiply_add(sum: __m512i, left: __m512i, right: __m512i) -> __m512i;

    unsafe fn to_f32(sum: __m512i) -> __m512;
}

impl Instruction for Single {
    #[inline(always)]
    unsafe fn multiply_add(sum: __m512i, left: __m512i, right: __m512i) -> __m512i {
        // SAFETY: the caller has checked the processor.
        unsafe {
            let (left, right) = (_mm512_castsi512_ps(left), _mm512_castsi512_ps(right));
            _mm512_castps_si512(_mm512_fmadd_ps(left, right, _mm512_castsi512_ps(sum)))
        }
    }

    #[inline(always)]
    unsafe fn to_f32(sum: __m512i) -> __m512 {
        // SAFETY: the caller has checked the processor.
        unsafe { _mm512_castsi512_ps(sum) }
    }
}

impl Instruction for Bf16Pair {
    #[inline(always)]
    unsafe fn multiply_add(sum: __m512i, left: __m512i, right: __m512i) -> __m512i {
        // SAFETY: plain bits in and out; the caller has checked the processor.
        unsafe {
            let (left, right) = (transmute::<__m512i, __m512bh>(left), transmute::<__m512i, __m512bh>(right));
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

/// Tile after tile: few rows, which then stay in the nearest cache, through all panels.
///
/// # Safety
/// As of [`super::Group::block`].
#[inline(always)]
pub(super) unsafe fn tiles<I: Instruction>(
    left: &[u32],
    right: Right<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    result: Place,
) {
    let (end, first_row) = (rows.end, rows.start);
    for row in rows.step_by(TILE_ROWS) {
        for column in columns.clone().step_by(PANEL) {
            // SAFETY: the caller's promises.
            unsafe {
                let first = result.first.add((row - first_row) * result.stride + column - columns.start);
                let place = Place { first, ..result };
                let tile = Tile { row, column, width: (columns.end - column).min(PANEL), place };
                match (end - row).min(TILE_ROWS) {
                    1 => tile.compute::<I, 1>(left, right),
                    2 => tile.compute::<I, 2>(left, right),
                    3 => tile.compute::<I, 3>(left, right),
                    4 => tile.compute::<I, 4>(left, right),
                    5 => tile.compute::<I, 5>(left, right),
                    6 => tile.compute::<I, 6>(left, right),
                    7 => tile.compute::<I, 7>(left, right),
                    8 => tile.compute::<I, 8>(left, right),
                    9 => tile.compute::<I, 9>(left, right),
                    10 => tile.compute::<I, 10>(left, right),
                    11 => tile.compute::<I, 11>(left, right),
                    _ => tile.compute::<I, TILE_ROWS>(left, right),
                }
            }
        }
    }
}

/// Where a tile begins, and how many of its columns there are.
struct Tile {
    row: usize,
    column: usize,
    width: usize,
    place: Place,
}

impl Tile {
    #[inline(always)]
    unsafe fn compute<I: Instruction, const ROWS: usize>(self, left: &[u32], right: Right<'_>) {
        // SAFETY: the caller's promises; a panel has 32 columns even where the result has fewer.
        unsafe {
            let start = |half: usize| match right.starts {
                Some(starts) => _mm512_loadu_si512(starts.as_ptr().add(self.column + 16 * half).cast()),
                None => _mm512_setzero_si512(),
            };
            let mut sums = [[start(0), start(1)]; ROWS];
            let mut left_group = left.as_ptr().add(self.row * right.groups);
            let mut right_group = right.panels.as_ptr().add(self.column * right.groups);
            for _ in 0..right.groups {
                let first = _mm512_loadu_si512(right_group.cast());
                let second = _mm512_loadu_si512(right_group.add(16).cast());
                _mm_prefetch::<_MM_HINT_T0>(right_group.wrapping_add(AHEAD).cast());
                _mm_prefetch::<_MM_HINT_T0>(right_group.wrapping_add(AHEAD + 16).cast());
                for (row, sums) in sums.iter_mut().enumerate() {
                    let left = _mm512_set1_epi32(*left_group.add(row * right.groups) as i32);
                    sums[0] = I::multiply_add(sums[0], left, first);
                    sums[1] = I::multiply_add(sums[1], left, second);
                }
                // Beyond the last group they point past the end.
                left_group = left_group.wrapping_add(1);
                right_group = right_group.wrapping_add(PANEL);
            }
            let masks = [mask(self.width), mask(self.width.saturating_sub(16))];
            for (row, sums) in sums.into_iter().enumerate() {
                let result = self.place.first.add(row * self.place.stride);
                _mm512_mask_storeu_ps(result, masks[0], I::to_f32(sums[0]));
                _mm512_mask_storeu_ps(result.wrapping_add(16), masks[1], I::to_f32(sums[1]));
            }
        }
    }
}

/// The first of 16 values, so many at most.
pub(super) fn mask(width: usize) -> u16 {
    match width {
        16.. => u16::MAX,
        width => (1 << width) - 1,
    }
}
