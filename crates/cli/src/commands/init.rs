use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::console::print;

/// What is written, and where in the folder.
const FILES: [(&str, &str); 3] = [
    ("polytask.toml", include_str!("../../../../examples/quickstart.toml")),
    ("sample/train.jsonl", include_str!("../../../../examples/sample/train.jsonl")),
    ("sample/dev.jsonl", include_str!("../../../../examples/sample/dev.jsonl")),
];

/// Writes a commented configuration and sample data to start from.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The folder to write to; made if it does not exist.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

impl Init {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let written = init(&self.folder)?;
        for file in &written {
            print(format_args!("wrote {}", file.display()))?;
        }
        let [config, ..] = &written;
        let (config, model) = (config.display(), config.with_file_name("model"));
        print(format_args!(
            "\nnext:\n  polytask check {config}\n  polytask train {config} --out {}",
            model.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes all files, or none where one exists already.
fn init(folder: &Path) -> Result<[PathBuf; FILES.len()]> {
    // Without the dot of the folder by default.
    let folder = folder.strip_prefix(".").unwrap_or(folder);
    let paths = FILES.map(|(name, _)| folder.join(name));
    let existing: Vec<_> =
        paths.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
    if !existing.is_empty() {
        bail!("{}: exists already; nothing was written. Choose another folder", existing.join(", "));
    }
    for (path, (_, content)) in paths.iter().zip(FILES) {
        let write =
            || fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| fs::write(path, content));
        write().with_context(|| path.display().to_string())?;
    }
    Ok(paths)
}
