use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ureq::http::{Response, StatusCode, header};
use ureq::{Body, BodyReader};

use crate::cache::{CachedRepository, create_parent};
use crate::name::Name;
use crate::remote::{Remote, text, unexpected};
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
        let remote = Remote::new(hub, name);
        let Some(config) = remote.metadata(&name.revision, files::CONFIG)? else {
            return Err(no_file(name, &remote, files::CONFIG));
        };
        cached.write_reference(&name.revision, &config.commit)?;
        Ok(Download { name, remote, cached, progress, commit: config.commit })
    }

    /// Brings every file that is missing; gives their folder.
    ///
    /// The weights come last: where they are, the optional files are too, if the repository has them.
    pub(crate) fn run(mut self) -> Result<PathBuf> {
        self.require(&[files::CONFIG])?;
        for file in files::OPTIONAL {
            self.fetch(file)?;
        }
        self.require(&files::TOKENIZERS)?;
        self.fetch_weights()?;
        Ok(self.cached.snapshot(&self.commit))
    }

    fn fetch_weights(&mut self) -> Result<()> {
        if self.fetch(files::WEIGHTS)? {
            return Ok(());
        }
        if self.fetch(files::INDEX)? {
            let index = self.cached.snapshot(&self.commit).join(files::INDEX);
            return files::shards(&index)?.iter().try_for_each(|shard| self.require(&[shard]));
        }
        for file in files::PICKLES {
            if self.remote.metadata(&self.commit, file)?.is_some() {
                let (name, file) = (self.name.to_string(), file.to_owned());
                let Name { repository, revision } = self.name.clone();
                return Err(Error::Pickle { name, repository, revision, file });
            }
        }
        Err(no_file(self.name, &self.remote, files::WEIGHTS))
    }

    /// Brings the first of these files that the repository has; it must have one.
    fn require(&mut self, candidates: &[&str]) -> Result<()> {
        for file in candidates {
            if self.fetch(file)? {
                return Ok(());
            }
        }
        Err(no_file(self.name, &self.remote, &candidates.join(" or ")))
    }

    /// Brings a file unless it is there; says whether the repository has it.
    fn fetch(&mut self, file: &str) -> Result<bool> {
        if self.cached.snapshot(&self.commit).join(file).is_file() {
            return Ok(true);
        }
        let Some(metadata) = self.remote.metadata(&self.commit, file)? else {
            return Ok(false);
        };
        self.fetch_blob(file, &self.cached.blob(&metadata.etag))?;
        self.cached.link(&self.commit, file, &metadata.etag)?;
        Ok(true)
    }

    /// Brings the bytes of `file` to `blob`, which has its name once it is whole; goes on where the last call was cut off.
    fn fetch_blob(&mut self, file: &str, blob: &Path) -> Result<()> {
        if blob.is_file() {
            return Ok(());
        }
        create_parent(blob)?;
        let path = blob.with_added_extension("part");
        let mut part = File::options().create(true).append(true).open(&path).map_err(Error::disk(&path))?;
        // Another process may be at the same file: wait for it, then see what it has done.
        part.lock().map_err(Error::disk(&path))?;
        if blob.is_file() {
            return Ok(());
        }
        let answer = self.open(file, &mut part, &path)?;
        let address = self.remote.address(&self.commit, file);
        let start = length(&part, &path)?;
        let size = answer.body().content_length().map(|rest| start + rest);
        self.progress.started(file, size);
        self.progress.received(start);
        let end = start + self.receive(answer.into_body().into_reader(), &mut part, &path, &address)?;
        if size.is_some_and(|size| size != end) {
            let message = format!("the connection ended after {end} bytes of {file}");
            return Err(Error::Network { address, message });
        }
        fs::rename(&path, blob).map_err(Error::disk(blob))?;
        self.progress.finished();
        Ok(())
    }

    /// The answer that goes on where `part` ends; empties `part` where the server only gives the whole file.
    fn open(&self, file: &str, part: &mut File, path: &Path) -> Result<Response<Body>> {
        let start = length(part, path)?;
        let answer = self.remote.bytes(&self.commit, file, start)?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if continues(&answer, start) => Ok(answer),
            StatusCode::OK => {
                part.set_len(0).map_err(Error::disk(path))?;
                Ok(answer)
            }
            // As many bytes as the file has, or more: from the start again.
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                part.set_len(0).map_err(Error::disk(path))?;
                self.open(file, part, path)
            }
            status => {
                let message = format!("expected the bytes of {file}, found HTTP {status}");
                Err(unexpected(&self.remote.address(&self.commit, file), &message))
            }
        }
    }

    /// Copies what comes to the end of `part`; how many bytes.
    fn receive(&mut self, mut body: BodyReader, part: &mut File, path: &Path, address: &str) -> Result<u64> {
        let (mut buffer, mut count) = (vec![0; 64 * 1024], 0);
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(count),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Error::Network { address: address.to_owned(), message: error.to_string() });
                }
            };
            part.write_all(&buffer[..read]).map_err(Error::disk(path))?;
            self.progress.received(read as u64);
            count += read as u64;
        }
    }
}

fn length(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(Error::disk(path))?.len())
}

/// Whether an answer holds the bytes from `start` on.
fn continues(answer: &Response<Body>, start: u64) -> bool {
    let range = text(answer.headers(), header::CONTENT_RANGE.as_str()).unwrap_or_default();
    answer.status() == StatusCode::PARTIAL_CONTENT && range.starts_with(&format!("bytes {start}-"))
}

fn no_file(name: &Name, remote: &Remote<'_>, file: &str) -> Error {
    Error::NoFile { name: name.to_string(), file: file.to_owned(), address: remote.page() }
}
