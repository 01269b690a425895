//! What the measuring programs share.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use polytask_model::Model;
use polytask_tensor::Precision;
use serde::de::DeserializeOwned;

/// The middle value, or the mean of the two in the middle; NaN where there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => f64::NAN,
        (middle, 0) => (sorted[middle - 1] + sorted[middle]) / 2.0,
        (middle, _) => sorted[middle],
    }
}

/// The value below which a share of the values lies; NaN where there is none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let place = (share * sorted.len() as f64) as usize;
    sorted.get(place).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// Rounded for reading.
pub(crate) fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (value * unit).round() / unit
}

/// The most memory that this process ever held, in MiB; Linux tells it.
pub(crate) fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kibibytes / 1024.0).round())
}

/// A JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let place = || path.display().to_string();
    serde_json::from_slice(&std::fs::read(path).with_context(place)?).with_context(place)
}

/// Computes on this many threads from here on.
pub(crate) fn start_threads(threads: usize) -> anyhow::Result<()> {
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?)
}

/// Lets a model compute its products in f32, bf16 or int8; the latter cannot be trained.
pub(crate) fn set_precision(model: &mut Model, precision: &str) -> anyhow::Result<()> {
    ensure!(
        model.is_quantized() == (precision == "int8"),
        "int8 needs a model that `polytask quantize` made, and such a model needs int8"
    );
    match precision {
        "f32" => model.set_precision(Precision::F32),
        "tf32" => model.set_precision(Precision::Tf32),
        "bf16" => model.set_precision(Precision::Bf16),
        "int8" => {}
        _ => bail!("no precision `{precision}`: there are f32, bf16 and int8"),
    }
    Ok(())
}
