//! Where a tensor's values lie, and the forms of them that products read.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;

use crate::Result;
use crate::cuda::{Gpu, Memory};
use crate::matrix::{Bf16Right, F32Right, Int8Matrix, Int8Right, Matrix};
use crate::memory::Values;
use crate::parallel::made_once;

/// The values of one or several tensors.
pub(crate) struct Storage {
    content: Content,
    derived: Derived,
    /// A copy on a GPU of what lies in main memory.
    on_gpu: OnceLock<Memory>,
}

/// Other forms of the values, each made once; they go when the values change.
#[derive(Default)]
struct Derived {
    /// As the right side of products in f32 of few rows.
    f32: OnceLock<F32Right>,
    /// As the right side of products in bf16.
    bf16: OnceLock<Bf16Right>,
    /// As the right side of products of 8-bit integers.
    int8: OnceLock<Int8Right>,
    /// The values as bf16 on a GPU.
    bf16_on_gpu: OnceLock<Memory>,
}

enum Content {
    Owned(Values),
    /// Some bytes of a file, f32 in this machine's byte order.
    Mapped(Arc<Mmap>, Range<usize>),
    /// A quantized matrix, and its values once somebody has asked for them.
    Int8(Int8Matrix, OnceLock<Vec<f32>>),
    /// So many values on a GPU, and a copy of them once somebody has asked for it.
    OnGpu(Memory, usize, OnceLock<Vec<f32>>),
}

impl Storage {
    pub(crate) fn owned(values: impl Into<Values>) -> Self {
        Self::new(Content::Owned(values.into()))
    }

    /// The f32 values of a part of a file; `None` where this machine must read them in another way.
    pub(crate) fn mapped(file: Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
        let is_readable = cfg!(target_endian = "little")
            && bytemuck::try_cast_slice::<u8, f32>(file.get(bytes.clone())?).is_ok();
        is_readable.then(|| Self::new(Content::Mapped(file, bytes)))
    }

    pub(crate) fn int8(matrix: Int8Matrix) -> Self {
        Self::new(Content::Int8(matrix, OnceLock::new()))
    }

    /// So many values on a GPU.
    pub(crate) fn on_gpu(memory: Memory, values: usize) -> Self {
        Self::new(Content::OnGpu(memory, values, OnceLock::new()))
    }

    fn new(content: Content) -> Self {
        Self { content, derived: Derived::default(), on_gpu: OnceLock::new() }
    }

    /// All values. Those of a quantized matrix are made when they are first asked for, those on a GPU copied then; where that
    /// fails they are NaN, and the next who uses the GPU gets the error.
    pub(crate) fn values(&self) -> &[f32] {
        match &self.content {
            Content::Owned(values) => values,
            Content::Mapped(file, bytes) => bytemuck::cast_slice(&file[bytes.clone()]),
            Content::Int8(matrix, values) => values.get_or_init(|| matrix.to_f32()),
            Content::OnGpu(memory, count, values) => values.get_or_init(|| {
                let mut values = vec![f32::NAN; *count];
                if let Err(error) = memory.gpu().download(memory, 0, &mut values) {
                    memory.gpu().remember(&error);
                }
                values
            }),
        }
    }

    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        match &self.content {
            Content::OnGpu(_, values, _) => *values,
            _ => self.values().len(),
        }
    }

    /// The values on a GPU, copied there where they lie elsewhere.
    ///
    /// # Errors
    /// There is a copy on another GPU, or this one failed.
    pub(crate) fn memory_on(&self, gpu: &'static Gpu) -> Result<&Memory> {
        match (&self.content, self.on_gpu.get()) {
            (Content::OnGpu(memory, ..), _) if memory.gpu().device() == gpu.device() => Ok(memory),
            (_, Some(copy)) => gpu.same(copy),
            _ => {
                let copy = gpu.upload(self.values())?;
                gpu.same(self.on_gpu.get_or_init(|| copy))
            }
        }
    }

    /// The values as bf16 on a GPU, made once by `round` of the f32 there.
    pub(crate) fn bf16_on(
        &self,
        gpu: &'static Gpu,
        round: impl FnOnce(&Memory) -> Result<Memory>,
    ) -> Result<&Memory> {
        if let Some(rounded) = self.derived.bf16_on_gpu.get() {
            return gpu.same(rounded);
        }
        let rounded = round(self.memory_on(gpu)?)?;
        gpu.same(self.derived.bf16_on_gpu.get_or_init(|| rounded))
    }

    /// The values on a GPU for a kernel that writes them; those in main memory are no longer kept. What was derived of them
    /// is dropped.
    pub(crate) fn memory_mut_on(&mut self, gpu: &'static Gpu) -> Result<&Memory> {
        self.memory_on(gpu)?;
        let values = self.len();
        let is_there =
            matches!(&self.content, Content::OnGpu(memory, ..) if memory.gpu().device() == gpu.device());
        if let Some(copy) = self.on_gpu.take().filter(|_| !is_there) {
            self.content = Content::OnGpu(copy, values, OnceLock::new());
        }
        self.derived = Derived::default();
        if let Content::OnGpu(_, _, copy) = &mut self.content {
            copy.take();
        }
        self.memory_on(gpu)
    }

    /// The values for writing, where they are this storage's own. What was derived of them is dropped.
    pub(crate) fn values_mut(&mut self) -> Option<&mut [f32]> {
        let Content::Owned(values) = &mut self.content else { return None };
        self.derived = Derived::default();
        self.on_gpu.take();
        Some(values)
    }

    /// The quantized matrix, where it is one.
    pub(crate) fn int8_matrix(&self) -> Option<&Int8Matrix> {
        match &self.content {
            Content::Int8(matrix, _) => Some(matrix),
            Content::Owned(_) | Content::Mapped(..) | Content::OnGpu(..) => None,
        }
    }

    /// The quantized matrix as the right side of products, made once.
    pub(crate) fn int8_right(&self) -> Option<&Int8Right> {
        let matrix = self.int8_matrix()?;
        made_once(&self.derived.int8, || Some(Int8Right::new(matrix)))
    }

    /// The matrix of `columns` columns as the right side of products in f32 of few rows, made once; `None` where it was made
    /// for another number of columns, or the processor has no use for it.
    pub(crate) fn f32_right(&self, columns: usize) -> Option<&F32Right> {
        let right = made_once(&self.derived.f32, || F32Right::new(self.values(), columns));
        right.filter(|right| right.columns() == columns)
    }

    /// The matrix of `columns` columns as the right side of products in bf16, made once; `None` where it was made for
    /// another number of columns.
    pub(crate) fn bf16_right(&self, columns: usize) -> Option<&Bf16Right> {
        let values = self.values();
        let rows = values.len() / columns.max(1);
        let make = || Some(Bf16Right::kept(Matrix::new(values, columns), rows, columns));
        made_once(&self.derived.bf16, make).filter(|right| right.columns() == columns)
    }
}
