//! Pairs of bf16. Either each value is one, or it is the sum of three: everything here comes for one part and for
//! [three](super::PARTS).
//!
//! Alone a value is rounded by the instructions of AVX512-BF16: to the nearest, ties to even, and to 0 below the normal numbers,
//! which count as 0 in the products too.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::avx512::mask;
use super::{PANEL, PARTS, PairPlaces};

/// Values of a line by which it is asked for before it is read: 2 KiB.
const AHEAD: usize = 512;

/// Pairs of the values 2i and 2i + 1 of a line, and zeros to the end: for each 16 pairs, those of one part after the other.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in super::super) fn pair_neighbours<const N: usize>(line: &[f32], pairs: &mut [u32]) {
    let whole = line.len() / 32;
    assert!(pairs.len() >= N * line.len().div_ceil(2));
    for block in 0..whole {
        // SAFETY: 32 values of the line are left, and half as many pairs for each part.
        unsafe {
            let values = line.as_ptr().add(block * 32);
            _mm_prefetch::<_MM_HINT_T0>(values.wrapping_add(AHEAD).cast());
            _mm_prefetch::<_MM_HINT_T0>(values.wrapping_add(AHEAD + 16).cast());
            let parts = neighbours::<N>(_mm512_loadu_ps(values), _mm512_loadu_ps(values.add(16)));
            for (part, values) in parts.into_iter().enumerate() {
                _mm512_storeu_si512(pairs.as_mut_ptr().add((block * N + part) * 16).cast(), values);
            }
        }
    }
    let (rest, pairs) = (&line[whole * 32..], &mut pairs[whole * N * 16..]);
    let (last, beyond) = pairs.split_at_mut(pairs.len().min(N * 16));
    let parts = neighbours::<N>(load(rest), load(&rest[rest.len().min(16)..]));
    for (pairs, part) in last.chunks_mut(16).zip(parts) {
        store(pairs, part);
    }
    beyond.fill(0);
}

/// Pairs of the values i of two lines, `columns` of them, and zeros beyond the end of either and to the end of a panel. The
/// values that lie so many `ahead` are asked for.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in super::super) fn pair_lines<const N: usize>(
    first: &[f32],
    second: &[f32],
    columns: usize,
    pairs: &mut [u32],
    places: PairPlaces,
    ahead: usize,
) {
    let panels = columns.div_ceil(PANEL);
    let last = panels.saturating_sub(1) * places.panel + (N - 1) * places.part;
    assert!(panels == 0 || last + PANEL <= pairs.len());
    let whole = first.len().min(second.len()) / PANEL;
    for panel in 0..panels {
        for half in [0, 16] {
            let column = panel * PANEL + half;
            let (first, second) = if panel < whole {
                // SAFETY: 16 values of each line are left.
                unsafe {
                    let (first, second) = (first.as_ptr().add(column), second.as_ptr().add(column));
                    _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(ahead).cast());
                    _mm_prefetch::<_MM_HINT_T0>(second.wrapping_add(ahead).cast());
                    (_mm512_loadu_ps(first), _mm512_loadu_ps(second))
                }
            } else {
                (load(&first[column.min(first.len())..]), load(&second[column.min(second.len())..]))
            };
            for (part, values) in interleaved::<N>(first, second).into_iter().enumerate() {
                // SAFETY: a panel's worth of pairs is left in each part.
                unsafe {
                    let place = pairs.as_mut_ptr().add(panel * places.panel + part * places.part + half);
                    _mm512_storeu_si512(place.cast(), values);
                }
            }
        }
    }
}

/// Pairs of neighbours: of 16 values of `low`, and then of 16 of `high`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn neighbours<const N: usize>(low: __m512, high: __m512) -> [__m512i; N] {
    const { assert!(N == 1 || N == PARTS) };
    let mut pairs = [rounded(low, high); N];
    if N == PARTS {
        let (low, high) = (parts(low), parts(high));
        for (pairs, (low, high)) in pairs.iter_mut().zip(low.into_iter().zip(high)) {
            *pairs = _mm512_permutex2var_epi16(low, order(UPPER), high);
        }
    }
    pairs
}

/// Pairs of the values i of both.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn interleaved<const N: usize>(first: __m512, second: __m512) -> [__m512i; N] {
    const { assert!(N == 1 || N == PARTS) };
    const UPPER_HALVES: u32 = 0xaaaa_aaaa;
    let mut pairs = [_mm512_permutexvar_epi16(order(HALVES), rounded(first, second)); N];
    if N == PARTS {
        let (first, second) = (parts(first), parts(second));
        for (pairs, (first, second)) in pairs.iter_mut().zip(first.into_iter().zip(second)) {
            *pairs = _mm512_mask_blend_epi16(UPPER_HALVES, _mm512_srli_epi32::<16>(first), second);
        }
    }
    pairs
}

/// 16 values of `low` and then 16 of `high`, rounded.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the same bits.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Values as sums of bf16: the nearest, the nearest of what is left, and the rest. Each is the upper half of an f32; in the lower
/// there may be what AMX takes for 0.
#[inline]
#[target_feature(enable = "avx512f")]
fn parts(values: __m512) -> [__m512i; PARTS] {
    let first = nearest(values);
    let rest = _mm512_sub_ps(values, first);
    let second = nearest(rest);
    let third = _mm512_sub_ps(rest, second);
    [_mm512_castps_si512(first), _mm512_castps_si512(second), _mm512_castps_si512(third)]
}

/// The nearest bf16; ties go away from 0.
#[inline]
#[target_feature(enable = "avx512f")]
fn nearest(values: __m512) -> __m512 {
    let bits = _mm512_add_epi32(_mm512_castps_si512(values), _mm512_set1_epi32(0x8000));
    _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(!0xffff)))
}

/// The upper halves of 32 values.
const UPPER: [u16; 32] = {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 32 {
        order[i] = 2 * i as u16 + 1;
        i += 1;
    }
    order
};

/// The halves i and i + 16 side by side.
const HALVES: [u16; 32] = {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 32 {
        order[i] = (i / 2 + i % 2 * 16) as u16;
        i += 1;
    }
    order
};

#[inline]
#[target_feature(enable = "avx512f")]
fn order(order: [u16; 32]) -> __m512i {
    // SAFETY: plain bits.
    unsafe { transmute::<[u16; 32], __m512i>(order) }
}

/// The first 16 values; zeros beyond the end.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32]) -> __m512 {
    // SAFETY: what the mask leaves out is not read.
    unsafe { _mm512_maskz_loadu_ps(mask(values.len()), values.as_ptr()) }
}

/// At most 16 pairs.
#[inline]
#[target_feature(enable = "avx512f")]
fn store(pairs: &mut [u32], values: __m512i) {
    // SAFETY: what the mask leaves out is not written.
    unsafe { _mm512_mask_storeu_epi32(pairs.as_mut_ptr().cast(), mask(pairs.len()), values) };
}
