use std::fmt;

use crate::{Error, Result};

/// What a path to the hub begins with.
const PREFIX: &str = "hf:";

/// Whether a path leads to the hub, and not to a folder.
pub fn is_remote(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// A revision of a repository: `hf:owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// `owner/name`
    pub(crate) repository: String,
    /// A branch, a tag or a commit.
    pub(crate) revision: String,
}

impl Name {
    /// Reads `hf:owner/name` (the branch `main`) or `hf:owner/name@revision`.
    ///
    /// All three parts become parts of paths and of addresses, so they are held to the characters that the hub allows.
    pub(crate) fn parse(path: &str) -> Result<Name> {
        let name = path.strip_prefix(PREFIX).unwrap_or(path);
        let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
        let well_formed = match repository.split_once('/') {
            Some((owner, name)) => is_part(owner) && is_part(name) && revision.split('/').all(is_part),
            None => false,
        };
        if !well_formed {
            return Err(Error::MalformedName { path: path.to_owned() });
        }
        Ok(Name { repository: repository.to_owned(), revision: revision.to_owned() })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}@{}", self.repository, self.revision)
    }
}

/// Whether `part` may be one step of a path: no separator, not hidden, not `..`.
pub(crate) fn is_part(part: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    !part.is_empty() && part.chars().all(allowed) && !part.starts_with('.') && !part.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_main_unless_it_is_named() {
        let name = Name::parse("hf:BAAI/bge-small-en-v1.5").unwrap();
        assert_eq!(name.to_string(), "hf:BAAI/bge-small-en-v1.5@main");
        let name = Name::parse("hf:owner/name@refs/pr/3").unwrap();
        assert_eq!((name.repository.as_str(), name.revision.as_str()), ("owner/name", "refs/pr/3"));
    }

    #[test]
    fn a_malformed_name_is_refused_with_the_form() {
        let malformed = [
            "hf:",
            "hf:a",
            "hf:a/",
            "hf:/b",
            "hf:a/b/c",
            "hf:a/b@",
            "hf:a/b@/",
            "hf:../x",
            "hf:a/..",
            "hf:a/b@..",
            "hf:a/b@x/../y",
            "hf:a/b@x@y",
            "hf:a b/c",
            "hf:a/b?c",
            "hf:a\\b/c",
            "hf:.a/b",
            "hf:é/b",
        ];
        for path in malformed {
            let message = Name::parse(path).unwrap_err().to_string();
            assert!(message.contains(&format!("`{path}`")), "{message}");
            assert!(message.contains("hf:owner/name@revision"), "{message}");
        }
    }
}
