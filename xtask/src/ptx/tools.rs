//! The compiler and the assembler, fetched from PyPI: NVIDIA's toolkit need not be installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The version of both wheels. CUDA 12.2 is what the drivers of branch 535 know; they refuse PTX of a newer one.
pub(super) const VERSION: &str = "12.2.140";

/// The folder that the wheels are unpacked in.
pub(super) struct Tools(PathBuf);

impl Tools {
    /// The tools in a folder below `folder`, downloaded where they are not yet there.
    pub(super) fn fetch(folder: &Path) -> Result<Tools> {
        let there = folder.join(VERSION);
        if !there.is_dir() {
            let coming = folder.join(format!("{VERSION}-{}", std::process::id()));
            install(&coming)?;
            // In one step, so that a download that was cut off leaves nothing that looks complete.
            if let Err(error) = fs::rename(&coming, &there) {
                bail!("{} to {}: {error}", coming.display(), there.display());
            }
        }
        Ok(Tools(there))
    }

    /// The library of the compiler. It finds its built-in functions beside itself.
    pub(super) fn nvrtc(&self) -> PathBuf {
        self.0.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12")
    }

    /// The program of the assembler.
    pub(super) fn ptxas(&self) -> PathBuf {
        self.0.join("nvidia/cuda_nvcc/bin/ptxas")
    }
}

/// Unpacks both wheels into `folder`: in one call, since pip does not add to a folder that a wheel lies in.
fn install(folder: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target"]).arg(folder);
    pip.args(["nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvcc-cu12"].map(|wheel| format!("{wheel}=={VERSION}")));
    let output = pip
        .output()
        .context("python3: cannot be run; install Python 3 with pip, which fetches the compiler")?;
    if !output.status.success() {
        bail!(
            "{pip:?} failed; check that this is Linux, that pip is installed, and that PyPI can be reached:\n{}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}
