use std::path::PathBuf;

/// What a pretrained model's folder is refused for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor is missing, or of another shape or type, or a file is damaged.
    #[error(transparent)]
    Tensor(#[from] polytask_tensor::Error),
    /// A file that a pretrained model needs is missing.
    #[error("{}: no `{missing}`{hint}", folder.display())]
    MissingFile {
        /// The folder.
        folder: PathBuf,
        /// The file looked for.
        missing: &'static str,
        /// What lies there instead and what to do, as the end of the sentence.
        hint: String,
    },
    /// A `config.json` or an index of tensors that is wrong, or asks for what is not there.
    #[error("{}: {message}", file.display())]
    Description {
        /// The file.
        file: PathBuf,
        /// Which key, what was expected and what was found.
        message: String,
    },
    /// A file cannot be read.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A result of reading a pretrained model.
pub type Result<T> = std::result::Result<T, Error>;
