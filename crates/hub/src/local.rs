use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folder `path`, relative to `base`.
pub(crate) fn folder(path: &str, base: &Path) -> Result<PathBuf> {
    let path = base.join(path);
    if path.is_dir() {
        Ok(path)
    } else if path.exists() {
        Err(Error::NotAFolder { path })
    } else {
        let siblings = siblings(&path);
        Err(Error::NoFolder { path, siblings })
    }
}

/// The names beside `path`, in order; none if they cannot be read, since they only help a message.
fn siblings(path: &Path) -> Vec<String> {
    let entries = path.parent().and_then(|parent| fs::read_dir(parent).ok());
    let mut names: Vec<_> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_must_lead_to_a_folder() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("models/minilm")).unwrap();
        fs::write(base.path().join("models/file"), "").unwrap();
        assert_eq!(folder("models/minilm", base.path()).unwrap(), base.path().join("models/minilm"));

        let misspelt = folder("models/miniln", base.path()).unwrap_err().to_string();
        assert!(misspelt.contains("miniln: no such folder; did you mean `minilm`?"), "{misspelt}");
        let nowhere = folder("owner/name", base.path()).unwrap_err().to_string();
        assert!(
            nowhere
                .ends_with("name: no such folder (a model of the Hugging Face hub is written hf:owner/name)")
        );
        let file = folder("models/file", base.path()).unwrap_err().to_string();
        assert!(file.contains("models/file: not a folder"), "{file}");
    }
}
