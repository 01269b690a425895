//! A tensor's values on a GPU, as operations there read and write them.

use std::sync::Arc;

use super::{Record, Tensor};
use crate::Result;
use crate::cuda::{Argument, Gpu, Memory};
use crate::storage::Storage;

impl Tensor {
    /// A constant whose values lie on a GPU.
    pub(crate) fn on_gpu(memory: Memory, shape: &[usize]) -> Self {
        let device = memory.gpu().device();
        let storage = Storage::on_gpu(memory, shape.iter().product());
        Self::alone_on(device, storage, shape.to_vec(), Record::Constant)
    }

    /// Where the values lie on a GPU, copied there where they lie elsewhere.
    pub(crate) fn address_on(&self, gpu: &'static Gpu) -> Result<Argument> {
        Ok(Argument::from(self.0.storage.memory_on(gpu)?).plus(self.0.start))
    }

    /// Where the values lie as bf16 on a GPU, rounded once by `round`; for products.
    pub(crate) fn bf16_address_on(
        &self,
        gpu: &'static Gpu,
        round: impl FnOnce(&Memory, usize) -> Result<Memory>,
    ) -> Result<Argument> {
        let values = self.0.storage.len();
        let rounded = self.0.storage.bf16_on(gpu, |memory| round(memory, values))?;
        Ok(Argument::from(rounded).plus_bytes(2 * self.0.start))
    }

    /// The values on a GPU for a kernel that writes them in place: these where nobody shares them, else a copy's.
    pub(crate) fn address_mut_on(&mut self, gpu: &'static Gpu) -> Result<Argument> {
        let is_own =
            Arc::get_mut(&mut self.0).is_some_and(|inner| Arc::get_mut(&mut inner.storage).is_some());
        if !is_own || self.0.storage.len() != self.len() {
            let copy = gpu.allocate(self.len())?;
            gpu.copy(self.address_on(gpu)?, &copy, 0, self.len())?;
            *self = self.on_copy(gpu.device(), Storage::on_gpu(copy, self.len()));
        }
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.device = gpu.device();
            if let Some(storage) = Arc::get_mut(&mut inner.storage) {
                return Ok(Argument::from(storage.memory_mut_on(gpu)?));
            }
        }
        self.address_on(gpu)
    }
}
