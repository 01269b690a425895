use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::name::{Name, is_part};
use crate::{Error, Result};

/// A repository in the cache that all Hugging Face libraries share:
///
/// ```text
/// models--owner--name/
///   refs/main                           the commit that a branch or tag stood at
///   snapshots/COMMIT/config.json        a link to a blob
///   blobs/NAME                          the bytes of a file, under git's name of them, or their SHA-256 where git has a pointer
///   blobs/OBJECT.part                   the bytes that came before a connection broke
/// .locks/models--owner--name/OBJECT.lock  held by who brings these bytes
/// ```
pub(crate) struct CachedRepository {
    folder: PathBuf,
    locks: PathBuf,
}

impl CachedRepository {
    pub(crate) fn new(cache: &Path, name: &Name) -> CachedRepository {
        let folder = format!("models--{}", name.repository.replace('/', "--"));
        CachedRepository { locks: cache.join(".locks").join(&folder), folder: cache.join(folder) }
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

    /// Where the bytes with this name lie.
    pub(crate) fn blob(&self, name: &str) -> PathBuf {
        self.folder.join("blobs").join(name)
    }

    /// Waits until no other process brings the bytes of this object, and keeps others waiting until it is dropped.
    pub(crate) fn lock(&self, object: &str) -> Result<File> {
        let path = self.locks.join(format!("{object}.lock"));
        create_parent(&path)?;
        let lock = File::create(&path).map_err(Error::disk(&path))?;
        lock.lock().map_err(Error::disk(&path))?;
        Ok(lock)
    }

    /// Makes `file` of a commit stand for the bytes with this name.
    pub(crate) fn link(&self, commit: &str, file: &str, blob: &str) -> Result<()> {
        let path = self.snapshot(commit).join(file);
        create_parent(&path)?;
        // A link that leads nowhere may be left of a blob that somebody deleted.
        if path.is_symlink() && !path.exists() {
            fs::remove_file(&path).map_err(Error::disk(&path))?;
        }
        // Relative, so that the cache can be moved. Links need a privilege on Windows; there it is a second name.
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(Path::new("../../blobs").join(blob), &path);
        #[cfg(not(unix))]
        let linked = fs::hard_link(self.blob(blob), &path);
        // Another library may have been as fast.
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
