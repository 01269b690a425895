//! What a kernel needs of a GPU, as `ptxas` tells it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What one kernel needs on one GPU.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// The name of the entry function.
    pub(super) kernel: String,
    /// The GPU it is assembled for, such as `sm_80`.
    pub(super) gpu: String,
    /// Registers of a thread.
    pub(super) registers: u32,
    /// Bytes of registers that a thread stores to local memory, functions that are not inlined among them.
    pub(super) spill_stores: u32,
    /// Bytes that it loads back.
    pub(super) spill_loads: u32,
    /// Bytes of a thread's stack frame: spills, and arrays with indices that are known only at run time.
    pub(super) stack: u32,
    /// Bytes of static shared memory of a block.
    pub(super) shared: u32,
}

/// Assembles a PTX file for a GPU and keeps of it what each kernel needs.
pub(super) fn assemble(ptxas: &Path, ptx: &Path, gpu: &str) -> Result<Vec<Usage>> {
    let mut command = Command::new(ptxas);
    command.args(["--verbose", "--gpu-name", gpu, "--output-file", "/dev/null"]).arg(ptx);
    let output = command.output().with_context(|| ptxas.display().to_string())?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{}: ptxas refuses it for {gpu}:\n{}", ptx.display(), report.trim_end());
    }
    parse(&report).with_context(|| format!("{}: ptxas says for {gpu}:\n{}", ptx.display(), report.trim_end()))
}

/// Reads what `ptxas --verbose` says of each kernel:
///
/// ```text
/// ptxas info    : Compiling entry function 'scale' for 'sm_80'
/// ptxas info    : Function properties for scale
///     16 bytes stack frame, 16 bytes spill stores, 12 bytes spill loads
/// ptxas info    : Used 12 registers, 1024 bytes smem, 380 bytes cmem[0]
/// ```
pub(super) fn parse(report: &str) -> Result<Vec<Usage>> {
    let mut usages: Vec<Usage> = Vec::new();
    for line in report.lines() {
        let line =
            line.strip_prefix("ptxas info").map_or(line, |line| line.trim_start_matches([' ', ':'])).trim();
        if let Some(entry) = line.strip_prefix("Compiling entry function ") {
            let mut quoted = entry.split('\'').skip(1).step_by(2).map(str::to_owned);
            let (kernel, gpu) = (quoted.next(), quoted.next());
            let (kernel, gpu) = kernel.zip(gpu).with_context(|| format!("expected two names in {line:?}"))?;
            usages.push(Usage { kernel, gpu, ..Usage::default() });
        } else if let Some(usage) = usages.last_mut() {
            for part in line.trim_start_matches("Used ").split(", ") {
                add(usage, part)?;
            }
        }
    }
    Ok(usages)
}

/// Adds one amount, such as `16 bytes stack frame`; other words are passed over.
fn add(usage: &mut Usage, part: &str) -> Result<()> {
    let Some((amount, of)) = part.split_once(' ') else { return Ok(()) };
    let place = match of {
        "registers" => &mut usage.registers,
        "bytes stack frame" => &mut usage.stack,
        "bytes spill stores" => &mut usage.spill_stores,
        "bytes spill loads" => &mut usage.spill_loads,
        "bytes smem" => &mut usage.shared,
        _ => return Ok(()),
    };
    *place += amount.parse::<u32>().with_context(|| format!("expected a number in {part:?}"))?;
    Ok(())
}
