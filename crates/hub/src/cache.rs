use std::fs;
use std::path::{Path, PathBuf};

use crate::name::{Name, is_part};
use crate::{Error, Result};

/// A repository in the cache that all Hugging Face libraries share:
///
/// ```text
/// models--owner--name/
///   refs/main                     the commit that a branch or tag stood at
///   snapshots/COMMIT/config.json  a link to a blob
///   blobs/ETAG                    the bytes of a file
///   blobs/ETAG.part               the bytes that came before a connection broke
/// ```
pub(crate) struct CachedRepository {
    folder: PathBuf,
}

impl CachedRepository {
    pub(crate) fn new(cache: &Path, name: &Name) -> CachedRepository {
        CachedRepository { folder: cache.join(format!("models--{}", name.repository.replace('/', "--"))) }
    }

    /// The folder of a commit's files.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The folder of the files of a branch, tag or commit, as far as the cache knows it.
    pub(crate) fn snapshot_of_revision(&self, revision: &str) -> Option<PathBuf> {
        let commit = fs::read_to_string(self.reference(revision)).ok();
        let commit = commit.as_deref().map_or(revision, str::trim);
        let snapshot = self.snapshot(commit);
        (is_part(commit) && snapshot.is_dir()).then_some(snapshot)
    }

    /// Notes that a branch or tag stands at `commit`.
    pub(crate) fn write_reference(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.reference(revision);
        create_parent(&path)?;
        fs::write(&path, commit).map_err(Error::disk(&path))
    }

    /// Where the bytes with this tag lie.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Makes `file` of a commit stand for the bytes with this tag.
    pub(crate) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let path = self.snapshot(commit).join(file);
        create_parent(&path)?;
        // A link that leads nowhere may be left of a blob that somebody deleted.
        if path.is_symlink() && !path.exists() {
            fs::remove_file(&path).map_err(Error::disk(&path))?;
        }
        // Relative, so that the cache can be moved. Links need a privilege on Windows; there it is a second name.
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(Path::new("../../blobs").join(etag), &path);
        #[cfg(not(unix))]
        let linked = fs::hard_link(self.blob(etag), &path);
        // Another process may have been as fast.
        if path.is_file() { Ok(()) } else { linked.map_err(Error::disk(&path)) }
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }
}

/// Makes the folder that `path` lies in.
pub(crate) fn create_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(Error::disk(parent)),
        None => Ok(()),
    }
}
