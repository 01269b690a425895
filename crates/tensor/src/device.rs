/// Where a tensor's values lie.
///
/// A value, not a type parameter: an operation looks at it once, at its door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// Main memory; the arithmetic runs on the processor's cores.
    #[default]
    Cpu,
}
