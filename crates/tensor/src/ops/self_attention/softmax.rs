//! Rows of scores: to weights, and back to their gradient.

use pulp::Simd;

use super::dropout::Draws;
use crate::exponential::exp;

/// Rows of scores are padded to a multiple: a vector of AVX-512, or several of any other.
pub(super) const LANES: usize = 16;

/// What the backward must know of a row of S: its maximum, and 1 / Σ exp(S − maximum).
pub(super) type RowStatistics = [f32; 2];

/// A block of rows of scores.
pub(super) struct Block<'a> {
    /// 1 / √d.
    pub(super) scale: f32,
    /// 0 for each key, −∞ beyond the last; as long as a row.
    pub(super) padding: &'a [f32],
    pub(super) draws: Draws<'a>,
}

impl Block<'_> {
    /// Q Kᵀ to W̃.
    #[inline(always)]
    pub(super) fn weights<S: Simd>(&self, simd: S, scores: &mut [f32], statistics: &mut [RowStatistics]) {
        let padded = self.padding.len();
        let (padding, scale) = (S::as_simd_f32s(self.padding).0, simd.splat_f32s(self.scale));
        for (row, [max, _]) in scores.chunks_exact_mut(padded).zip(&mut *statistics) {
            let row = S::as_mut_simd_f32s(row).0;
            let mut maxima = simd.splat_f32s(f32::NEG_INFINITY);
            for (s, &padding) in row.iter_mut().zip(padding) {
                *s = simd.mul_add_e_f32s(*s, scale, padding);
                maxima = simd.max_f32s(maxima, *s);
            }
            *max = simd.reduce_max_f32s(maxima);
            let max = simd.splat_f32s(*max);
            row.iter_mut().for_each(|s| *s = simd.sub_f32s(*s, max));
        }
        scores.iter_mut().for_each(|s| *s = exp(*s));
        let mask = self.draws.mask(simd);
        for (i, (row, [_, inverse])) in scores.chunks_exact_mut(padded).zip(statistics).enumerate() {
            let row = S::as_mut_simd_f32s(row).0;
            let sums = row.iter().fold(simd.splat_f32s(0.0), |sums, &w| simd.add_f32s(sums, w));
            *inverse = 1.0 / simd.reduce_sum_f32s(sums);
            let factor = simd.splat_f32s(*inverse);
            for (w, random) in row.iter_mut().zip(self.draws.row::<S>(i)) {
                *w = mask.apply(simd, simd.mul_f32s(*w, factor), *random);
            }
        }
    }

    /// Q Kᵀ to W̃, and dO Vᵀ to dS / √d.
    #[inline(always)]
    pub(super) fn backward<S: Simd>(
        &self,
        simd: S,
        scores: &mut [f32],
        d_weights: &mut [f32],
        statistics: &[RowStatistics],
    ) {
        let padded = self.padding.len();
        let (padding, scale) = (S::as_simd_f32s(self.padding).0, simd.splat_f32s(self.scale));
        for (row, [max, _]) in scores.chunks_exact_mut(padded).zip(statistics) {
            let max = simd.splat_f32s(*max);
            for (s, &padding) in S::as_mut_simd_f32s(row).0.iter_mut().zip(padding) {
                *s = simd.sub_f32s(simd.mul_add_e_f32s(*s, scale, padding), max);
            }
        }
        scores.iter_mut().for_each(|s| *s = exp(*s));
        let mask = self.draws.mask(simd);
        let rows = scores.chunks_exact_mut(padded).zip(d_weights.chunks_exact_mut(padded));
        for (i, ((w, dw), [_, inverse])) in rows.zip(statistics).enumerate() {
            let (w, dw) = (S::as_mut_simd_f32s(w).0, S::as_mut_simd_f32s(dw).0);
            let inverse = simd.splat_f32s(*inverse);
            let mut sums = simd.splat_f32s(0.0);
            for ((w, dw), random) in w.iter_mut().zip(&mut *dw).zip(self.draws.row::<S>(i)) {
                *w = simd.mul_f32s(*w, inverse);
                *dw = mask.apply(simd, *dw, *random);
                sums = simd.mul_add_e_f32s(*w, *dw, sums);
            }
            let sum = simd.splat_f32s(simd.reduce_sum_f32s(sums));
            for ((w, dw), random) in w.iter_mut().zip(dw).zip(self.draws.row::<S>(i)) {
                *dw = simd.mul_f32s(simd.mul_f32s(*w, scale), simd.sub_f32s(*dw, sum));
                *w = mask.apply(simd, *w, *random);
            }
        }
    }
}
