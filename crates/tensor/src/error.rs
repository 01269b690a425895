use std::path::PathBuf;

/// What an operation, a store or a tensor file refuses, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The shapes of an operation's inputs do not fit together.
    #[error("{operation}: {message}")]
    Shape {
        /// The operation that refused.
        operation: &'static str,
        /// Which input, what was expected and what was found.
        message: String,
    },
    /// A number of values that does not fill the shape.
    #[error("{found} values cannot fill a tensor of shape {shape:?}")]
    Length {
        /// The shape asked for.
        shape: Vec<usize>,
        /// The number of values given.
        found: usize,
    },
    /// Row offsets that do not start at 0 or that decrease.
    #[error("row offsets must start at 0 and never decrease; found {found} at position {position}")]
    Offsets {
        /// Position of the first fault.
        position: usize,
        /// The offset found there.
        found: u32,
    },
    /// A device cannot be used, or failed.
    #[error("{device}: {message}")]
    Device {
        /// Which.
        device: crate::Device,
        /// What is missing or what failed, and what to do.
        message: String,
    },
    /// A gradient was asked of something that has none.
    #[error("{0}")]
    Gradient(String),
    /// Two parameters of one name.
    #[error("parameter `{0}` exists already: every parameter needs a name of its own")]
    DoubledParameter(String),
    /// A tensor that a file should hold is missing.
    #[error("{file}: tensor `{name}` is missing{hint}")]
    MissingTensor {
        /// The file read.
        file: PathBuf,
        /// The tensor's full name.
        name: String,
        /// What lies near, as the end of the sentence.
        hint: String,
    },
    /// A tensor in a file has another shape than the model needs.
    #[error("{file}: {name} is {found:?}, this configuration needs {expected:?}")]
    TensorShape {
        /// The file read.
        file: PathBuf,
        /// The tensor's full name.
        name: String,
        /// The shape needed.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A tensor in a file holds another type of number.
    #[error("{file}: {name} holds {found} values, F32 is needed")]
    TensorType {
        /// The file read.
        file: PathBuf,
        /// The tensor's full name.
        name: String,
        /// The type found, as safetensors names it.
        found: String,
    },
    /// A file that is not a sound safetensors file.
    #[error("{file}: damaged or not a safetensors file: {message}")]
    Damaged {
        /// The file read.
        file: PathBuf,
        /// What the reader found.
        message: String,
    },
    /// Reading or writing failed.
    #[error("{file}: {source}")]
    Io {
        /// The file read or written.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A fault in the shapes given to an operation.
    pub fn shape(operation: &'static str, message: impl Into<String>) -> Self {
        Error::Shape { operation, message: message.into() }
    }
}
