//! The kernels that build.rs found and compiled.

use crate::{Error, Result};
use std::ffi::c_void;

/// How a kernel is called; `shim/kernel.h` declares the same.
#[repr(C)]
pub(crate) struct Trampoline {
    call: unsafe extern "C" fn(*mut *mut c_void),
    pub(crate) parameters: usize,
}

pub(crate) struct Kernel {
    file: &'static str,
    name: &'static str,
    pub(crate) trampoline: &'static Trampoline,
}

include!(concat!(env!("OUT_DIR"), "/registry.rs"));

/// All kernels by name: the stem of the file that holds it, and its name.
pub fn kernels() -> impl Iterator<Item = (&'static str, &'static str)> {
    KERNELS.iter().map(|kernel| (kernel.file, kernel.name))
}

pub(crate) fn find(name: &str) -> Result<&'static Kernel> {
    let unknown = || Error::UnknownKernel { name: name.to_owned() };
    KERNELS.iter().find(|kernel| kernel.name == name).ok_or_else(unknown)
}
