//! What can go wrong between a path and a model's folder.

use std::io;
use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a path and a model's folder; the message says where, what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A local path that leads nowhere.
    #[error("{}: no such folder{} (a model of the Hugging Face hub is written hf:owner/name)", path.display(), did_you_mean(path, siblings))]
    NoFolder {
        /// The path as it was looked up.
        path: PathBuf,
        /// The names that the folder around it has.
        siblings: Vec<String>,
    },

    /// A local path that leads to a file.
    #[error("{}: not a folder; give the folder that holds the model's config.json and model.safetensors", path.display())]
    NotAFolder {
        /// The path as it was looked up.
        path: PathBuf,
    },

    /// A name of the hub that has not the form of one.
    #[error(
        "`{path}` names no model of the hub; write hf:owner/name, or hf:owner/name@revision for a branch, a tag or a commit"
    )]
    MalformedName {
        /// The name.
        path: String,
    },

    /// A repository that does not exist, or is not for everyone.
    #[error(
        "{name}: the hub shows no such repository (HTTP {status} from {address}); check owner and name, and for a private or gated one set HF_TOKEN and accept its terms on the hub"
    )]
    NoRepository {
        /// The model.
        name: String,
        /// The answer's status.
        status: u16,
        /// The address that was asked.
        address: String,
    },

    /// A branch, tag or commit that the repository lacks.
    #[error("{name}: the repository has no such revision; see its branches and tags at {address}")]
    NoRevision {
        /// The model.
        name: String,
        /// The address of the repository.
        address: String,
    },

    /// A file that the repository lacks.
    #[error("{name}: no {file} in the repository; check name and revision at {address}")]
    NoFile {
        /// The model.
        name: String,
        /// The file, or the files one of which was needed.
        file: String,
        /// The address of the repository.
        address: String,
    },

    /// A repository whose weights are pickles.
    #[error(
        "{name}: the weights are only there as {file}, and pickles are not read, since they can run code; convert them with transformers: `AutoModel.from_pretrained(\"{repository}\", revision=\"{revision}\").save_pretrained(DIR, safe_serialization=True)`, the tokenizer likewise, and give that folder as the path"
    )]
    Pickle {
        /// The model.
        name: String,
        /// Its `owner/name`.
        repository: String,
        /// Its revision.
        revision: String,
        /// The file of the weights.
        file: String,
    },

    /// An index of weights that names no shards.
    #[error("{}: {message}; expected {{\"weight_map\": {{TENSOR: FILE, …}}}} with plain file names", path.display())]
    BadIndex {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },

    /// A file that is not in the cache while HF_HUB_OFFLINE is set.
    #[error(
        "{name}: HF_HUB_OFFLINE is set and {file} is not in the cache {}; unset it once to download the model, or give a local folder", cache.display()
    )]
    Offline {
        /// The model.
        name: String,
        /// The first file that is missing.
        file: String,
        /// The folder of the cache.
        cache: PathBuf,
    },

    /// No client of the hub could be made.
    #[error(
        "no connection to the hub can be made: {message}; check HF_ENDPOINT if it is set, and install the system's certificates (the package ca-certificates) or name their file in SSL_CERT_FILE"
    )]
    NoClient {
        /// What happened.
        message: String,
    },

    /// A server that could not be reached, or a connection that broke.
    #[error(
        "{address}: {message}; check the network and call again: what has come is kept, and the download goes on from there"
    )]
    Network {
        /// The address that was asked.
        address: String,
        /// What happened.
        message: String,
    },

    /// An answer that does not follow the hub's protocol.
    #[error("{address}: {message}; try again later, and check HF_ENDPOINT if it is set")]
    UnexpectedAnswer {
        /// The address that was asked.
        address: String,
        /// What was expected and found.
        message: String,
    },

    /// A file or folder that could not be read or written.
    #[error("{}: {source}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: a failure of the disk at `path`.
    pub(crate) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Disk { path: path.to_owned(), source }
    }
}

fn did_you_mean(path: &Path, siblings: &[String]) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    polytask_config::did_you_mean(name, siblings.iter().map(String::as_str))
}
