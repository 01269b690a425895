use std::borrow::Cow;
use std::str::FromStr;

use polytask_tensor::{Device, Error as TensorError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::ranks::local_rank;

/// On what to train: `auto`, `cpu`, `cuda` or `cuda:1`.
///
/// Of several ranks on one machine, each takes a GPU of its own: the one of the number that the launcher gives it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The rank's own GPU, the first for a process alone, where it can be used; else the processor.
    #[default]
    Auto,
    /// The rank's own GPU, the first for a process alone.
    Cuda,
    /// This one.
    On(Device),
}

impl DeviceChoice {
    /// The device, ready to be used; and why it is not a GPU where [`Auto`](Self::Auto) has found none.
    ///
    /// # Errors
    /// The device that is asked for cannot be used.
    pub fn open(self) -> Result<(Device, Option<TensorError>)> {
        let device = match self {
            DeviceChoice::Auto | DeviceChoice::Cuda => Device::Cuda(local_rank()),
            DeviceChoice::On(device) => device,
        };
        match (self, device.open()) {
            (DeviceChoice::Auto, Err(reason)) => Ok((Device::Cpu, Some(reason))),
            (_, opened) => Ok(opened.map(|()| (device, None))?),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cuda" => Ok(DeviceChoice::Cuda),
            device => device.parse().map(DeviceChoice::On).map_err(|_| {
                format!("`{device}` is no device: write \"auto\", \"cpu\", \"cuda\" or \"cuda:NUMBER\"")
            }),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        match choice {
            DeviceChoice::Auto => "auto".into(),
            DeviceChoice::Cuda => "cuda".into(),
            DeviceChoice::On(device) => device.to_string(),
        }
    }
}

impl JsonSchema for DeviceChoice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DeviceChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:7"] {
            assert_eq!(String::from(DeviceChoice::try_from(text.to_string()).unwrap()), text);
        }
        let error = DeviceChoice::try_from("gpu".to_string()).unwrap_err();
        assert!(error.contains("\"cuda:NUMBER\""), "{error}");
    }

    #[test]
    fn auto_finds_a_device_in_any_case() {
        let (device, reason) = DeviceChoice::Auto.open().unwrap();
        assert_eq!(reason.is_some(), device == Device::Cpu);
        assert!(DeviceChoice::On(Device::Cuda(4096)).open().is_err());
    }
}
