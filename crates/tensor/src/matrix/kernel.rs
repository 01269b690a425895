//! The inner loop of products of groups: a tile of the result stays in registers while the groups go by.
//!
//! A *group* is what one instruction multiplies and adds at a time: one f32, two bf16, or four bytes, in 32 bits. With `d`
//! groups along the inner dimension
//!
//! ```text
//! result [rows, 32] += Σ_{g < d} left[row, g] · right[g, column]       ·: the sum of the 1, 2 or 4 products of a group
//! ```
//!
//! The left side lies row after row. The right side lies in panels of 32 columns, group after group, so that the loop reads
//! it from front to back.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(not(target_arch = "x86_64"))]
mod other;
#[cfg(target_arch = "x86_64")]
mod pairs;
#[cfg(target_arch = "x86_64")]
mod tile_sums;

use std::ops::Range;

use super::blocks;
#[cfg(not(target_arch = "x86_64"))]
pub(super) use other::{pair_lines, pair_neighbours};
#[cfg(target_arch = "x86_64")]
pub(super) use pairs::{pair_lines, pair_neighbours};

/// Columns of a panel: two vectors of 16.
pub(super) const PANEL: usize = 32;

/// Parts of an f32 as the sum of bf16: 24 bits of mantissa in three times 8.
pub(super) const PARTS: usize = 3;

/// Where [`pair_lines`] puts pairs.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "read by kernels that other processors lack")
)]
pub(super) struct PairPlaces {
    /// From one panel's worth to the next.
    pub(super) panel: usize,
    /// From one part of the values to the next.
    pub(super) part: usize,
}

/// What computes products of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Vectors of 16 groups: AVX-512, AVX512-BF16 or AVX512-VNNI.
    Vectors,
    /// Tiles of 16 × 16 groups: AMX.
    Tiles,
}

impl Kernel {
    /// Groups along the inner dimension, filled up with zeros to what the kernel takes at a time.
    pub(super) fn filled_up(self, groups: usize) -> usize {
        match self {
            Self::Vectors => groups,
            Self::Tiles => groups.next_multiple_of(16),
        }
    }
}

/// The right side: panels `[⌈columns / 32⌉, groups, 32]`, and what each column's sum starts from, `[⌈columns / 32⌉ · 32]`.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) panels: &'a [u32],
    pub(super) starts: Option<&'a [i32]>,
    /// Groups along the inner dimension, [filled up](Kernel::filled_up).
    pub(super) groups: usize,
}

impl Right<'_> {
    pub(super) fn covers(&self, columns: usize) -> bool {
        let columns = columns.next_multiple_of(PANEL);
        self.panels.len() == columns * self.groups && self.starts.is_none_or(|starts| starts.len() == columns)
    }
}

/// Where a block of the result goes: row i of it at `first + i · stride`.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "read by kernels that other processors lack")
)]
pub(super) struct Place {
    pub(super) first: *mut f32,
    pub(super) stride: usize,
}

/// A kind of group.
pub(super) trait Group {
    /// Multiply-adds below which a product is one block.
    const SMALL_PRODUCT: usize = blocks::SMALL_PRODUCT;

    /// Whether this processor has the instructions.
    fn runs_on(kernel: Kernel) -> bool;

    /// The fastest kernel of this processor, if it has one.
    fn fastest() -> Option<Kernel> {
        Self::kernels().next()
    }

    /// All kernels of this processor, the fastest first.
    fn kernels() -> impl Iterator<Item = Kernel> {
        [Kernel::Tiles, Kernel::Vectors].into_iter().filter(|kernel| Self::runs_on(*kernel))
    }

    /// Some rows and columns (beginning with a panel) of left `[rows, groups]` · right.
    ///
    /// # Safety
    /// The processor [has the kernel](Self::runs_on); left and right cover the rows and columns; the places of the result are
    /// the caller's alone.
    unsafe fn block(
        kernel: Kernel,
        left: &[u32],
        right: Right<'_>,
        rows: Range<usize>,
        columns: Range<usize>,
        result: Place,
    );
}

/// One f32; sums in f32.
#[derive(Clone, Copy)]
pub(super) struct Single;

/// Two bf16, the first in the lower half; sums in f32.
#[derive(Clone, Copy)]
pub(super) struct Bf16Pair;

/// Two f32, each as the sum of three bf16; sums in f32. Of each 16 pairs there are three times 16 groups: those of the greatest
/// parts, of the middle ones, of the least. For [`Kernel::Tiles`] alone.
#[derive(Clone, Copy)]
pub(super) struct SplitPair;

/// Four bytes: unsigned on the left, signed on the right; sums in i32, which come out as f32.
#[derive(Clone, Copy)]
pub(super) struct Bytes;

#[cfg(target_arch = "x86_64")]
impl Group for Single {
    const SMALL_PRODUCT: usize = blocks::SMALL_PRODUCT_IN_F32;

    fn runs_on(kernel: Kernel) -> bool {
        kernel == Kernel::Vectors && is_x86_feature_detected!("avx512f")
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn block(
        _: Kernel,
        left: &[u32],
        right: Right<'_>,
        rows: Range<usize>,
        columns: Range<usize>,
        result: Place,
    ) {
        // SAFETY: the caller's promises.
        unsafe { avx512::tiles::<Self>(left, right, rows, columns, result) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Group for SplitPair {
    fn runs_on(kernel: Kernel) -> bool {
        kernel == Kernel::Tiles && Bf16Pair::runs_on(kernel)
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn block(
        _: Kernel,
        left: &[u32],
        right: Right<'_>,
        rows: Range<usize>,
        columns: Range<usize>,
        result: Place,
    ) {
        assert!(right.starts.is_none(), "sums of split values start from 0");
        // SAFETY: the caller's promises.
        unsafe { amx::tiles::<Self>(left, right, rows, columns, result) }
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! native_with {
    ($group:ty, $feature:tt) => {
        impl Group for $group {
            fn runs_on(kernel: Kernel) -> bool {
                let has_vectors = is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!($feature);
                match kernel {
                    Kernel::Vectors => has_vectors,
                    Kernel::Tiles => has_vectors && amx::is_available(),
                }
            }

            #[target_feature(enable = "avx512f", enable = $feature)]
            unsafe fn block(
                kernel: Kernel,
                left: &[u32],
                right: Right<'_>,
                rows: Range<usize>,
                columns: Range<usize>,
                result: Place,
            ) {
                // SAFETY: the caller's promises.
                unsafe {
                    match kernel {
                        Kernel::Tiles => amx::tiles::<Self>(left, right, rows, columns, result),
                        Kernel::Vectors => avx512::tiles::<Self>(left, right, rows, columns, result),
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
native_with!(Bf16Pair, "avx512bf16");
#[cfg(target_arch = "x86_64")]
native_with!(Bytes, "avx512vnni");
