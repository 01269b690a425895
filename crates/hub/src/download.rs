use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use hf_hub::repository::download::HFByteStream;
use sha2::{Digest, Sha256};

use crate::cache::{CachedRepository, create_parent};
use crate::name::Name;
use crate::remote::{Remote, RemoteFile};
use crate::{Error, Hub, Progress, Result, files};

/// Brings what a model needs from the hub into the cache.
pub(crate) struct Download<'a> {
    name: &'a Name,
    remote: Remote<'a>,
    cached: CachedRepository,
    progress: &'a mut dyn Progress,
    commit: String,
}

impl<'a> Download<'a> {
    /// Asks where the revision stands: all files then come from that one commit, even if a branch moves meanwhile.
    pub(crate) fn new(
        hub: &'a Hub,
        name: &'a Name,
        cached: CachedRepository,
        progress: &'a mut dyn Progress,
    ) -> Result<Download<'a>> {
        let remote = Remote::new(hub, name)?;
        let commit = remote.commit()?;
        cached.write_reference(&name.revision, &commit)?;
        Ok(Download { name, remote, cached, progress, commit })
    }

    /// Brings every file that is missing; gives their folder.
    ///
    /// The weights come last: where they are, the optional files are too, if the repository has them.
    pub(crate) fn run(mut self) -> Result<PathBuf> {
        let listed = self.remote.files(&self.commit, &files::all())?;
        self.require(&listed, &[files::CONFIG])?;
        for file in files::OPTIONAL {
            self.fetch(&listed, file)?;
        }
        self.require(&listed, &files::TOKENIZERS)?;
        self.fetch_weights(&listed)?;
        Ok(self.cached.snapshot(&self.commit))
    }

    fn fetch_weights(&mut self, listed: &[RemoteFile]) -> Result<()> {
        if self.fetch(listed, files::WEIGHTS)? {
            return Ok(());
        }
        if self.fetch(listed, files::INDEX)? {
            let shards = files::shards(&self.cached.snapshot(&self.commit).join(files::INDEX))?;
            let shards: Vec<_> = shards.iter().map(String::as_str).collect();
            let listed = self.remote.files(&self.commit, &shards)?;
            return shards.iter().try_for_each(|shard| self.require(&listed, &[shard]));
        }
        match files::PICKLES.iter().find(|&&pickle| find(listed, pickle).is_some()) {
            Some(&file) => {
                let Name { repository, revision } = self.name.clone();
                Err(Error::Pickle {
                    name: self.name.to_string(),
                    repository,
                    revision,
                    file: file.to_owned(),
                })
            }
            None => self.require(listed, &[files::WEIGHTS]),
        }
    }

    /// Brings the first of these files that the repository has; it must have one.
    fn require(&mut self, listed: &[RemoteFile], candidates: &[&str]) -> Result<()> {
        for file in candidates {
            if self.fetch(listed, file)? {
                return Ok(());
            }
        }
        let (name, address) = (self.name.to_string(), self.remote.page());
        Err(Error::NoFile { name, file: candidates.join(" or "), address })
    }

    /// Brings a file unless it is there; says whether the repository has it.
    fn fetch(&mut self, listed: &[RemoteFile], file: &str) -> Result<bool> {
        let Some(found) = find(listed, file) else { return Ok(false) };
        let _lock = self.cached.lock(&found.object)?;
        if !self.cached.snapshot(&self.commit).join(file).is_file() {
            let blob = self.fetch_blob(found)?;
            self.cached.link(&self.commit, file, &blob)?;
        }
        Ok(true)
    }

    /// Brings the bytes of a file to a blob, which has its name once it is whole; gives that name.
    fn fetch_blob(&mut self, file: &RemoteFile) -> Result<String> {
        if !file.is_large && self.cached.blob(&file.object).is_file() {
            return Ok(file.object.clone());
        }
        let path = self.cached.blob(&format!("{}.part", file.object));
        self.receive(file, &path)?;
        let name = if file.is_large { sha256(&path)? } else { file.object.clone() };
        let blob = self.cached.blob(&name);
        fs::rename(&path, &blob).map_err(Error::disk(&blob))?;
        Ok(name)
    }

    /// Brings the bytes of a file to `path`; goes on where the last call was cut off.
    fn receive(&mut self, file: &RemoteFile, path: &Path) -> Result<()> {
        create_parent(path)?;
        let mut part = File::options().create(true).append(true).open(path).map_err(Error::disk(path))?;
        let mut bytes = self.open(file, &part, path)?;
        let mut end = length(&part, path)?;
        self.progress.started(&file.name, file.size);
        self.progress.received(end);
        while let Some(next) = self.remote.next(file, &mut bytes)? {
            let next = next.as_ref();
            end += next.len() as u64;
            if end > file.size {
                let message = format!("expected {} bytes, more came", file.size);
                return Err(Error::UnexpectedAnswer { address: file.address.clone(), message });
            }
            part.write_all(next).map_err(Error::disk(path))?;
            self.progress.received(next.len() as u64);
        }
        if end < file.size {
            let message = format!("the connection ended after {end} of {} bytes", file.size);
            return Err(Error::Network { address: file.address.clone(), message });
        }
        part.sync_all().map_err(Error::disk(path))?;
        self.progress.finished();
        Ok(())
    }

    /// The bytes from the end of `part` on; empties `part` where it cannot be continued.
    fn open(&self, file: &RemoteFile, part: &File, path: &Path) -> Result<HFByteStream> {
        let start = length(part, path)?;
        if start == file.size {
            return Ok(Box::new(futures::stream::empty()));
        }
        if (1..file.size).contains(&start) {
            match self.remote.bytes(&self.commit, file, start) {
                Ok((length, bytes)) if length == Some(file.size - start) => return Ok(bytes),
                // A server that knows no ranges gives the whole file, or refuses.
                Ok(_) | Err(Error::UnexpectedAnswer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let (_, bytes) = self.remote.bytes(&self.commit, file, 0)?;
        part.set_len(0).map_err(Error::disk(path))?;
        Ok(bytes)
    }
}

fn length(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(Error::disk(path))?.len())
}

/// The SHA-256 of a file, in hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::disk(path))?;
    let (mut buffer, mut digest) = (vec![0; 64 * 1024], Sha256::new());
    loop {
        match file.read(&mut buffer).map_err(Error::disk(path))? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => digest.update(&buffer[..count]),
        }
    }
}

fn find<'a>(listed: &'a [RemoteFile], name: &str) -> Option<&'a RemoteFile> {
    listed.iter().find(|file| file.name == name)
}
