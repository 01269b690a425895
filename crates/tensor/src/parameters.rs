//! Named parameters in one store.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cuda::{Argument, Gpu};
use crate::initialize::Initializer;
use crate::tensor_file::{TensorFile, write_parameters};
use crate::{Error, Precision, RandomKey, Result, Tensor};

/// One trained tensor and its full name, such as `encoder.layers.0.attention.query_key_value.weight`.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The full name, parts joined by dots.
    pub name: String,
    tensor: Tensor,
}

impl Parameter {
    /// The values: a leaf, whose gradient a backward pass returns, or a constant where it is frozen.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Whether it is not frozen.
    pub fn is_trained(&self) -> bool {
        self.tensor.is_tracked()
    }

    fn trained_values(&mut self) -> &mut [f32] {
        if self.is_trained() { self.tensor.values_mut() } else { &mut [] }
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

    /// The values of all trained parameters, to be changed in place; they come in the order in which they were made, with
    /// nothing for a frozen one.
    pub fn values_mut(&mut self) -> Vec<&mut [f32]> {
        self.entries.iter_mut().map(Parameter::trained_values).collect()
    }

    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.entries.iter_mut().map(|parameter| &mut parameter.tensor)
    }

    /// Where one parameter's values lie on a GPU, for a kernel that writes them.
    pub(crate) fn address_mut_on(&mut self, id: ParameterId, gpu: &'static Gpu) -> Result<Argument> {
        self.entries[id.0].tensor.address_mut_on(gpu)
    }

    /// Freezes a parameter, which then is a constant and has no gradient, or lets it be trained again.
    pub fn set_trained(&mut self, id: ParameterId, is_trained: bool) {
        let tensor = &mut self.entries[id.0].tensor;
        if tensor.is_tracked() != is_trained {
            *tensor = if is_trained { tensor.leaf() } else { tensor.detach() };
        }
    }

    /// The number of values of the parameters that are not frozen.
    pub fn trained_count(&self) -> usize {
        let trained = self.entries.iter().filter(|parameter| parameter.is_trained());
        trained.map(|parameter| parameter.tensor.len()).sum()
    }

    /// The same values as constants: a pass with them records nothing for a backward. The values are shared.
    pub fn detached(&self) -> Self {
        let mut detached = self.clone();
        for parameter in &mut detached.entries {
            parameter.tensor = parameter.tensor.detach();
        }
        detached
    }

    /// Lets products with all matrices be computed in `precision`, where a matrix is a layer's weight.
    pub fn set_precision(&mut self, precision: Precision) {
        for parameter in self.entries.iter_mut().filter(|parameter| parameter.tensor.shape().len() == 2) {
            parameter.tensor = parameter.tensor.with_precision(precision);
        }
    }

    /// Replaces a matrix by its nearest one of 8-bit integers.
    pub fn quantize(&mut self, id: ParameterId) {
        let tensor = &mut self.entries[id.0].tensor;
        *tensor = tensor.quantized();
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

    /// Writes all parameters to a safetensors file: F32, and of a quantized matrix `name` as I8 and `name.scale` as F32, one
    /// a column. It must not be the file that they were read from, where their values may still lie: write beside it and
    /// rename.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_parameters(
            path,
            self.entries.iter().map(|parameter| (parameter.name.as_str(), &parameter.tensor)),
        )?;
        self.synchronize()
    }

    /// Waits until the device on which the values lie has done everything, and says if something failed on the way: values
    /// that were read since may be wrong then.
    ///
    /// # Errors
    /// Something failed.
    pub fn synchronize(&self) -> Result<()> {
        self.entries.first().map_or(Ok(()), |parameter| parameter.tensor.device().synchronize())
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
    Given(&'a BTreeMap<String, Tensor>, u64),
    File(&'a TensorFile),
}

impl<'a> ParameterBuilder<'a> {
    /// Parameters drawn anew.
    pub fn random(parameters: &'a mut Parameters, seed: u64) -> Self {
        Self { parameters, source: Source::Random(seed), prefix: String::new() }
    }

    /// Parameters that are given by their full names; the others are drawn anew.
    pub fn from_given(
        parameters: &'a mut Parameters,
        given: &'a BTreeMap<String, Tensor>,
        seed: u64,
    ) -> Self {
        Self { parameters, source: Source::Given(given, seed), prefix: String::new() }
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

    /// The values of a parameter that was made before.
    pub fn get(&self, id: ParameterId) -> &Tensor {
        self.parameters.get(id)
    }

    /// The parameters in the store so far: those of a part are made one after the other.
    pub fn made(&self) -> usize {
        self.parameters.len()
    }

    /// Makes one parameter.
    ///
    /// # Errors
    /// The name is taken; the file lacks it; it is there or given in another shape; or the initializer is no distribution.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        initializer: Initializer,
    ) -> Result<ParameterId> {
        let name = self.full_name(name);
        let values = match self.source {
            Source::Random(seed) => initializer.draw(shape, RandomKey::named(seed, &name))?,
            Source::Given(given, seed) => match given.get(&name) {
                Some(values) if values.shape() == shape => values.clone(),
                Some(values) => {
                    let message = format!("`{name}` is given as {:?}, expected {shape:?}", values.shape());
                    return Err(Error::shape("parameter", message));
                }
                None => initializer.draw(shape, RandomKey::named(seed, &name))?,
            },
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
    use std::path::PathBuf;

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
    fn what_is_given_is_taken_and_the_rest_is_drawn() {
        let (_folder, _, drawn) = written();
        let weight = Tensor::full(&[3, 2], 0.5);
        let given = BTreeMap::from([("encoder.weight".to_string(), weight.clone())]);
        let mut parameters = Parameters::default();
        build(&mut ParameterBuilder::from_given(&mut parameters, &given, 1)).unwrap();
        let values = |name: &str| parameters.get(parameters.find(name).unwrap()).data().to_vec();
        assert_eq!(values("encoder.weight"), weight.data());
        assert_eq!(values("head.bias"), drawn.get(drawn.find("head.bias").unwrap()).data());
        let given = BTreeMap::from([("encoder.weight".to_string(), Tensor::full(&[2, 3], 0.5))]);
        let error = build(&mut ParameterBuilder::from_given(&mut Parameters::default(), &given, 1));
        let expected = "parameter: `encoder.weight` is given as [2, 3], expected [3, 2]";
        assert_eq!(error.unwrap_err().to_string(), expected);
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
    fn a_frozen_parameter_has_no_gradient_and_can_be_trained_again() {
        let (_folder, _, mut parameters) = written();
        let id = parameters.find("encoder.weight").unwrap();
        let before = parameters.get(id).data().to_vec();
        parameters.set_trained(id, false);
        assert_eq!((parameters.trained_count(), parameters.get(id).is_tracked()), (2, false));
        let lengths = |values: Vec<&mut [f32]>| values.iter().map(|values| values.len()).collect::<Vec<_>>();
        assert_eq!(lengths(parameters.values_mut()), [0, 2]);
        parameters.set_trained(id, true);
        assert_eq!((parameters.trained_count(), parameters.get(id).is_tracked()), (8, true));
        assert_eq!(parameters.get(id).data(), before);
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
    fn all_are_changed_together_and_who_shares_their_values_is_left_alone() {
        let (_folder, _, mut parameters) = written();
        let before = parameters.clone();
        let values = parameters.values_mut();
        assert_eq!(values.iter().map(|values| values.len()).collect::<Vec<_>>(), [6, 2]);
        let numbered = (0u8..).zip(values.into_iter().flatten());
        numbered.for_each(|(number, value)| *value = number.into());
        let all = |parameters: &Parameters| -> Vec<f32> {
            parameters.iter().flat_map(|(_, parameter)| parameter.tensor().data().to_vec()).collect()
        };
        assert_eq!(all(&parameters), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(all(&before)[6..], [0.5, 0.5]);
        assert!(parameters.iter().all(|(_, parameter)| parameter.tensor().is_tracked()));
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
    fn a_quantized_matrix_is_written_and_read() {
        let (folder, _, mut parameters) = written();
        let id = parameters.find("encoder.weight").unwrap();
        parameters.quantize(id);
        let path = folder.path().join("int8.safetensors");
        parameters.write(&path).unwrap();
        let file = TensorFile::read(&path).unwrap();
        assert_eq!(file.names(), ["encoder.weight", "encoder.weight.scale", "head.bias"]);
        let mut second = Parameters::default();
        build(&mut ParameterBuilder::from_file(&mut second, &file)).unwrap();
        assert!(second.get(id).is_quantized());
        assert_eq!(second.get(id).data(), parameters.get(id).data());
        let error = file.tensor("encoder.weight", &[2, 3]).unwrap_err().to_string();
        assert!(error.contains("[3, 2]") && error.contains("[2, 3]"), "{error}");
    }

    #[test]
    fn the_precision_of_matrices_survives_updates_and_detaching() {
        let (_folder, _, mut parameters) = written();
        parameters.set_precision(Precision::Bf16);
        let id = parameters.find("encoder.weight").unwrap();
        parameters.update(id, |values| values.fill(1.0));
        assert_eq!(parameters.get(id).precision(), Precision::Bf16);
        assert!(parameters.get(id).is_tracked());
        let bias = parameters.find("head.bias").unwrap();
        let detached = parameters.detached();
        assert_eq!([id, bias].map(|id| detached.get(id).precision()), [Precision::Bf16, Precision::F32]);
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
