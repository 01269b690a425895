//! Sums of tiles in the registers of AMX:
//!
//! ```text
//! tmm0 tmm1      tmm4                   left: 32 rows, 16 groups at a time
//! tmm2 tmm3  +=  tmm5  · (tmm6 tmm7)    right: 16 groups at a time, 32 columns
//! ```
//!
//! Each tile that is read takes part in two products. Rust has no functions for these instructions yet: assembly.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Bf16Pair, Bytes, PANEL, PARTS, Place, SplitPair};

/// Rows of a tile, and the groups or columns of each of them.
pub(super) const SIDE: usize = 16;

pub(super) trait TileProduct {
    /// Sums of two tiles of rows and [`PANEL`] columns; their bits are those of an f32 or an i32.
    unsafe fn sums(sides: Sides, result: Place);

    /// Turns sums into f32 where they lie, unless they are f32.
    #[inline(always)]
    unsafe fn to_f32(_sums: Place, _rows: usize) {}
}

/// Where both sides begin.
#[derive(Clone, Copy)]
pub(super) struct Sides {
    pub(super) left: *const u32,
    pub(super) right: *const u32,
    pub(super) starts: *const i32,
    pub(super) groups: usize,
    /// Rows of both tiles together, and the one that the lower tile begins with.
    pub(super) rows: usize,
    pub(super) lower_row: usize,
}

/// 16 groups of both tiles' rows.
macro_rules! load_left {
    ($offset:literal) => {
        concat!(
            "tileloadd tmm4, [{left} + {left_stride} + ",
            $offset,
            "]\ntileloadd tmm5, [{lower} + {left_stride} + ",
            $offset,
            "]"
        )
    };
}

/// 16 groups of 32 columns.
macro_rules! load_right {
    ($offset:literal) => {
        concat!(
            "tileloadd tmm6, [{right} + {right_stride} + ",
            $offset,
            "]\ntileloadd tmm7, [{right} + {right_stride} + 64 + ",
            $offset,
            "]"
        )
    };
}

macro_rules! multiply_add {
    ($instruction:literal) => {
        concat!(
            $instruction,
            " tmm0, tmm4, tmm6\n",
            $instruction,
            " tmm1, tmm4, tmm7\n",
            $instruction,
            " tmm2, tmm5, tmm6\n",
            $instruction,
            " tmm3, tmm5, tmm7"
        )
    };
}

/// Asks for three rows of the result, two of which may lie below its last. Tiles are stored in columns of lines: the processor
/// does not see what comes next.
macro_rules! ask_ahead {
    () => {
        "prefetchw [{ahead}]
        prefetchw [{ahead} + 64]
        prefetchw [{ahead} + {stride}]
        prefetchw [{ahead} + {stride} + 64]
        prefetchw [{ahead} + 2 * {stride}]
        prefetchw [{ahead} + 2 * {stride} + 64]
        lea {ahead}, [{ahead} + 2 * {stride}]
        add {ahead}, {stride}
        cmp {ahead}, {last_row}
        cmova {ahead}, {result}"
    };
}

macro_rules! store_sums {
    () => {
        "tilestored [{result} + {stride}], tmm0
        tilestored [{result} + {stride} + 64], tmm1
        tilestored [{lower_result} + {stride}], tmm2
        tilestored [{lower_result} + {stride} + 64], tmm3"
    };
}

/// Assembly with what all products of tiles read and write.
macro_rules! tiles_asm {
    ($sides:ident, $result:ident, $($line:tt)*) => {
        asm!(
            $($line)*
            left = inout(reg) $sides.left => _,
            lower = inout(reg) $sides.left.wrapping_add($sides.lower_row * $sides.groups) => _,
            left_stride = in(reg) 4 * $sides.groups,
            right = inout(reg) $sides.right => _,
            right_stride = in(reg) 4 * PANEL,
            ahead = inout(reg) $result.first => _,
            last_row = in(reg) $result.first.wrapping_add(($sides.rows - 1) * $result.stride),
            result = in(reg) $result.first,
            lower_result = in(reg) $result.first.wrapping_add($sides.lower_row * $result.stride),
            stride = in(reg) 4 * $result.stride,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

macro_rules! sums_by {
    ($instruction:literal) => {
        #[inline(always)]
        unsafe fn sums(sides: Sides, result: Place) {
            // SAFETY: the caller's promises; tiles are read and written within the shapes that were loaded.
            unsafe {
                tiles_asm!(
                    sides, result,
                    "tileloadd tmm0, [{starts} + {none}]",
                    "tileloadd tmm1, [{starts} + {none} + 64]",
                    "tileloadd tmm2, [{starts} + {none}]",
                    "tileloadd tmm3, [{starts} + {none} + 64]",
                    "test {steps}, {steps}",
                    "jz 3f",
                    "2:",
                    load_left!("0"),
                    load_right!("0"),
                    multiply_add!($instruction),
                    ask_ahead!(),
                    "add {left}, 64",
                    "add {lower}, 64",
                    "add {right}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "3:",
                    store_sums!(),
                    starts = in(reg) sides.starts,
                    none = in(reg) 0usize,
                    steps = inout(reg) sides.groups / SIDE => _,
                );
            }
        }
    };
}

impl TileProduct for Bf16Pair {
    sums_by!("tdpbf16ps");
}

impl TileProduct for SplitPair {
    /// The products of the greatest parts are added last: until then the sums are at most 2⁻⁷ of Σ |x y|, and so are their errors.
    /// From each product to the next in the first loop only one side is read anew.
    #[inline(always)]
    unsafe fn sums(sides: Sides, result: Place) {
        // SAFETY: the caller's promises; tiles are read and written within the shapes that were loaded.
        unsafe {
            tiles_asm!(
                sides, result,
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "test {steps}, {steps}",
                "jz 4f",
                "2:",
                // x₃ y₁
                load_left!("128"),
                load_right!("0"),
                multiply_add!("tdpbf16ps"),
                // x₂ y₁
                load_left!("64"),
                multiply_add!("tdpbf16ps"),
                ask_ahead!(),
                // x₂ y₂
                load_right!("2048"),
                multiply_add!("tdpbf16ps"),
                // x₁ y₂
                load_left!("0"),
                multiply_add!("tdpbf16ps"),
                // x₁ y₃
                load_right!("4096"),
                multiply_add!("tdpbf16ps"),
                "add {left}, {left_step}",
                "add {lower}, {left_step}",
                "add {right}, {right_step}",
                "dec {steps}",
                "jnz 2b",
                // x₁ y₁, from the end, which is still near.
                "3:",
                "sub {left}, {left_step}",
                "sub {lower}, {left_step}",
                "sub {right}, {right_step}",
                load_left!("0"),
                load_right!("0"),
                multiply_add!("tdpbf16ps"),
                "dec {steps_back}",
                "jnz 3b",
                "4:",
                store_sums!(),
                left_step = const 4 * PARTS * SIDE,
                right_step = const 4 * PARTS * SIDE * PANEL,
                steps = inout(reg) sides.groups / (PARTS * SIDE) => _,
                steps_back = inout(reg) sides.groups / (PARTS * SIDE) => _,
            );
        }
    }
}

impl TileProduct for Bytes {
    sums_by!("tdpbusd");

    #[inline(always)]
    unsafe fn to_f32(sums: Place, rows: usize) {
        for row in 0..rows {
            for half in [0, SIDE] {
                // SAFETY: the caller's promises.
                unsafe {
                    let values = sums.first.add(row * sums.stride + half);
                    _mm512_storeu_ps(values, _mm512_cvtepi32_ps(_mm512_loadu_si512(values.cast())));
                }
            }
        }
    }
}
