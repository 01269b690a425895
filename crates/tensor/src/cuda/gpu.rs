use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::driver::{self, Driver, Fault, GraphCounts, Joined};
use super::memory::Cache;
use super::{Argument, Grid, Memory, Product};
use crate::{Device, Error, Result, Tensor};

/// An opened GPU. It stays open until the program ends.
pub(crate) struct Gpu {
    device: Device,
    driver: Box<dyn Driver>,
    pub(super) cache: Mutex<Cache>,
    /// The first failure of something that had no way to say so.
    failure: OnceLock<String>,
    downloads: AtomicU64,
}

impl Gpu {
    /// The GPU of a device, opened at the first call.
    pub(crate) fn open(device: Device) -> Result<&'static Self> {
        static OPENED: Mutex<BTreeMap<Device, &'static Gpu>> = Mutex::new(BTreeMap::new());
        let mut opened = locked(&OPENED);
        if let Some(gpu) = opened.get(&device) {
            return Ok(gpu);
        }
        let driver = driver::open(device).map_err(|message| Error::Device { device, message })?;
        let gpu: &'static Gpu = Box::leak(Box::new(Self {
            device,
            driver,
            cache: Mutex::default(),
            failure: OnceLock::new(),
            downloads: AtomicU64::new(0),
        }));
        opened.insert(device, gpu);
        Ok(gpu)
    }

    /// The GPU on which one of the tensors lies; `None` where all lie in main memory.
    pub(crate) fn of<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Option<&'static Self>> {
        let device = tensors.into_iter().map(Tensor::device).find(|&device| device != Device::Cpu);
        device.map(Self::open).transpose()
    }

    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// The memory itself, where it is this GPU's.
    pub(crate) fn same<'a>(&self, memory: &'a Memory) -> Result<&'a Memory> {
        let device = memory.gpu().device();
        if device == self.device {
            return Ok(memory);
        }
        let message = format!("a tensor has a copy on {device} already, and can have one only");
        Err(Error::Device { device: self.device, message })
    }

    /// Memory for so many f32, holding anything.
    pub(crate) fn allocate(&'static self, values: usize) -> Result<Memory> {
        Memory::new(self, 4 * values)
    }

    /// The same for so many bf16.
    pub(crate) fn allocate_bf16(&'static self, values: usize) -> Result<Memory> {
        Memory::new(self, 2 * values)
    }

    /// Memory for so many f32, all zero.
    pub(crate) fn zeros(&'static self, values: usize) -> Result<Memory> {
        let memory = self.allocate(values)?;
        if values == 0 {
            return Ok(memory);
        }
        // SAFETY: it was allocated for them.
        self.checked(unsafe { self.driver.clear(memory.address(), 4 * values) })?;
        Ok(memory)
    }

    /// A copy of values, f32 or integers.
    pub(crate) fn upload<T: bytemuck::NoUninit>(&'static self, values: &[T]) -> Result<Memory> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let memory = Memory::new(self, bytes.len())?;
        if bytes.is_empty() {
            return Ok(memory);
        }
        // SAFETY: it was allocated for them.
        self.checked(unsafe { self.driver.upload(bytes, memory.address()) })?;
        Ok(memory)
    }

    /// So many f32 of the GPU's memory from `first` on, once all that was launched before is done.
    pub(crate) fn download(&self, memory: &Memory, first: usize, values: &mut [f32]) -> Result<()> {
        self.downloads.fetch_add(1, Ordering::Relaxed);
        let bytes = bytemuck::cast_slice_mut(values);
        assert!(4 * first + bytes.len() <= memory.bytes(), "a download beyond the memory");
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the memory covers them.
        self.checked(unsafe { self.driver.download(memory.address() + 4 * first as u64, bytes) })
    }

    /// How often values were fetched from it.
    pub(crate) fn downloads(&self) -> u64 {
        self.downloads.load(Ordering::Relaxed)
    }

    /// Copies so many f32 from one place of the GPU's memory to another.
    pub(crate) fn copy(&self, from: Argument, to: &Memory, first: usize, values: usize) -> Result<()> {
        assert!(4 * (first + values) <= to.bytes(), "a copy beyond the memory");
        if values == 0 {
            return Ok(());
        }
        // SAFETY: `from` is a tensor's place, of so many values.
        self.checked(unsafe { self.driver.copy(from.address(), to.address() + 4 * first as u64, 4 * values) })
    }

    /// Where a tensor's values lie on this GPU, for kernels that read them; copied there first where they do not.
    pub(crate) fn read(&'static self, tensor: &Tensor) -> Result<Argument> {
        tensor.address_on(self)
    }

    /// Runs kernel `name` of `kernels/{file}.cu`; nothing where the grid is empty. The arguments must be those of the
    /// kernel, in its order.
    pub(crate) fn launch(
        &self,
        file: &'static str,
        name: &'static str,
        grid: Grid,
        arguments: &[Argument],
    ) -> Result<()> {
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        let mut bits: Vec<u64> = arguments.iter().map(|argument| argument.address()).collect();
        // SAFETY: each operation answers for the arguments of its kernels.
        self.checked(unsafe { self.driver.launch(file, name, grid, &mut bits) })
    }

    /// Runs a kernel that makes one value of each value of the inputs, all of one length; its arguments are those of the
    /// inputs, the result and the number of values.
    pub(crate) fn value_by_value(
        &'static self,
        file: &'static str,
        name: &'static str,
        inputs: &[&Tensor],
    ) -> Result<Memory> {
        let count = inputs.first().map_or(0, |input| input.len());
        assert!(inputs.iter().all(|input| input.len() == count), "inputs of several lengths for `{name}`");
        let result = self.allocate(count)?;
        let mut arguments = inputs.iter().map(|input| self.read(input)).collect::<Result<Vec<_>>>()?;
        arguments.extend([Argument::from(&result), count.into()]);
        self.launch(file, name, Grid::over(count), &arguments)?;
        Ok(result)
    }

    /// Whether [`multiply`](Self::multiply) can compute a product with its epilogue; asked anew only for a new kind of product.
    pub(crate) fn can_multiply(&self, product: &Product) -> Result<bool> {
        let is_empty = [product.rows, product.inner, product.columns].contains(&0);
        if is_empty || !product.fits_epilogue() {
            return Ok(false);
        }
        self.checked(self.driver.can_multiply(product))
    }

    /// result = left · right; nothing where a size is 0.
    pub(crate) fn multiply(&self, product: &Product) -> Result<()> {
        if [product.rows, product.inner, product.columns].contains(&0) {
            return Ok(());
        }
        // SAFETY: whoever described the product took the addresses from tensors of its shapes.
        self.checked(unsafe { self.driver.multiply(product) })
    }

    /// Whether this GPU can be joined with those of other processes.
    pub(crate) fn check_ranks(&self) -> Result<()> {
        self.checked(self.driver.check_ranks())
    }

    /// What GPUs of several processes join by.
    pub(crate) fn rank_id(&self) -> Result<Vec<u8>> {
        self.checked(self.driver.rank_id())
    }

    /// This GPU as one of several; waits for all.
    pub(crate) fn join(&self, rank: usize, size: usize, id: &[u8]) -> Result<Box<dyn Joined>> {
        self.checked(self.driver.join(rank, size, id))
    }

    /// Replaces arrays of this GPU, of so many f32, by their sums over all that it is joined with.
    pub(crate) fn sum_over_ranks(&self, joined: &dyn Joined, arrays: &[(Argument, usize)]) -> Result<()> {
        let arrays: Vec<(u64, usize)> = arrays
            .iter()
            .filter(|(_, values)| *values > 0)
            .map(|(place, values)| (place.address(), *values))
            .collect();
        // SAFETY: they are tensors' places.
        self.checked(unsafe { joined.sum(&arrays) })
    }

    /// Captures what is handed to the GPU from now on, until something needs an answer or the capture is ended.
    pub(crate) fn begin_capture(&self) -> Result<()> {
        self.checked(self.driver.begin_capture())
    }

    /// Runs what was captured, in order, as one graph.
    pub(crate) fn end_capture(&self) -> Result<()> {
        self.checked(self.driver.end_capture())
    }

    /// How many graphs it ran.
    pub(crate) fn graph_counts(&self) -> GraphCounts {
        self.driver.graph_counts()
    }

    /// Waits until everything is done that was handed to the GPU.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.checked(self.driver.synchronize())
    }

    /// An address of so many bytes or more, and their number: what lies ready, or new memory; where that is used up, after
    /// giving back what lies ready.
    pub(super) fn address(&self, bytes: usize) -> Result<(usize, u64)> {
        if let Some(ready) = locked(&self.cache).take(bytes) {
            return Ok(ready);
        }
        let first = self.driver.allocate(bytes);
        let allocated = if matches!(first, Err(Fault::OutOfMemory)) {
            let ready = locked(&self.cache).take_all();
            // What lies ready may still be in use by what was launched or captured.
            self.synchronize()?;
            for (bytes, address) in ready {
                // SAFETY: nobody owns what lies ready.
                unsafe { self.driver.free(address, bytes) };
            }
            self.driver.allocate(bytes)
        } else {
            first
        };
        self.checked(allocated).map(|address| (bytes, address))
    }

    /// Lets memory lie ready. On the emulated GPU new memory is always new, so that tests find a value that no kernel wrote.
    pub(super) fn give_back(&self, bytes: usize, address: u64) {
        if self.device == Device::Emulated {
            // SAFETY: nobody owns it any more.
            unsafe { self.driver.free(address, bytes) };
        } else {
            locked(&self.cache).put(bytes, address);
        }
    }

    /// Remembers a failure for the next who can say so.
    pub(crate) fn remember(&self, error: &Error) {
        let _ = self.failure.set(error.to_string());
    }

    fn checked<T>(&self, result: std::result::Result<T, Fault>) -> Result<T> {
        let error = |message| Err(Error::Device { device: self.device, message });
        match (self.failure.get(), result) {
            (Some(failure), _) => error(format!("an earlier step failed: {failure}")),
            (None, Ok(value)) => Ok(value),
            (None, Err(Fault::Other(message))) => error(message),
            (None, Err(Fault::OutOfMemory)) => error(
                "the GPU's memory is used up: take a smaller batch_size, set encoder.recompute_activations = true, \
                 or end other programs that use it"
                    .into(),
            ),
        }
    }
}

/// What a mutex holds; a thread that panicked left it whole.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
