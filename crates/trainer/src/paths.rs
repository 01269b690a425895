use std::io::ErrorKind;
use std::path::{Path, PathBuf, absolute};

use polytask_config::{Document, TomlValue};
use polytask_data::Paths;

use crate::{Config, Result};

/// A configuration as text with all paths absolute, which holds wherever the model folder lies. Relative paths start at
/// `base`.
///
/// # Errors
/// As for [`Config::read`], or a path that is no UTF-8.
pub fn with_absolute_paths(document: &Document, base: &Path) -> Result<String> {
    let config = Config::read(document)?;
    let mut document = document.clone();
    for data in &config.data {
        document.set_at(&["data", &data.name, "train"], absolute_paths(base, &data.train)?)?;
        if let Some(dev) = &data.dev {
            document.set_at(&["data", &data.name, "dev"], absolute_paths(base, dev)?)?;
        }
    }
    if let Some(path) = &config.tokenizer.path {
        document.set_at(&["tokenizer", "path"], absolute_path(base, path)?)?;
    }
    if let Some(path) = config.model.encoder.source().filter(|path| !polytask_hub::is_remote(path)) {
        document.set_at(&["encoder", "path"], absolute_path(base, path.as_ref())?)?;
    }
    Ok(document.to_toml())
}

fn absolute_paths(base: &Path, paths: &Paths) -> Result<TomlValue> {
    match paths {
        Paths::One(path) => Ok(absolute_path(base, path)?.into()),
        Paths::Many(paths) => paths.iter().map(|path| absolute_path(base, path)).collect(),
    }
}

fn absolute_path(base: &Path, path: &Path) -> Result<String> {
    let path = base.join(path);
    let text =
        |path: PathBuf| path.into_os_string().into_string().map_err(|_| ErrorKind::InvalidFilename.into());
    let text = absolute(&path).and_then(text);
    Ok(text.map_err(|source| polytask_model::Error::Io { file: path, source })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_classification as _;

    #[test]
    fn paths_become_absolute_and_the_rest_stays() {
        let text = "[[data]]\nname = 'a = b'\ntrain = ['x.jsonl', '/y.jsonl'] # two\ndev = \"z's.jsonl\"\n\n\
                    [[tasks]]\nname = 'c'\ntype = 'classification'\nlabel = 'a = b.c'\n\n\
                    [tokenizer]\npath = 'tokenizer.json'\n";
        let document = Document::parse("train.toml", text).unwrap();
        let written = with_absolute_paths(&document, "/data".as_ref()).unwrap();
        let expected = text
            .replace("['x.jsonl', '/y.jsonl']", r#"["/data/x.jsonl", "/y.jsonl"]"#)
            .replace("\"z's.jsonl\"", "\"/data/z's.jsonl\"")
            .replace("'tokenizer.json'", "\"/data/tokenizer.json\"");
        assert_eq!(written, expected);
    }
}
