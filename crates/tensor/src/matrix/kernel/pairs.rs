//! Pairs of bf16, rounded by the instructions of AVX512-BF16: to the nearest, ties to even. Numbers below the normal
//! ones become 0, as they do in the products.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::PANEL;
use super::avx512::mask;

/// Pairs of the values 2i and 2i + 1 of a line.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in super::super) fn pair_neighbours(line: &[f32], pairs: &mut [u32]) {
    assert!(pairs.len() >= line.len().div_ceil(2));
    let whole = line.len() / 32 * 32;
    for first in (0..whole).step_by(32) {
        // SAFETY: 32 values of the line are left, and as many halves of pairs.
        unsafe {
            let values = line.as_ptr().add(first);
            let (low, high) = (_mm512_loadu_ps(values), _mm512_loadu_ps(values.add(16)));
            _mm512_storeu_si512(pairs.as_mut_ptr().add(first / 2).cast(), rounded(low, high));
        }
    }
    let rest = &line[whole..];
    if !rest.is_empty() {
        let halves = rounded(load(rest), load(&rest[rest.len().min(16)..]));
        store(&mut pairs[whole / 2..][..rest.len().div_ceil(2)], halves);
    }
}

/// Pairs of the values i of two lines, `columns` of them, and zeros beyond the end of either and to the end of a panel. Each
/// panel's worth of them goes to the beginning of the next `stride` pairs; zeros that would lie beyond the pairs are left out.
/// The values that lie so many `ahead` are asked for.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in super::super) fn pair_lines(
    first: &[f32],
    second: &[f32],
    columns: usize,
    pairs: &mut [u32],
    stride: usize,
    ahead: usize,
) {
    let whole = first.len().min(second.len()) / PANEL;
    assert!(stride >= PANEL && (whole == 0 || (whole - 1) * stride + PANEL <= pairs.len()));
    for panel in 0..whole {
        for half in [0, 16] {
            let column = panel * PANEL + half;
            // SAFETY: 16 values of each line are left, and as many pairs.
            unsafe {
                let (first, second) = (first.as_ptr().add(column), second.as_ptr().add(column));
                _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(ahead).cast());
                _mm_prefetch::<_MM_HINT_T0>(second.wrapping_add(ahead).cast());
                let (first, second) = (_mm512_loadu_ps(first), _mm512_loadu_ps(second));
                let place = pairs.as_mut_ptr().add(panel * stride + half);
                _mm512_storeu_si512(place.cast(), interleaved(rounded(first, second)));
            }
        }
    }
    for column in (whole * PANEL..columns.next_multiple_of(PANEL)).step_by(16) {
        let (first, second) =
            (load(&first[column.min(first.len())..]), load(&second[column.min(second.len())..]));
        let Some(pairs) = pairs.get_mut(column / PANEL * stride + column % PANEL..) else { break };
        let length = pairs.len().min(16);
        store(&mut pairs[..length], interleaved(rounded(first, second)));
    }
}

/// 16 values of `low`, and then 16 of `high`.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the same bits.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The values i and i + 16 side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleaved(halves: __m512i) -> __m512i {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = (i / 2 + i % 2 * 16) as u16;
            i += 1;
        }
        order
    };
    // SAFETY: plain bits.
    _mm512_permutexvar_epi16(unsafe { transmute::<[u16; 32], __m512i>(ORDER) }, halves)
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
