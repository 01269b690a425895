//! The tensor: contiguous, row-major `f32` values that remember how they were made.

mod on_gpu;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::{ArrayD, ArrayViewD, IxDyn};

use crate::autograd::Operation;
use crate::cuda::{Gpu, Memory};
use crate::matrix::{Bf16Right, F32Right, Int8Matrix, Int8Right, LONGEST_SUM};
use crate::memory::{self, Values};
use crate::storage::Storage;
use crate::{Device, Error, Precision, Result};

/// Contiguous, row-major `f32` values with a shape.
///
/// Cloning shares the values. A tensor is a constant, a leaf whose gradient can be asked for, or the result of a
/// recorded [`Operation`] on such; the last two are *tracked*.
#[derive(Clone)]
pub struct Tensor(Arc<Inner>);

struct Inner {
    id: u64,
    device: Device,
    shape: Vec<usize>,
    storage: Arc<Storage>,
    /// First value of this tensor in the storage: a slice of leading rows shares it.
    start: usize,
    precision: Precision,
    record: Record,
}

enum Record {
    Constant,
    Leaf,
    Result(Box<dyn Operation>),
}

/// Ids grow with time: a result's id is greater than those of its inputs, which is the order of the backward pass.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Tensor {
    /// A constant of the given values, row after row.
    ///
    /// # Errors
    /// The number of values is not the product of the shape.
    pub fn new(values: Vec<f32>, shape: &[usize]) -> Result<Self> {
        Self::of(values.into(), shape)
    }

    /// The same of values in [memory that goes round](memory::overwritable).
    ///
    /// # Errors
    /// The number of values is not the product of the shape.
    pub fn of(values: Values, shape: &[usize]) -> Result<Self> {
        if values.len() != shape.iter().product::<usize>() {
            return Err(Error::Length { shape: shape.to_vec(), found: values.len() });
        }
        Ok(Self::alone(Storage::owned(values), shape.to_vec(), Record::Constant))
    }

    /// A constant with one value everywhere.
    pub fn full(shape: &[usize], value: f32) -> Self {
        let mut values = memory::zeros(shape.iter().product());
        if value != 0.0 {
            values.fill(value);
        }
        Self::alone(Storage::owned(values), shape.to_vec(), Record::Constant)
    }

    /// A constant of zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::full(shape, 0.0)
    }

    /// A constant of zeros on a device.
    pub(crate) fn zeros_on(device: Device, shape: &[usize]) -> Result<Self> {
        match device {
            Device::Cpu => Ok(Self::zeros(shape)),
            _ => Ok(Self::on_gpu(Gpu::open(device)?.zeros(shape.iter().product())?, shape)),
        }
    }

    /// A constant of no dimension.
    pub fn scalar(value: f32) -> Self {
        Self::full(&[], value)
    }

    /// A constant with the values of an array, whatever its memory order.
    pub fn from_array(array: ArrayViewD<'_, f32>) -> Self {
        let shape = array.shape().to_vec();
        Self::alone(Storage::owned(array.iter().copied().collect::<Vec<_>>()), shape, Record::Constant)
    }

    /// The values as an array; a tracked tensor must be [detached](Self::detach) first, so that no gradient is
    /// cut by accident.
    ///
    /// # Errors
    /// The tensor is tracked.
    pub fn to_array(&self) -> Result<ArrayD<f32>> {
        if self.is_tracked() {
            let message = "the tensor is tracked: call detach() before turning it into an array";
            return Err(Error::Gradient(message.into()));
        }
        ArrayD::from_shape_vec(IxDyn(self.shape()), self.data().to_vec())
            .map_err(|_| Error::Length { shape: self.shape().to_vec(), found: self.len() })
    }

    /// The same values as a leaf: its gradient is in what [`backward`](Self::backward) returns.
    pub fn leaf(&self) -> Self {
        self.with_record(Record::Leaf)
    }

    /// The same values as a constant.
    pub fn detach(&self) -> Self {
        self.with_record(Record::Constant)
    }

    fn with_record(&self, record: Record) -> Self {
        self.sharing(0, self.0.shape.clone(), self.0.precision, record)
    }

    /// The same values, those of a leaf as a leaf; products with them as a layer's weight are computed in `precision`.
    pub(crate) fn with_precision(&self, precision: Precision) -> Self {
        self.sharing(0, self.0.shape.clone(), precision, self.leaf_or_constant())
    }

    /// The record of a tensor that stands for this one.
    fn leaf_or_constant(&self) -> Record {
        if self.is_leaf() { Record::Leaf } else { Record::Constant }
    }

    /// One that stands for this one, on a copy of its values that is nobody else's.
    fn on_copy(&self, device: Device, storage: Storage) -> Self {
        let (id, shape, storage) = (next_id(), self.0.shape.clone(), Arc::new(storage));
        let (precision, record) = (self.0.precision, self.leaf_or_constant());
        Self(Arc::new(Inner { id, device, shape, storage, start: 0, precision, record }))
    }

    /// A tensor of the storage's values, nobody else's.
    pub(crate) fn of_storage(storage: Storage, shape: &[usize]) -> Self {
        Self::alone(storage, shape.to_vec(), Record::Constant)
    }

    fn alone(storage: Storage, shape: Vec<usize>, record: Record) -> Self {
        Self::alone_on(Device::Cpu, storage, shape, record)
    }

    fn alone_on(device: Device, storage: Storage, shape: Vec<usize>, record: Record) -> Self {
        let precision = Precision::F32;
        let (id, storage) = (next_id(), Arc::new(storage));
        Self(Arc::new(Inner { id, device, shape, storage, start: 0, precision, record }))
    }

    /// A tensor on this one's values, from `first_value` on.
    fn sharing(&self, first_value: usize, shape: Vec<usize>, precision: Precision, record: Record) -> Self {
        let (id, device, storage) = (next_id(), self.0.device, self.0.storage.clone());
        let start = self.0.start + first_value;
        Self(Arc::new(Inner { id, device, shape, storage, start, precision, record }))
    }

    /// Where the values lie.
    pub fn device(&self) -> Device {
        self.0.device
    }

    /// The same values on a device; itself where they lie there already. A leaf is a leaf there again; anything else is a
    /// constant.
    ///
    /// # Errors
    /// The device cannot be used, or its memory is used up.
    pub fn to(&self, device: Device) -> Result<Self> {
        if self.0.device == device {
            return Ok(self.clone());
        }
        if device != Device::Cpu {
            self.0.storage.memory_on(Gpu::open(device)?)?;
        }
        let (id, shape, storage) = (next_id(), self.0.shape.clone(), self.0.storage.clone());
        let Inner { start, precision, .. } = *self.0;
        let record = self.leaf_or_constant();
        Ok(Self(Arc::new(Inner { id, device, shape, storage, start, precision, record })))
    }

    /// The shape, outermost dimension first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.0.shape.iter().product()
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows and columns: the last dimension is the columns, all others together the rows.
    /// A vector is one row, a scalar one by one.
    pub fn rows_columns(&self) -> (usize, usize) {
        match self.shape() {
            [] => (1, 1),
            [outer @ .., columns] => (outer.iter().product(), *columns),
        }
    }

    /// The values, row after row.
    pub fn data(&self) -> &[f32] {
        &self.0.storage.values()[self.0.start..self.0.start + self.len()]
    }

    /// Row `index` of the matrix that [`rows_columns`](Self::rows_columns) describes.
    pub fn row(&self, index: usize) -> &[f32] {
        let (_, columns) = self.rows_columns();
        &self.data()[index * columns..(index + 1) * columns]
    }

    /// The value of a tensor of one element.
    ///
    /// # Errors
    /// There is not exactly one value.
    pub fn item(&self) -> Result<f32> {
        match self.data() {
            [value] => Ok(*value),
            _ => Err(Error::shape("item", format!("needs one value, found shape {:?}", self.shape()))),
        }
    }

    /// Whether a gradient can reach this tensor.
    pub fn is_tracked(&self) -> bool {
        !matches!(self.0.record, Record::Constant)
    }

    pub(crate) fn is_leaf(&self) -> bool {
        matches!(self.0.record, Record::Leaf)
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn operation(&self) -> Option<&dyn Operation> {
        match &self.0.record {
            Record::Result(operation) => Some(operation.as_ref()),
            _ => None,
        }
    }

    /// The same values under another shape, sharing memory; for constants.
    pub(crate) fn constant_view(&self, first_value: usize, shape: &[usize]) -> Self {
        self.sharing(first_value, shape.to_vec(), Precision::F32, Record::Constant)
    }

    /// A view of some values under another shape, recorded: the way in for `reshape` and `rows`.
    pub(crate) fn recorded_view(
        &self,
        first_value: usize,
        shape: &[usize],
        operation: impl Operation,
    ) -> Self {
        let record = record_of(operation);
        self.sharing(first_value, shape.to_vec(), Precision::F32, record)
    }

    /// In which numbers products with this tensor as a layer's weight are computed.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    /// The nearest matrix of 8-bit integers with one scale a column, a constant: its products take a quarter of the time
    /// where the processor has AVX512-VNNI, its memory a quarter of the space. What is no matrix stays as it is.
    pub fn quantized(&self) -> Self {
        if self.shape().len() != 2 {
            return self.detach();
        }
        let matrix = Int8Matrix::quantize(self.data(), self.rows_columns().1);
        Self::of_storage(Storage::int8(matrix), self.shape())
    }

    /// Whether the values are 8-bit integers with one scale a column.
    pub fn is_quantized(&self) -> bool {
        self.int8_matrix().is_some()
    }

    /// The quantized matrix, where this tensor is a whole one.
    pub(crate) fn int8_matrix(&self) -> Option<&Int8Matrix> {
        let fits = |matrix: &&Int8Matrix| {
            matches!(self.shape(), [rows, columns]
                if *columns == matrix.scales.len() && rows * columns == matrix.values.len())
        };
        self.0.storage.int8_matrix().filter(fits)
    }

    pub(crate) fn int8_right(&self) -> Option<&Int8Right> {
        let fits = |matrix: &&Int8Matrix| matrix.values.len() <= LONGEST_SUM * matrix.scales.len();
        self.int8_matrix().filter(fits).and_then(|_| self.0.storage.int8_right())
    }

    /// The right side of products in f32 of so many rows, kept for the next product; `None` where it would not pay.
    pub(crate) fn kept_f32_right(&self, rows: usize) -> Option<&F32Right> {
        let pays =
            self.precision() != Precision::Bf16 && F32Right::pays_for(rows) && self.owns_constant_storage();
        if pays { self.0.storage.f32_right(self.rows_columns().1) } else { None }
    }

    /// The right side of products in bf16, kept for the next product; `None` where it would not last, or be another's.
    pub(crate) fn kept_bf16_right(&self) -> Option<&Bf16Right> {
        if self.owns_constant_storage() { self.0.storage.bf16_right(self.rows_columns().1) } else { None }
    }

    /// Whether what is derived of the storage's values is derived of this tensor's, and lasts.
    fn owns_constant_storage(&self) -> bool {
        self.0.storage.len() == self.len() && !self.is_tracked()
    }

    /// The values for writing in place where nobody shares them, else a copy's. The tensor is a leaf again if it was one.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        let own = Arc::get_mut(&mut self.0).and_then(|inner| Arc::get_mut(&mut inner.storage));
        if own.is_none_or(|storage| storage.values_mut().is_none()) {
            let mut copy = memory::overwritable(self.len());
            copy.copy_from_slice(self.data());
            *self = self.on_copy(self.0.device, Storage::owned(copy));
        }
        let length = self.len();
        let inner = Arc::get_mut(&mut self.0);
        match inner.and_then(|inner| Some((inner.start, Arc::get_mut(&mut inner.storage)?.values_mut()?))) {
            Some((start, values)) => &mut values[start..start + length],
            None => &mut [],
        }
    }

    /// Changes the values as [`values_mut`](Self::values_mut) gives them.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut [f32])) {
        change(self.values_mut());
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer {:?} on {}", self.shape, self.device)
    }
}

fn record_of(operation: impl Operation) -> Record {
    if operation.inputs().iter().any(|input| input.is_tracked()) {
        Record::Result(Box::new(operation))
    } else {
        Record::Constant
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made_by = match &self.0.record {
            Record::Constant => "constant",
            Record::Leaf => "leaf",
            Record::Result(operation) => operation.name(),
        };
        let shown = &self.data()[..self.len().min(8)];
        let more = if self.len() > shown.len() { ", …" } else { "" };
        write!(f, "Tensor {:?} ({made_by}) {shown:?}{more}", self.shape())
    }
}

/// What an operation computed, before it is a tensor.
///
/// The only way from here to a [`Tensor`] is [`recorded`](Self::recorded), which asks for the operation with its
/// backward: a result of a tracked input cannot be made without one.
pub struct Buffer {
    storage: Storage,
    device: Device,
    shape: Vec<usize>,
}

impl Buffer {
    /// Computed values of the given shape.
    ///
    /// # Errors
    /// The number of values is not the product of the shape.
    pub fn new(values: impl Into<Values>, shape: &[usize]) -> Result<Self> {
        let values = values.into();
        if values.len() != shape.iter().product::<usize>() {
            return Err(Error::Length { shape: shape.to_vec(), found: values.len() });
        }
        Ok(Self { storage: Storage::owned(values), device: Device::Cpu, shape: shape.to_vec() })
    }

    /// Values that a kernel writes, of the given shape.
    pub(crate) fn on_gpu(memory: Memory, shape: &[usize]) -> Self {
        let device = memory.gpu().device();
        Self { storage: Storage::on_gpu(memory, shape.iter().product()), device, shape: shape.to_vec() }
    }

    /// The tensor that remembers the operation, or a constant where no input is tracked.
    pub fn recorded(self, operation: impl Operation) -> Tensor {
        let record = record_of(operation);
        Tensor::alone_on(self.device, self.storage, self.shape, record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_any_memory_order_round_trip() {
        let array = ndarray::arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let transposed = array.t().into_dyn();
        let tensor = Tensor::from_array(transposed.view());
        assert_eq!(tensor.data(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(tensor.to_array().unwrap(), transposed);
    }

    #[test]
    fn a_tracked_tensor_refuses_to_become_an_array_silently() {
        let leaf = Tensor::zeros(&[2]).leaf();
        let error = leaf.to_array().unwrap_err().to_string();
        assert!(error.contains("detach"), "{error}");
        assert!(leaf.detach().to_array().is_ok());
    }

    #[test]
    fn a_wrong_number_of_values_is_refused() {
        let error = Tensor::new(vec![1.0; 5], &[2, 3]).unwrap_err().to_string();
        assert_eq!(error, "5 values cannot fill a tensor of shape [2, 3]");
    }

    #[test]
    fn an_update_of_shared_values_leaves_the_other_owner_alone() {
        let mut tensor = Tensor::zeros(&[2]).leaf();
        let other = tensor.clone();
        tensor.update(|values| values[0] = 1.0);
        assert_eq!(other.data(), [0.0, 0.0]);
        assert_eq!(tensor.data(), [1.0, 0.0]);
        assert!(tensor.is_leaf());
    }
}
