//! The kernels as the driver reads them. PTX is made of `kernels/*.cu` by `cargo xtask ptx` and checked in.

/// File stems and their PTX, sorted by stem.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/ptx.rs"));

/// The PTX of `kernels/{file}.cu`.
pub(super) fn of(file: &str) -> Option<&'static str> {
    FILES.iter().find(|(stem, _)| *stem == file).map(|(_, text)| *text)
}
