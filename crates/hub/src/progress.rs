/// Hears how a download comes along, one file after another.
pub trait Progress {
    /// A file begins; its `size` is in bytes.
    fn started(&mut self, file: &str, size: u64);

    /// So many further bytes of the file are on disk. A resumed download begins with those of the last time.
    fn received(&mut self, bytes: u64);

    /// The file is complete.
    fn finished(&mut self);
}

/// Hears nothing.
impl Progress for () {
    fn started(&mut self, _file: &str, _size: u64) {}

    fn received(&mut self, _bytes: u64) {}

    fn finished(&mut self) {}
}
