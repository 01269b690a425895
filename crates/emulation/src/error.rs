//! What can be wrong with a launch.

use polytask_config::did_you_mean;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault in a launch or in its kernel; the message says what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No kernel has this name.
    #[error("no kernel `{name}`{}; `polytask_emulation::kernels` lists all", did_you_mean(name, names()))]
    UnknownKernel {
        /// The name that was asked for.
        name: String,
    },
    /// The kernel takes more or fewer arguments.
    #[error("kernel `{kernel}` takes {expected} arguments, not {found}")]
    Arguments {
        /// The kernel.
        kernel: String,
        /// How many parameters it has.
        expected: usize,
        /// How many arguments were given.
        found: usize,
    },
    /// A grid that no GPU takes.
    #[error("kernel `{kernel}`: a grid of {grid:?} blocks; x is 1 to 2147483647, y and z are 1 to 65535")]
    Grid {
        /// The kernel.
        kernel: String,
        /// Blocks along x, y and z.
        grid: [u32; 3],
    },
    /// A block that no GPU takes.
    #[error("kernel `{kernel}`: a block of {block:?} threads; they are 1 to 1024 in all, 1 to 64 along z")]
    Block {
        /// The kernel.
        kernel: String,
        /// Threads along x, y and z.
        block: [u32; 3],
    },
    /// More dynamic shared memory than a block gets on every GPU from compute capability 8.0.
    #[error("kernel `{kernel}`: {bytes} bytes of dynamic shared memory; a block has at most {limit}")]
    SharedMemory {
        /// The kernel.
        kernel: String,
        /// What was asked for.
        bytes: u32,
        /// The most there is.
        limit: u32,
    },
    /// Threads wait for others that never come.
    #[error("kernel `{kernel}` never ends, {message}; let all threads reach the same barriers")]
    Deadlock {
        /// The kernel.
        kernel: String,
        /// Which threads of which block wait where.
        message: String,
    },
    /// Threads meet that are not at the same barrier, or exchange what nobody gives.
    #[error(
        "kernel `{kernel}` has threads that part before a barrier, {message}; let all reach the same ones"
    )]
    Divergence {
        /// The kernel.
        kernel: String,
        /// Which threads of which block wait where.
        message: String,
    },
    /// A block wrote beyond its shared memory or its threads' stacks.
    #[error("kernel `{kernel}` wrote too far, {message}")]
    Overrun {
        /// The kernel.
        kernel: String,
        /// In which block, beyond what, and the remedy.
        message: String,
    },
}

fn names() -> impl Iterator<Item = &'static str> {
    crate::kernels().map(|(_, name)| name)
}
