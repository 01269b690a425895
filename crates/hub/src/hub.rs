use std::env;
use std::path::{Path, PathBuf};

use crate::cache::CachedRepository;
use crate::download::Download;
use crate::name::{Name, is_remote};
use crate::{Error, Progress, Result, files, local};

/// The folder of the pretrained model at `path`, with the hub and the cache that the environment names.
///
/// `path` is a local folder, relative to `base`, or `hf:owner/name` or `hf:owner/name@revision`, a repository of the
/// Hugging Face hub. Of a repository, what the cache lacks is downloaded.
///
/// # Panics
///
/// If it must download and is called on a thread that runs asynchronous tasks of tokio; there, call it in `spawn_blocking`.
pub fn locate(path: &str, base: &Path, progress: &mut dyn Progress) -> Result<PathBuf> {
    Hub::from_environment().locate(path, base, progress)
}

/// A hub of models and the cache of what was downloaded from it.
#[derive(Clone)]
pub struct Hub {
    /// The address of the hub, `https://huggingface.co` as a rule.
    pub endpoint: String,
    /// The folder of the cache; other Hugging Face libraries can use the same one.
    pub cache: PathBuf,
    /// What opens private and gated repositories.
    pub token: Option<String>,
    /// Whether the network is never touched.
    pub offline: bool,
}

impl Hub {
    /// The hub that the environment names, by the variables that all Hugging Face libraries read:
    ///
    /// | field | the first of these that is set |
    /// |---|---|
    /// | `endpoint` | `HF_ENDPOINT`, else `https://huggingface.co` |
    /// | `cache` | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `$HF_HOME/hub`, `$XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub` |
    /// | `token` | none if `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set, `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else the file `token` beside the cache's `hub` |
    /// | `offline` | `HF_HUB_OFFLINE` (`1`, `true`, `yes`, `on`) |
    pub fn from_environment() -> Hub {
        Hub::from_variables(&|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Hub {
        let folder = |name| variable(name).map(PathBuf::from);
        let home = folder("HF_HOME").unwrap_or_else(|| {
            let user_cache = || env::home_dir().unwrap_or_default().join(".cache");
            folder("XDG_CACHE_HOME").unwrap_or_else(user_cache).join("huggingface")
        });
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = match variable("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None => variable("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file).ok()),
            Some(_) => None,
        };
        let offline = variable("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
        Hub {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            cache: folder("HF_HUB_CACHE")
                .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| home.join("hub")),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            offline: ["1", "true", "yes", "on"].contains(&offline.as_str()),
        }
    }

    /// Like [`locate`], with this hub and cache.
    ///
    /// # Panics
    ///
    /// As [`locate`].
    pub fn locate(&self, path: &str, base: &Path, progress: &mut dyn Progress) -> Result<PathBuf> {
        if is_remote(path) { self.snapshot(&Name::parse(path)?, progress) } else { local::folder(path, base) }
    }

    /// The folder of a revision's files, all of them there.
    fn snapshot(&self, name: &Name, progress: &mut dyn Progress) -> Result<PathBuf> {
        let cached = CachedRepository::new(&self.cache, name);
        let missing = match cached.snapshot_of_revision(&name.revision) {
            Some(folder) => match files::missing(&folder)? {
                Some(file) => file,
                None => return Ok(folder),
            },
            None => files::CONFIG.to_owned(),
        };
        if self.offline {
            return Err(Error::Offline { name: name.to_string(), file: missing, cache: self.cache.clone() });
        }
        Download::new(self, name, cached, progress)?.run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        Hub::from_variables(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_nearest_variable_names_the_cache() {
        assert!(hub(&[]).cache.ends_with(".cache/huggingface/hub"));
        assert_eq!(hub(&[("XDG_CACHE_HOME", "/x")]).cache, Path::new("/x/huggingface/hub"));
        assert_eq!(hub(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]).cache, Path::new("/h/hub"));
        assert_eq!(hub(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]).cache, Path::new("/c"));
    }

    #[test]
    fn the_other_fields_come_from_their_variables() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let home = ("HF_HOME", home.path().to_str().unwrap());
        assert_eq!(hub(&[home]).token.as_deref(), Some("hf_file"));
        assert_eq!(hub(&[home, ("HF_TOKEN", "hf_variable")]).token.as_deref(), Some("hf_variable"));
        assert_eq!(hub(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token, None);
        assert_eq!(hub(&[home]).endpoint, "https://huggingface.co");
        assert_eq!(hub(&[("HF_ENDPOINT", "http://mirror")]).endpoint, "http://mirror");
        assert!(!hub(&[]).offline && !hub(&[("HF_HUB_OFFLINE", "0")]).offline);
        assert!(hub(&[("HF_HUB_OFFLINE", "1")]).offline && hub(&[("HF_HUB_OFFLINE", "TRUE")]).offline);
    }
}
