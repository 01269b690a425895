//! The ranks' GPUs, joined so that gradients are summed there.

use polytask_tensor::{Device, GpuRanks};

use super::Communicator;
use crate::{Error, Result};

/// The GPUs of all ranks, each of which says its device; where they are not joined although there are GPUs, the reason. All
/// ranks come to the same.
///
/// # Errors
/// Some ranks have a GPU and some have none; or they do not reach each other.
pub(crate) fn join_gpus(
    ranks: &dyn Communicator,
    device: Device,
) -> Result<(Option<GpuRanks>, Option<String>)> {
    let is_cpu = |device: &[u8]| device == [0];
    let devices = ranks.gather(&[u8::from(device != Device::Cpu)])?;
    if ranks.size() == 1 || devices.iter().all(|device| is_cpu(device)) {
        return Ok((None, None));
    }
    if let Some(rank) = devices.iter().position(|device| is_cpu(device)) {
        return Err(Error::RankWithoutGpu { rank });
    }
    let found = GpuRanks::find(device).map_err(|error| error.to_string());
    if let Some(reason) = first_failure(ranks, &found)? {
        return Ok((None, Some(reason)));
    }
    let id = match ranks.rank() {
        0 => GpuRanks::unique_id(device).map_err(|error| error.to_string()),
        _ => Ok(Vec::new()),
    };
    if let Some(reason) = first_failure(ranks, &id)? {
        return Ok((None, Some(reason)));
    }
    let id = ranks.gather(&id.unwrap_or_default())?.swap_remove(0);
    let joined = GpuRanks::new(device, ranks.rank(), ranks.size(), &id).map_err(|error| error.to_string());
    let reason = first_failure(ranks, &joined)?;
    Ok((joined.ok().filter(|_| reason.is_none()), reason))
}

/// What the first rank says that failed.
fn first_failure<T>(
    ranks: &dyn Communicator,
    own: &std::result::Result<T, String>,
) -> Result<Option<String>> {
    let own = own.as_ref().err().map_or("", String::as_str);
    let all = ranks.gather(own.as_bytes())?;
    let failed = all.iter().zip(0..).find(|(said, _)| !said.is_empty());
    Ok(failed.map(|(said, rank): (_, usize)| format!("rank {rank}: {}", String::from_utf8_lossy(said))))
}
