//! Processors without instructions for groups: they have no kernel, and nothing here is called.

use super::*;

macro_rules! without_instructions {
    ($group:ty) => {
        impl Group for $group {
            fn runs_on(_: Kernel) -> bool {
                false
            }

            unsafe fn block(_: Kernel, _: &[u32], _: Right<'_>, _: Range<usize>, _: Range<usize>, _: Place) {}
        }
    };
}

without_instructions!(Single);
without_instructions!(Bf16Pair);
without_instructions!(SplitPair);
without_instructions!(Bytes);

pub(in super::super) unsafe fn pair_neighbours<const N: usize>(_: &[f32], _: &mut [u32]) {}

pub(in super::super) unsafe fn pair_lines<const N: usize>(
    _: &[f32],
    _: &[f32],
    _: usize,
    _: &mut [u32],
    _: PairPlaces,
    _: usize,
) {
}
