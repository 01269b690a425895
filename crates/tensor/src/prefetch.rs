//! Memory that is asked for before it is read or written. Of what no near cache holds, a processor fetches a few lines ahead by
//! itself, and begins anew with each page of 4 KiB: a loop through large values waits there.

/// Values that are asked for at a time.
pub const STRIP: usize = 128;
/// Values from the beginning of a strip to that of the one to ask for: 2 KiB.
const AHEAD: usize = 512;
/// Values of a cache line.
const LINE: usize = 16;

/// Asks for the strip that a loop will come to 2 KiB after this one. Nothing needs to lie there.
///
/// ```
/// use polytask_tensor::prefetch::{STRIP, prefetch};
/// # let (mut sum, values) = (vec![1.0; 1000], vec![2.0; 1000]);
/// for (sum, values) in sum.chunks_mut(STRIP).zip(values.chunks(STRIP)) {
///     prefetch(sum);
///     prefetch(values);
///     sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
/// }
/// # assert_eq!(sum, [3.0; 1000]);
/// ```
#[inline(always)]
pub fn prefetch(strip: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in (AHEAD..AHEAD + STRIP).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which is not followed where there is no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(strip.as_ptr().wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (strip, AHEAD, LINE);
}
