//! Loops over one row that become vector instructions; sums and maxima in lanes, an order that never changes.

/// Two of the widest vectors: the second is added to while the sum in the first is under way.
const LANES: usize = 32;

/// A function compiled three times: for AVX-512, for AVX2 and for any processor; a call runs the best that this one has.
///
/// What it calls must be `#[inline(always)]`, and no closure that is not: what is not inlined keeps the instructions of
/// any processor. The bits are the same everywhere, since arithmetic is neither reordered nor fused.
macro_rules! vectorized {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn on_any($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
                fn on_avx512($($argument: $type),*) $(-> $result)? {
                    on_any($($argument),*)
                }

                #[target_feature(enable = "avx2,fma")]
                fn on_avx2($($argument: $type),*) $(-> $result)? {
                    on_any($($argument),*)
                }

                match pulp::Arch::new() {
                    // SAFETY: the processor was found to have these instructions, and more.
                    pulp::Arch::V4(_) => return unsafe { on_avx512($($argument),*) },
                    // SAFETY: as above.
                    pulp::Arch::V3(_) => return unsafe { on_avx2($($argument),*) },
                    _ => {}
                }
            }
            on_any($($argument),*)
        }
    };
}
pub(crate) use vectorized;

/// sum += factor · x.
#[inline(always)]
pub(crate) fn add_scaled(sum: &mut [f32], factor: f32, x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x);
}

vectorized! {
    /// sum += x.
    pub(crate) fn add(sum: &mut [f32], x: &[f32]) {
        add_scaled(sum, 1.0, x);
    }
}

/// Σ term(a, b) over the pairs of two rows of one length.
#[inline(always)]
pub(crate) fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    if !a_rest.is_empty() {
        // In values of their own, so that the lanes need not leave the registers.
        let mut last = [0.0; LANES];
        last.iter_mut().zip(a_rest.iter().zip(b_rest)).for_each(|(last, (&a, &b))| *last = term(a, b));
        for lane in 0..LANES {
            lanes[lane] += last[lane];
        }
    }
    four::join(lanes, four::add)
}

/// Σ term(value) over a row.
#[inline(always)]
pub(crate) fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    sum_pairs(row, row, |value, _| term(value))
}

/// The greatest value of a row, NaN aside; −∞ where there is none.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = greater(lanes[lane], block[lane]);
        }
    }
    if !rest.is_empty() {
        let mut last = [f32::NEG_INFINITY; LANES];
        last.iter_mut().zip(rest).for_each(|(last, &value)| *last = value);
        for lane in 0..LANES {
            lanes[lane] = greater(lanes[lane], last[lane]);
        }
    }
    four::join(lanes, four::greater)
}

/// Four lanes as one value: the compiler does not find by itself that lanes can be joined so.
#[cfg(target_arch = "x86_64")]
mod four {
    use std::arch::x86_64::{__m128, _mm_add_ps, _mm_cvtss_f32, _mm_max_ps, _mm_movehl_ps, _mm_shuffle_ps};

    use super::LANES;

    #[inline(always)]
    pub(super) fn add(a: __m128, b: __m128) -> __m128 {
        // SAFETY: every x86-64 processor has SSE.
        unsafe { _mm_add_ps(a, b) }
    }

    /// b where it is greater, else a.
    #[inline(always)]
    pub(super) fn greater(a: __m128, b: __m128) -> __m128 {
        // SAFETY: as above.
        unsafe { _mm_max_ps(b, a) }
    }

    /// The upper half of the lanes into the lower one, until one is left.
    #[inline(always)]
    pub(super) fn join(lanes: [f32; LANES], of: impl Fn(__m128, __m128) -> __m128) -> f32 {
        let mut fours: [__m128; LANES / 4] = pulp::cast(lanes);
        let mut half = fours.len() / 2;
        while half > 0 {
            for i in 0..half {
                fours[i] = of(fours[i], fours[i + half]);
            }
            half /= 2;
        }
        let [four, ..] = fours;
        // SAFETY: as above.
        let two = of(four, unsafe { _mm_movehl_ps(four, four) });
        // SAFETY: as above.
        let one = of(two, unsafe { _mm_shuffle_ps::<1>(two, two) });
        // SAFETY: as above.
        unsafe { _mm_cvtss_f32(one) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod four {
    use super::LANES;

    pub(super) fn add(a: f32, b: f32) -> f32 {
        a + b
    }

    /// b where it is greater, else a.
    pub(super) fn greater(a: f32, b: f32) -> f32 {
        if b > a { b } else { a }
    }

    /// The upper half of the lanes into the lower one, until one is left.
    #[inline(always)]
    pub(super) fn join(mut lanes: [f32; LANES], of: impl Fn(f32, f32) -> f32) -> f32 {
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = of(lanes[i], lanes[i + half]);
            }
            half /= 2;
        }
        lanes[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_counts_once_at_any_length() {
        for length in [0u16, 1, 31, 32, 33, 64, 79] {
            let row: Vec<f32> = (1..=length).map(f32::from).collect();
            let n = f32::from(length);
            assert_eq!(sum(&row, |value| value), n * (n + 1.0) / 2.0);
            assert_eq!(sum_pairs(&row, &row, |a, b| a - 2.0 * b), -n * (n + 1.0) / 2.0);
        }
    }

    #[test]
    fn the_maximum_is_found_at_any_place() {
        for place in 0..79 {
            let mut row = [-3.0; 79];
            row[place] = -1.0;
            assert_eq!(max(&row), -1.0);
        }
        assert_eq!(max(&[f32::NAN, -2.0]), -2.0);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}
