use std::fmt;
use std::str::FromStr;

use crate::Result;
use crate::cuda::Gpu;

/// Where a tensor's values lie, and what computes with them.
///
/// A value, not a type parameter: an operation looks at it once, at its door. Written as `cpu`, `cuda` or `cuda:1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Device {
    /// Main memory; the arithmetic runs on the processor's cores.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
    /// A GPU whose kernels run on the processor, slowly: for tests where there is none (feature `emulation`).
    Emulated,
}

impl Device {
    /// Makes the device ready, which the first use would do as well.
    ///
    /// # Errors
    /// What is missing: the driver, a device of this number, a library, or the support for it in this program.
    pub fn open(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(_) | Device::Emulated => Gpu::open(self).map(|_| ()),
        }
    }

    /// Waits until everything that was handed to the device is done.
    ///
    /// # Errors
    /// Something of it failed.
    pub fn synchronize(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(_) | Device::Emulated => Gpu::open(self)?.synchronize(),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Device::Emulated => write!(f, "emulated"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "cpu" => return Ok(Device::Cpu),
            "cuda" => return Ok(Device::Cuda(0)),
            "emulated" if cfg!(feature = "emulation") => return Ok(Device::Emulated),
            _ => {}
        }
        let ordinal = text.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok());
        ordinal.map(Device::Cuda).ok_or_else(|| format!("`{text}` is no device: cpu, cuda or cuda:NUMBER is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_and_never_a_panic() {
        let error = Device::Cuda(4096).open().unwrap_err().to_string();
        assert!(error.starts_with("cuda:4096: "), "{error}");
    }
}
