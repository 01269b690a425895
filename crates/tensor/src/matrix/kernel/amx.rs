//! The kernel of tiles: AMX multiplies 16 rows of 16 groups by 16 groups of 16 columns in one instruction.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;
use std::sync::LazyLock;

use super::tile_sums::{SIDE, Sides, TileProduct};
use super::{PANEL, Place, Right};

/// Rows of the result that are computed at a time.
const ROWS: usize = 2 * SIDE;
/// What sums start from, unless they are given something else.
static ZEROS: [i32; PANEL] = [0; PANEL];
/// Bytes of a tile's row.
const ROW_BYTES: u16 = 64;

/// Whether the processor has AMX for bf16 and bytes, and the system lets this process use it.
pub(super) fn is_available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        /// AMX-BF16, AMX-TILE and AMX-INT8 in EDX of leaf 7.
        const FEATURES: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        let has_leaf = __cpuid(0).eax >= 7;
        has_leaf && __cpuid_count(7, 0).edx & FEATURES == FEATURES && is_permitted()
    });
    *AVAILABLE
}

/// Asks Linux (5.16 or later) for the tiles' registers, for all threads of this process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: it changes what this process may do, and nothing else.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// The shapes of the tiles, as the processor reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// For so many rows in each tile of the result and of the left side.
    fn new(tile_rows: usize) -> Self {
        let (mut rows, mut row_bytes) = ([0; 16], [0; 16]);
        rows[..6].fill(tile_rows as u8);
        rows[6..8].fill(SIDE as u8);
        row_bytes[..8].fill(ROW_BYTES);
        Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    }

    unsafe fn load(&self) {
        // SAFETY: the caller has checked the processor; the compiler uses no tiles.
        unsafe { asm!("ldtilecfg [{}]", in(reg) self, options(nostack, preserves_flags)) };
    }
}

/// Few rows, which then stay in the nearest cache, through all panels. Both tiles of rows have half of them: the middle one
/// of an odd number is in both.
///
/// # Safety
/// As of [`super::Group::block`].
#[inline(always)]
pub(super) unsafe fn tiles<T: TileProduct>(
    left: &[u32],
    right: Right<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    result: Place,
) {
    let mut shapes_of = 0;
    // Where a panel has more columns than the result.
    let mut beyond = [0.0; ROWS * PANEL];
    for row in rows.clone().step_by(ROWS) {
        let height = (rows.end - row).min(ROWS);
        let tile_rows = height.div_ceil(2);
        // SAFETY: the caller's promises; a panel has 32 columns even where the result has fewer.
        unsafe {
            if tile_rows != shapes_of {
                Shapes::new(tile_rows).load();
                shapes_of = tile_rows;
            }
            for column in columns.clone().step_by(PANEL) {
                let width = (columns.end - column).min(PANEL);
                let first = result.first.add((row - rows.start) * result.stride + column - columns.start);
                let sides = Sides {
                    left: left.as_ptr().add(row * right.groups),
                    right: right.panels.as_ptr().add(column * right.groups),
                    starts: right
                        .starts
                        .map_or(&raw const ZEROS, |starts| starts.as_ptr().add(column).cast())
                        .cast(),
                    groups: right.groups,
                    rows: height,
                    lower_row: height - tile_rows,
                };
                let place = match width {
                    PANEL => Place { first, ..result },
                    _ => Place { first: beyond.as_mut_ptr(), stride: PANEL },
                };
                T::sums(sides, place);
                T::to_f32(place, height);
                if width < PANEL {
                    for row in 0..height {
                        let values = beyond.as_ptr().add(row * PANEL);
                        values.copy_to_nonoverlapping(first.add(row * result.stride), width);
                    }
                }
            }
        }
    }
    // What lies in tiles need not be saved when threads change.
    // SAFETY: the caller has checked the processor.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
}
