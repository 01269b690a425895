//! safetensors files: the values stay in the file until somebody reads them.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};

use crate::matrix::Int8Matrix;
use crate::memory::LINE_BYTES;
use crate::storage::Storage;
use crate::{Error, Result, Tensor};

/// What is added to a quantized matrix's name for its scales.
const SCALE: &str = ".scale";

/// Borrowed values of a tensor that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct TensorValues<'a> {
    /// The shape; its product is the number of values.
    pub shape: &'a [usize],
    /// The values, row after row.
    pub values: &'a [f32],
}

/// Writes named tensors to a safetensors file, all as F32, with texts by key in its header. It must not be a file that one
/// of the tensors was read from, whose values may still lie there: write beside it and rename.
///
/// # Errors
/// The file cannot be written.
pub fn write_tensors<'a, N: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, TensorValues<'a>)>,
    metadata: &[(&str, &str)],
) -> Result<()> {
    write(path, tensors.into_iter().map(|(name, tensor)| (name, Written::F32(tensor))), metadata)
}

/// Writes parameters to a safetensors file, a quantized one as its integers and their scales.
pub(crate) fn write_parameters<'a>(
    path: &Path,
    parameters: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<()> {
    let parts = parameters.into_iter().flat_map(|(name, tensor)| match tensor.int8_matrix() {
        None => {
            let values = TensorValues { shape: tensor.shape(), values: tensor.data() };
            vec![(name.to_string(), Written::F32(values))]
        }
        Some(matrix) => {
            let scales = TensorValues { shape: &tensor.shape()[1..], values: &matrix.scales };
            let integers = Written::Int8 { shape: tensor.shape(), values: &matrix.values };
            vec![(name.to_string(), integers), (format!("{name}{SCALE}"), Written::F32(scales))]
        }
    });
    write(path, parts, &[])
}

/// The values go from where they lie to the file: a copy of a whole model in memory would double what training holds.
fn write<'a, N: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, Written<'a>)>,
    metadata: &[(&str, &str)],
) -> Result<()> {
    let metadata = metadata.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect();
    let mut tensors: Vec<(N, Written<'a>)> = tensors.into_iter().collect();
    // The order of the format's library, which lays out the header.
    tensors.sort_by(|(a_name, a), (b_name, b)| b.dtype().cmp(&a.dtype()).then(a_name.cmp(b_name)));
    let described = tensors.iter().map(|(name, tensor)| (name, Described(tensor)));
    let mut header = safetensors::serialize(described, Some(metadata))
        .map_err(|error| Error::Damaged { file: path.into(), message: error.to_string() })?;
    // More of the spaces that the format ends a header with: the values, read where they lie, then begin with a cache line.
    header.resize(header.len().next_multiple_of(LINE_BYTES), b' ');
    let length = (header.len() - size_of::<u64>()) as u64;
    header[..size_of::<u64>()].copy_from_slice(&length.to_le_bytes());
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| file.write_all(&tensor.data()))?;
        file.flush()
    };
    write().map_err(|source| Error::Io { file: path.into(), source })
}

/// A tensor for the header alone.
struct Described<'a>(&'a Written<'a>);

impl View for Described<'_> {
    fn dtype(&self) -> Dtype {
        self.0.dtype()
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&[])
    }

    fn data_len(&self) -> usize {
        self.0.data_len()
    }
}

enum Written<'a> {
    F32(TensorValues<'a>),
    Int8 { shape: &'a [usize], values: &'a [i8] },
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::Int8 { .. } => Dtype::I8,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::F32(tensor) => tensor.shape,
            Self::Int8 { shape, .. } => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::F32(tensor) if cfg!(target_endian = "little") => bytemuck::cast_slice(tensor.values).into(),
            Self::F32(tensor) => tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Int8 { values, .. } => bytemuck::cast_slice(values).into(),
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Self::F32(tensor) => size_of_val(tensor.values),
            Self::Int8 { values, .. } => values.len(),
        }
    }
}

/// A safetensors file, its header checked. Its values are mapped into memory and read from the disk when they are first
/// used: whoever replaces the file must put a new one in its place, as the model folder does, and not write into it.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Arc<Mmap>,
    header: Metadata,
    /// Where the values of the first tensor begin.
    start: usize,
}

impl TensorFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// It cannot be read, or is no sound safetensors file.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { file: path.into(), source };
        let file = File::open(path).map_err(io)?;
        // SAFETY: nobody writes into the file while it is in use; see the type.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io)?;
        let (length, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| Error::Damaged { file: path.into(), message: error.to_string() })?;
        // The header follows its length.
        Ok(Self { path: path.into(), bytes: Arc::new(bytes), header, start: size_of::<u64>() + length })
    }

    /// The names in the file, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort_unstable();
        names
    }

    /// The text of a key in the header.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// One tensor, which must have the shape given; a matrix of integers with its scales is a quantized one.
    ///
    /// # Errors
    /// It is missing, or has another shape or type.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let info = self.info(name, shape)?;
        match (info.dtype, shape) {
            (Dtype::I8, [_, columns]) => {
                let name = format!("{name}{SCALE}");
                let scales = self.info(&name, &[*columns])?;
                self.must_be_floats(&name, scales)?;
                let values = bytemuck::cast_slice(&self.bytes[self.range(info)]).to_vec();
                let scales = self.floats(scales, &[*columns]).data().to_vec();
                Ok(Tensor::of_storage(Storage::int8(Int8Matrix { values, scales }), shape))
            }
            _ => {
                self.must_be_floats(name, info)?;
                Ok(self.floats(info, shape))
            }
        }
    }

    /// Whether there is a tensor of this name.
    pub fn holds(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// The values of a tensor of F32, F16 or BF16, which must have the shape given.
    ///
    /// # Errors
    /// It is missing, or has another shape or type.
    pub fn values_as_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let info = self.info(name, shape)?;
        let bytes = &self.bytes[self.range(info)];
        let halves = || bytes.as_chunks().0.iter().copied();
        match info.dtype {
            Dtype::F16 => Ok(halves().map(|half| f16::from_le_bytes(half).to_f32()).collect()),
            Dtype::BF16 => Ok(halves().map(|half| bf16::from_le_bytes(half).to_f32()).collect()),
            _ => {
                self.must_be_floats(name, info)?;
                Ok(self.floats(info, shape).data().to_vec())
            }
        }
    }

    fn info(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo> {
        let Some(info) = self.header.info(name) else {
            let hint = format!(" (the file holds {} tensors)", self.header.offset_keys().len());
            return Err(Error::MissingTensor { file: self.path.clone(), name: name.into(), hint });
        };
        if info.shape != shape {
            let (expected, found) = (shape.to_vec(), info.shape.clone());
            return Err(Error::TensorShape { file: self.path.clone(), name: name.into(), expected, found });
        }
        Ok(info)
    }

    fn must_be_floats(&self, name: &str, info: &TensorInfo) -> Result<()> {
        if info.dtype == Dtype::F32 {
            return Ok(());
        }
        let found = format!("{:?}", info.dtype);
        Err(Error::TensorType { file: self.path.clone(), name: name.into(), found })
    }

    fn range(&self, info: &TensorInfo) -> std::ops::Range<usize> {
        self.start + info.data_offsets.0..self.start + info.data_offsets.1
    }

    fn floats(&self, info: &TensorInfo, shape: &[usize]) -> Tensor {
        let range = self.range(info);
        let storage = Storage::mapped(self.bytes.clone(), range.clone()).unwrap_or_else(|| {
            let (values, _) = self.bytes[range].as_chunks::<4>();
            Storage::owned(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<_>>())
        });
        Tensor::of_storage(storage, shape)
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn values_begin_with_a_cache_line() {
        let folder = tempfile::tempdir().unwrap();
        for length in 1..70 {
            let (path, name) = (folder.path().join("a.safetensors"), "n".repeat(length));
            let values = [1.5, 2.5];
            write_tensors(&path, [(&name, TensorValues { shape: &[2], values: &values })], &[]).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!((bytes.len() - size_of_val(&values)) % LINE_BYTES, 0);
            let read = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(read.tensor(&name).unwrap().data(), bytemuck::cast_slice::<f32, u8>(&values));
        }
    }

    #[test]
    fn halves_are_read_as_f32() {
        let numbers = [0.5_f32, -1.25, 65504.0, 2f32.powi(-24)];
        let bytes =
            |two: fn(f32) -> [u8; 2]| numbers.iter().flat_map(|&number| two(number)).collect::<Vec<_>>();
        let halves = bytes(|number| f16::from_f32(number).to_le_bytes());
        let brain = bytes(|number| bf16::from_f32(number).to_le_bytes());
        let views = [("half", Dtype::F16, &halves), ("brain", Dtype::BF16, &brain)];
        let views =
            views.map(|(name, dtype, bytes)| (name, TensorView::new(dtype, vec![2, 2], bytes).unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("halves.safetensors");
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();

        let file = TensorFile::read(&path).unwrap();
        assert_eq!(file.values_as_f32("half", &[2, 2]).unwrap(), numbers);
        let brain = file.values_as_f32("brain", &[2, 2]).unwrap();
        // 65,504 has more bits than a bfloat16.
        assert_eq!(brain, [0.5, -1.25, 65536.0, 2f32.powi(-24)]);
        let error = file.values_as_f32("half", &[4]).unwrap_err().to_string();
        assert!(error.ends_with("half is [2, 2], this configuration needs [4]"), "{error}");
        assert!(
            file.tensor("half", &[2, 2])
                .unwrap_err()
                .to_string()
                .ends_with("holds F16 values, F32 is needed")
        );
    }
}
