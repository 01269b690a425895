//! PTX of the CUDA kernels: made of `crates/tensor/kernels/*.cu` and checked in, so that neither building nor running
//! polytask needs a CUDA toolkit.

mod assemble;
mod kernels;
mod nvrtc;
#[cfg(test)]
mod tests;
mod tools;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use assemble::Usage;
use kernels::{Kernels, Source};
use nvrtc::Nvrtc;
use tools::Tools;

/// The virtual architecture that kernels are compiled for: the oldest GPU with products of bf16.
const ARCHITECTURE: &str = "compute_80";

/// The GPUs that the PTX is assembled for to see what it needs there: A100 and H100.
const GPUS: [&str; 2] = ["sm_80", "sm_90"];

/// Bytes of registers that a kernel may store to local memory.
const MOST_SPILLED: u32 = 0;

/// Bytes that a PTX file may have: it is checked in, and every new process compiles it.
const LARGEST_PTX: u64 = 256 * 1024;

/// Writes the PTX of all kernels, or with `check` compares it with what is checked in; then shows what each kernel needs
/// of a GPU, and fails where that is beyond the limits.
pub(crate) fn run(check: bool) -> Result<()> {
    let tools = Tools::fetch(&workspace().join("target/cuda-tools"))?;
    let report = process(&workspace().join("crates/tensor/kernels"), &tools, check)?;
    io::stdout().lock().write_all(table(&report.usages).as_bytes())?;
    let faults = report.faults;
    if faults.is_empty() { Ok(()) } else { bail!("the kernels are not in order:\n  {}", faults.join("\n  ")) }
}

/// The root of the workspace, which this crate lies in.
fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// What is to be said of a folder of kernels.
struct Report {
    /// What each kernel needs on each GPU.
    usages: Vec<Usage>,
    /// What is not as it should be, one line each.
    faults: Vec<String>,
}

fn process(folder: &Path, tools: &Tools, check: bool) -> Result<Report> {
    let kernels = Kernels::read(folder)?;
    let nvrtc = Nvrtc::load(&tools.nvrtc())?;
    let compile = |source: &Source| {
        let ptx = nvrtc.compile(source, &kernels.headers, ARCHITECTURE)?;
        Ok(kernels.head(source) + &ptx)
    };
    let mut faults = Vec::new();
    if check {
        faults = kernels.faults(|source, ptx| Ok(compile(source)? == ptx))?;
    } else {
        kernels.write(compile)?;
    }
    let mut usages = Vec::new();
    for path in kernels.ptx_files()? {
        faults.extend(too_large(&path)?);
        for gpu in GPUS {
            match assemble::assemble(&tools.ptxas(), &path, gpu) {
                Ok(of_file) => usages.extend(of_file),
                Err(error) => faults.push(format!("{error:#}")),
            }
        }
    }
    faults.extend(usages.iter().filter_map(spilling));
    Ok(Report { usages, faults })
}

fn too_large(ptx: &Path) -> Result<Option<String>> {
    let size = fs::metadata(ptx).with_context(|| ptx.display().to_string())?.len();
    Ok((size > LARGEST_PTX).then(|| {
        let path = ptx.display();
        format!("{path}: {size} bytes, and {LARGEST_PTX} are allowed; write fewer variants, or unroll less")
    }))
}

fn spilling(Usage { kernel, gpu, spill_stores, .. }: &Usage) -> Option<String> {
    (*spill_stores > MOST_SPILLED).then(|| {
        format!(
            "{kernel}: spills {spill_stores} bytes of registers on {gpu}, and {MOST_SPILLED} are allowed; keep fewer values \
             at once, or allow a thread more registers with __launch_bounds__"
        )
    })
}

/// One line a kernel and GPU.
fn table(usages: &[Usage]) -> String {
    let width = usages.iter().map(|usage| usage.kernel.len()).max().unwrap_or_default().max("kernel".len());
    let mut table = format!(
        "{:width$}  {:5}  {:>9}  {:>12}  {:>11}  {:>5}  {:>6}\n",
        "kernel", "GPU", "registers", "spill stores", "spill loads", "stack", "shared"
    );
    for Usage { kernel, gpu, registers, spill_stores, spill_loads, stack, shared } in usages {
        table += &format!(
            "{kernel:width$}  {gpu:5}  {registers:>9}  {spill_stores:>12}  {spill_loads:>11}  {stack:>5}  {shared:>6}\n"
        );
    }
    table
}
