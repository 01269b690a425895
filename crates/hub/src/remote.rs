//! What is asked of the hub, through the `hf-hub` crate.

use std::time::Duration;

use futures::StreamExt;
use hf_hub::repository::RepoTreeEntry;
use hf_hub::repository::download::HFByteStream;
use hf_hub::{HFClient, HFError, HFRepository, HFResult, RepoTypeModel};
use reqwest::StatusCode;
use tokio::runtime::Runtime;

use crate::name::{Name, is_part};
use crate::{Error, Hub, Result};

/// How long a connection may take to come about, and how long it may be silent.
const CONNECTION: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(60);
/// How often a request is made anew where the hub is not reached or busy.
const RETRIES: usize = 2;

/// A repository at the hub.
pub(crate) struct Remote<'a> {
    runtime: Runtime,
    repository: HFRepository<RepoTypeModel>,
    name: &'a Name,
    endpoint: &'a str,
}

/// A file of a repository at one commit.
pub(crate) struct RemoteFile {
    /// Its name.
    pub(crate) name: String,
    /// Where the hub serves it.
    pub(crate) address: String,
    /// In bytes.
    pub(crate) size: u64,
    /// Git's name of its content: equal names, equal bytes.
    pub(crate) object: String,
    /// Whether git holds a pointer and the hub's storage for large files (LFS, Xet) the bytes.
    pub(crate) is_large: bool,
}

impl<'a> Remote<'a> {
    pub(crate) fn new(hub: &'a Hub, name: &'a Name) -> Result<Remote<'a>> {
        let no_client = |error: HFError| Error::NoClient { message: innermost(&error).to_string() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (owner, repository) = name.repository.split_once('/').unwrap_or_default();
        Ok(Remote {
            runtime: runtime.map_err(|error| no_client(error.into()))?,
            repository: client(hub).map_err(no_client)?.model(owner, repository),
            name,
            endpoint: hub.endpoint.trim_end_matches('/'),
        })
    }

    /// The repository's page.
    pub(crate) fn page(&self) -> String {
        format!("{}/{}", self.endpoint, self.name.repository)
    }

    /// The commit that the revision stands at.
    pub(crate) fn commit(&self) -> Result<String> {
        let info = self.repository.info().revision(&self.name.revision).expand(vec!["sha".to_owned()]);
        let info = self.answer(info.send(), &self.page())?;
        // It becomes the name of a folder.
        info.sha
            .filter(|commit| is_part(commit))
            .ok_or_else(|| self.unexpected("expected a commit, found none"))
    }

    /// What a commit has of these files.
    pub(crate) fn files(&self, commit: &str, names: &[&str]) -> Result<Vec<RemoteFile>> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let entries = self.repository.get_paths_info().paths(names).revision(commit).send();
        let files = self.answer(entries, &self.page())?.into_iter().filter_map(|entry| match entry {
            RepoTreeEntry::File { oid, size, path, lfs, xet_hash, .. } => Some(RemoteFile {
                address: format!("{}/resolve/{commit}/{path}", self.page()),
                name: path,
                size,
                object: oid,
                is_large: lfs.is_some() || xet_hash.is_some(),
            }),
            RepoTreeEntry::Directory { .. } => None,
        });
        let files: Vec<_> = files.collect();
        // An object's name becomes that of a file.
        match files.iter().find(|file| !is_part(&file.object)) {
            Some(file) => {
                Err(self.unexpected(&format!("the object of {} is called `{}`", file.name, file.object)))
            }
            None => Ok(files),
        }
    }

    /// The bytes of a file from `start` on, and how many they are, where the hub tells it.
    pub(crate) fn bytes(
        &self,
        commit: &str,
        file: &RemoteFile,
        start: u64,
    ) -> Result<(Option<u64>, HFByteStream)> {
        let range = (start > 0).then_some(start..file.size);
        let bytes = self.repository.download_file_stream().filename(&file.name).revision(commit);
        self.answer(bytes.maybe_range(range).send(), &file.address)
    }

    /// The bytes of a file that come next; nothing at the end.
    pub(crate) fn next(
        &self,
        file: &RemoteFile,
        bytes: &mut HFByteStream,
    ) -> Result<Option<impl AsRef<[u8]> + use<>>> {
        self.answer(async { bytes.next().await.transpose() }, &file.address)
    }

    /// Waits for an answer; `address` is what was asked.
    fn answer<T>(&self, answer: impl Future<Output = HFResult<T>>, address: &str) -> Result<T> {
        self.runtime.block_on(answer).map_err(|error| self.refusal(&error, address))
    }

    /// What an error of the crate means for somebody who named a repository.
    fn refusal(&self, error: &HFError, address: &str) -> Error {
        let (name, address) = (self.name.to_string(), address.to_owned());
        let message = innermost(error).to_string();
        let context = match error {
            // Where JSON was expected, something came.
            HFError::Request { source, .. }
                if !source.is_builder() && !innermost(error).is::<serde_json::Error>() =>
            {
                return Error::Network { address, message };
            }
            HFError::RevisionNotFound { context, .. } | HFError::EntryNotFound { context, .. } => {
                context.as_ref()
            }
            HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Http { context } => Some(context),
            _ => None,
        };
        // An address of the storage that files are kept in opens them for whoever has it: it is not told.
        let Some(context) = context else {
            return Error::UnexpectedAnswer { address, message };
        };
        match context.status {
            _ if !context.url.starts_with(self.endpoint) => {
                let message = format!("the storage of the file answered HTTP {}", context.status);
                Error::UnexpectedAnswer { address, message }
            }
            _ if context.error_code.as_deref() == Some("RevisionNotFound") => {
                Error::NoRevision { name, address }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Error::NoRepository { name, status: context.status.as_u16(), address }
            }
            status => Error::UnexpectedAnswer { address, message: format!("the hub answered HTTP {status}") },
        }
    }

    fn unexpected(&self, message: &str) -> Error {
        Error::UnexpectedAnswer { address: self.page(), message: message.to_owned() }
    }
}

/// No header can hold it. Without a token the crate would look for one in the environment by itself.
const NO_TOKEN: &str = "\n";

fn client(hub: &Hub) -> HFResult<HFClient> {
    let limited = reqwest::Client::builder()
        .connect_timeout(CONNECTION)
        .read_timeout(SILENCE)
        .user_agent(concat!("polytask/", env!("CARGO_PKG_VERSION")));
    HFClient::builder()
        .client(limited.build()?)
        .endpoint(&hub.endpoint)
        .token(hub.token.as_deref().unwrap_or(NO_TOKEN))
        .retry_max_attempts(RETRIES)
        .build()
}

/// What happened in the end: the errors around it say what was tried.
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |&error| error.source()).last().unwrap_or(error)
}
