//! Named parameters in one store, and their file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, View};

use crate::initialize::Initializer;
use crate::{Error, RandomKey, Result, Tensor};

/// One trained tensor and its full name, such as `encoder.layers.0.attention.query.weight`.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The full name, parts joined by dots.
    pub name: String,
    tensor: Tensor,
}

impl Parameter {
    /// The values: a leaf, whose gradient a backward pass returns.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}

/// A parameter's place in its store: what a layer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParameterId(usize);

impl ParameterId {
    /// The place in the order in which the parameters were made.
    pub fn index(self) -> usize {
        self.0
    }
}

/// All parameters of a model, in the order they were made. Optimizers, checkpoints and counting go through it.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    entries: Vec<Parameter>,
    by_name: BTreeMap<String, ParameterId>,
}

impl Parameters {
    /// The values of one parameter.
    pub fn get(&self, id: ParameterId) -> &Tensor {
        &self.entries[id.0].tensor
    }

    /// The parameter of a full name.
    pub fn find(&self, name: &str) -> Option<ParameterId> {
        self.by_name.get(name).copied()
    }

    /// All parameters with their places, in the order they were made.
    pub fn iter(&self) -> impl Iterator<Item = (ParameterId, &Parameter)> {
        self.entries.iter().enumerate().map(|(i, parameter)| (ParameterId(i), parameter))
    }

    /// The number of parameters (tensors).
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of values of all parameters together.
    pub fn count(&self) -> usize {
        self.entries.iter().map(|parameter| parameter.tensor.len()).sum()
    }

    /// Changes one parameter's values in place.
    pub fn update(&mut self, id: ParameterId, change: impl FnOnce(&mut [f32])) {
        self.entries[id.0].tensor.update(change);
    }

    /// The same values as constants: a pass with them records nothing for a backward. The values are shared.
    pub fn detached(&self) -> Self {
        let mut detached = self.clone();
        for parameter in &mut detached.entries {
            parameter.tensor = parameter.tensor.detach();
        }
        detached
    }

    /// Adds a parameter.
    ///
    /// # Errors
    /// The name is taken.
    pub fn insert(&mut self, name: &str, values: &Tensor) -> Result<ParameterId> {
        let id = ParameterId(self.entries.len());
        if self.by_name.contains_key(name) {
            return Err(Error::DoubledParameter(name.into()));
        }
        self.by_name.insert(name.into(), id);
        self.entries.push(Parameter { name: name.into(), tensor: values.leaf() });
        Ok(id)
    }

    /// Writes all parameters to a safetensors file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let tensors = self.entries.iter().map(|parameter| {
            let Parameter { name, tensor } = parameter;
            (name, TensorValues { shape: tensor.shape(), values: tensor.data() })
        });
        write_tensors(path, tensors, &[])
    }
}

/// Borrowed values of a tensor that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct TensorValues<'a> {
    /// The shape; its product is the number of values.
    pub shape: &'a [usize],
    /// The values, row after row.
    pub values: &'a [f32],
}

impl View for TensorValues<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// Writes named tensors to a safetensors file, all as F32, with texts by key in its header.
///
/// # Errors
/// The file cannot be written.
pub fn write_tensors<'a, N: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, TensorValues<'a>)>,
    metadata: &[(&str, &str)],
) -> Result<()> {
    let metadata = metadata.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect();
    let file = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| Error::Damaged { file: path.into(), message: error.to_string() })?;
    std::fs::write(path, file).map_err(|source| Error::Io { file: path.into(), source })
}

/// A safetensors file in memory, its header checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
    header: Metadata,
    /// Where the values of the first tensor begin.
    start: usize,
}

impl TensorFile {
    /// Reads a file and checks its header.
    ///
    /// # Errors
    /// It cannot be read, or is no sound safetensors file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io { file: path.into(), source })?;
        let (length, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| Error::Damaged { file: path.into(), message: error.to_string() })?;
        // The header follows its length.
        Ok(Self { path: path.into(), bytes, header, start: size_of::<u64>() + length })
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

    /// One tensor, which must have the shape given.
    ///
    /// # Errors
    /// It is missing, or has another shape or type.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let Some(info) = self.header.info(name) else {
            let hint = format!(" (the file holds {} tensors)", self.header.offset_keys().len());
            return Err(Error::MissingTensor { file: self.path.clone(), name: name.into(), hint });
        };
        if info.dtype != Dtype::F32 {
            let found = format!("{:?}", info.dtype);
            return Err(Error::TensorType { file: self.path.clone(), name: name.into(), found });
        }
        if info.shape != shape {
            let (expected, found) = (shape.to_vec(), info.shape.clone());
            return Err(Error::TensorShape { file: self.path.clone(), name: name.into(), expected, found });
        }
        let (first, end) = info.data_offsets;
        let (values, _) = self.bytes[self.start + first..self.start + end].as_chunks::<4>();
        Tensor::new(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(), shape)
    }
}

/// Makes the parameters of a layer under a prefix: drawn anew, or taken from a file.
///
/// A drawn parameter depends on the seed and on its full name alone, so a further task changes no other parameter.
#[derive(Debug)]
pub struct ParameterBuilder<'a> {
    parameters: &'a mut Parameters,
    source: Source<'a>,
    prefix: String,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Random(u64),
    File(&'a TensorFile),
}

impl<'a> ParameterBuilder<'a> {
    /// Parameters drawn anew.
    pub fn random(parameters: &'a mut Parameters, seed: u64) -> Self {
        Self { parameters, source: Source::Random(seed), prefix: String::new() }
    }

    /// Parameters taken from a file.
    pub fn from_file(parameters: &'a mut Parameters, file: &'a TensorFile) -> Self {
        Self { parameters, source: Source::File(file), prefix: String::new() }
    }

    /// The builder of a part: its names begin with this one's prefix and `name`.
    pub fn part(&mut self, name: impl std::fmt::Display) -> ParameterBuilder<'_> {
        let prefix = self.full_name(&name.to_string());
        ParameterBuilder { parameters: self.parameters, source: self.source, prefix }
    }

    /// Makes one parameter.
    ///
    /// # Errors
    /// The name is taken; the file lacks it or holds it in another shape; or the initializer is no distribution.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        initializer: Initializer,
    ) -> Result<ParameterId> {
        let name = self.full_name(name);
        let values = match self.source {
            Source::Random(seed) => initializer.draw(shape, RandomKey::named(seed, &name))?,
            Source::File(file) => file.tensor(&name, shape)?,
        };
        self.parameters.insert(&name, &values)
    }

    fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.into() } else { format!("{}.{name}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Initializer = Initializer::Normal { standard_deviation: 0.02 };

    fn build(builder: &mut ParameterBuilder<'_>) -> Result<()> {
        let mut layer =
            builder.part("encoder").parameter("weight", &[3, 2], NORMAL).map(|_| builder.part("head"))?;
        layer.parameter("bias", &[2], Initializer::Constant(0.5))?;
        Ok(())
    }

    fn written() -> (tempfile::TempDir, PathBuf, Parameters) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut parameters = Parameters::default();
        build(&mut ParameterBuilder::random(&mut parameters, 1)).unwrap();
        parameters.write(&path).unwrap();
        (folder, path, parameters)
    }

    #[test]
    fn a_file_gives_back_the_same_bits() {
        let (_folder, path, first) = written();
        let file = TensorFile::read(&path).unwrap();
        assert_eq!(file.names(), ["encoder.weight", "head.bias"]);
        let mut second = Parameters::default();
        build(&mut ParameterBuilder::from_file(&mut second, &file)).unwrap();
        for (id, parameter) in first.iter() {
            assert_eq!(parameter.tensor().data(), second.get(id).data(), "{}", parameter.name);
        }
        assert_eq!(second.count(), 8);
    }

    #[test]
    fn a_parameter_is_drawn_by_its_name_alone() {
        let mut alone = Parameters::default();
        let id = ParameterBuilder::random(&mut alone, 1)
            .part("encoder")
            .parameter("weight", &[3, 2], NORMAL)
            .unwrap();
        let (_folder, _, among_others) = written();
        let other = among_others.find("encoder.weight").unwrap();
        assert_eq!(alone.get(id).data(), among_others.get(other).data());
    }

    #[test]
    fn detached_parameters_share_their_values_and_record_nothing() {
        let (_folder, _, parameters) = written();
        let detached = parameters.detached();
        for (id, parameter) in parameters.iter() {
            assert!(parameter.tensor().is_tracked() && !detached.get(id).is_tracked());
            assert_eq!(parameter.tensor().data().as_ptr(), detached.get(id).data().as_ptr());
        }
    }

    #[test]
    fn a_doubled_name_is_refused() {
        let mut parameters = Parameters::default();
        parameters.insert("a", &Tensor::zeros(&[1])).unwrap();
        let error = parameters.insert("a", &Tensor::zeros(&[1])).unwrap_err().to_string();
        assert!(error.contains("`a` exists already"), "{error}");
    }

    #[test]
    fn what_a_file_lacks_is_named() {
        let (_folder, path, _) = written();
        let file = TensorFile::read(&path).unwrap();
        let error = file.tensor("head.weight", &[2]).unwrap_err().to_string();
        assert!(error.contains("tensor `head.weight` is missing (the file holds 2 tensors)"), "{error}");
        let error = file.tensor("encoder.weight", &[4, 2]).unwrap_err().to_string();
        assert!(error.contains("encoder.weight is [3, 2], this configuration needs [4, 2]"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let (folder, path, _) = written();
        let sound = std::fs::read(&path).unwrap();
        let broken = folder.path().join("broken.safetensors");
        let mut lying_header = sound.clone();
        lying_header[0] = 0xff;
        for bytes in [&sound[..sound.len() - 3], &sound[..5], &[], &lying_header] {
            std::fs::write(&broken, bytes).unwrap();
            let error = TensorFile::read(&broken).unwrap_err().to_string();
            assert!(error.contains("broken.safetensors: damaged or not a safetensors file"), "{error}");
        }
        assert!(matches!(TensorFile::read(&folder.path().join("absent")), Err(Error::Io { .. })));
    }
}
