use std::path::PathBuf;

/// What a model, its folder or a prediction refuses, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation, a layer or a tensor file.
    #[error(transparent)]
    Tensor(#[from] polytask_tensor::Error),
    /// Reading or tokenizing data.
    #[error(transparent)]
    Data(#[from] polytask_data::Error),
    /// A task's own code.
    #[error("task `{task}`: {source:#}")]
    Task {
        /// The task's name.
        task: String,
        /// What it said.
        source: anyhow::Error,
    },
    /// One label that its task refuses.
    #[error("{place}: task `{task}`: {source:#}")]
    Label {
        /// The file and line of the row.
        place: polytask_data::Place,
        /// The task's name.
        task: String,
        /// What it said.
        source: anyhow::Error,
    },
    /// A task that the model does not have.
    #[error("no task `{name}` in this model (it has: {known}){hint}")]
    UnknownTask {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
        /// The nearest of them, as the end of the sentence.
        hint: String,
    },
    /// Adapters that have no place in an encoder's weights.
    #[error("the adapters cannot be merged into the encoder: {0}")]
    NotMergeable(String),
    /// Tasks that were added, and changed what was there.
    #[error("the tasks that were added changed what was there before: {0}; nothing is written")]
    Changed(String),
    /// A folder that holds no model.
    #[error("{folder}: no model here ({missing} is missing); `polytask train CONFIG --out DIR` makes one")]
    NoModel {
        /// The folder.
        folder: PathBuf,
        /// The file looked for.
        missing: &'static str,
    },
    /// A model folder written by a newer polytask.
    #[error(
        "{file}: model format {found}, but this polytask reads up to format {known}: use a newer polytask"
    )]
    NewerFormat {
        /// The file read.
        file: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// A model of an encoder or task type that this program does not have.
    #[error("{file}: a type in it is not linked into this program (`use CRATE as _;` links it): {source}")]
    NotLinked {
        /// The file read.
        file: PathBuf,
        /// The type's name and those there are.
        source: polytask_config::Error,
    },
    /// A file of the model folder that cannot be understood.
    #[error("{file}: damaged: {message}")]
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
