use super::Memory;
use crate::Offsets;

/// How many threads run a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Blocks in each dimension.
    pub(crate) blocks: [u32; 3],
    /// Threads of a block, in its first dimension.
    pub(crate) threads: u32,
    /// Bytes of dynamic shared memory a block.
    pub(crate) shared_bytes: usize,
}

/// Threads of a block where nothing else decides.
const THREADS: u32 = 256;
const WARP: usize = 32;
/// Blocks of a loop over values, at most: enough to fill any GPU several times over.
const MOST_BLOCKS: usize = 4096;
/// Blocks of the second dimension, at most: CUDA's limit.
const MOST_BLOCKS_IN_Y: usize = 65_535;

impl Grid {
    /// So many blocks of so many threads.
    pub(crate) fn blocks(blocks: usize, threads: u32) -> Self {
        Self { blocks: [u32::try_from(blocks).unwrap_or(u32::MAX), 1, 1], threads, shared_bytes: 0 }
    }

    /// For a kernel that goes over so many values in steps of the whole grid.
    pub(crate) fn over(values: usize) -> Self {
        Self::blocks(values.div_ceil(THREADS as usize).min(MOST_BLOCKS), THREADS)
    }

    /// For a kernel that takes a segment by the blocks of one x, and each of its rows by one warp.
    pub(crate) fn over_rows_of(segments: &Offsets) -> Self {
        const WARPS: usize = THREADS as usize / WARP;
        let blocks = segments.longest().div_ceil(WARPS).min(MOST_BLOCKS_IN_Y);
        Self::blocks(segments.segments(), THREADS).times(blocks, 1)
    }

    /// For a kernel that gives each of so many rows to one warp.
    pub(crate) fn a_warp_each(rows: usize) -> Self {
        Self::blocks(rows.div_ceil(THREADS as usize / WARP), THREADS)
    }

    /// The same with dynamic shared memory.
    pub(crate) fn with_shared(self, bytes: usize) -> Self {
        Self { shared_bytes: bytes, ..self }
    }

    /// The same with further dimensions of blocks.
    pub(crate) fn times(self, y: usize, z: usize) -> Self {
        let [x, ..] = self.blocks;
        let [y, z] = [y, z].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        Self { blocks: [x, y, z], ..self }
    }
}

/// An argument of a kernel. Integers may be narrower in the kernel, as long as the value fits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument(u64);

impl Argument {
    /// For a pointer that the kernel does not follow.
    pub(crate) const NULL: Self = Self(0);

    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address that it is; of a number its bits.
    pub(crate) fn address(self) -> u64 {
        self.0
    }

    /// So many f32 behind the place that this argument points to.
    pub(crate) fn plus(self, values: usize) -> Self {
        self.plus_bytes(4 * values)
    }

    /// So many bytes behind the place that this argument points to.
    pub(crate) fn plus_bytes(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

impl From<&Memory> for Argument {
    fn from(memory: &Memory) -> Self {
        Self(memory.address())
    }
}

impl From<u64> for Argument {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

impl From<usize> for Argument {
    fn from(value: usize) -> Self {
        Self(value as u64)
    }
}

impl From<u32> for Argument {
    fn from(value: u32) -> Self {
        Self(value.into())
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        Self(value.to_bits().into())
    }
}
