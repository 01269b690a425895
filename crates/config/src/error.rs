//! What can be wrong with a configuration.

use crate::Place;
use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault in a configuration; the message names the place, what was found and what to write instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// Something in the document is wrong.
    #[error("{place}: {message}")]
    At {
        /// Where it was written.
        place: Place,
        /// What was found, what was expected, and the remedy.
        message: String,
    },
    /// No plugin of this kind has this name.
    #[error("unknown {kind} type `{name}` {hint}")]
    UnknownPlugin {
        /// What was looked for: "task", "encoder", …
        kind: String,
        /// The name that nobody registered.
        name: String,
        /// The names that exist, and the nearest of them.
        hint: String,
    },
    /// Two plugins of one kind share a name, so neither can be chosen.
    #[error("{kind} type `{name}` is registered twice, in {first} and in {second}; rename one of them")]
    DoubledPlugin {
        /// The kind of both.
        kind: &'static str,
        /// The name of both.
        name: &'static str,
        /// The module of one.
        first: &'static str,
        /// The module of the other.
        second: &'static str,
    },
}
