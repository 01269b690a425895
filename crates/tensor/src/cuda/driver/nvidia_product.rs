//! Matrix products by cuBLASLt.
//!
//! cuBLASLt reads matrices column by column; a row-major matrix is then its own transpose. So `result = left · right` is
//! asked for as `resultᵀ = rightᵀ · leftᵀ`, which needs no copy, and the bias, one value a column of the result, is one a
//! row there: what its epilogue adds.

use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::size_of;
use std::sync::{Arc, Mutex};

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t, cublasLtEpilogue_t, cublasLtHandle_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t, cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cudaDataType_t,
};
use cudarc::driver::{CudaStream, result as driver};

use crate::cuda::gpu::locked;
use crate::cuda::{Numbers, Product};

/// What cuBLASLt may use besides: NVIDIA's advice for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;

/// Plans that are kept: batches of packed texts have many different numbers of rows.
const MOST_PLANS: usize = 100_000;

/// What decides the algorithm of a product, and so is asked for once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    sizes: [usize; 3],
    is_transposed: [bool; 2],
    has_bias: bool,
    numbers: Numbers,
    /// Bytes of which the addresses of left, right and result are multiples.
    alignments: [u32; 3],
}

/// The largest power of two that divides an address, 256 at most: what algorithms make use of.
fn alignment(address: u64) -> u32 {
    1 << address.trailing_zeros().min(8)
}

/// A product as cuBLASLt wants it described.
struct Plan {
    description: cublasLtMatmulDesc_t,
    right: cublasLtMatrixLayout_t,
    left: cublasLtMatrixLayout_t,
    result: cublasLtMatrixLayout_t,
    chosen: cublasLtMatmulHeuristicResult_t,
}

// SAFETY: descriptions are plain memory of the library, used by one thread at a time, under a lock.
unsafe impl Send for Plan {}

pub(super) struct Products {
    handle: cublasLtHandle_t,
    /// An address on the GPU.
    workspace: u64,
    plans: Mutex<HashMap<Shape, Plan>>,
}

// SAFETY: a handle of cuBLASLt may be used from any thread.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

fn said(error: CublasError) -> String {
    format!("cuBLASLt: {:?}", error.0)
}

impl Products {
    /// The context must be bound to this thread.
    pub(super) fn new() -> Result<Self, String> {
        // SAFETY: it only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(
                "cuBLAS was not found (libcublasLt.so): install it (Debian: libcublas12, or `pip install \
                        nvidia-cublas`) and name its folder in LD_LIBRARY_PATH, or set device = \"cpu\""
                    .into(),
            );
        }
        let handle = result::create_handle().map_err(said)?;
        // SAFETY: the context is bound. It is kept until the program ends.
        let workspace =
            unsafe { driver::malloc_sync(WORKSPACE_BYTES) }.map_err(|error| super::nvidia::said(&error))?;
        Ok(Self { handle, workspace, plans: Mutex::default() })
    }

    /// # Safety
    /// The addresses cover the shapes, and the context is bound to this thread.
    pub(super) unsafe fn multiply(&self, product: &Product, stream: &Arc<CudaStream>) -> Result<(), String> {
        let Product { rows, inner, columns, left, right, bias, result: to, numbers } = *product;
        if rows == 0 || columns == 0 {
            return Ok(());
        }
        let shape = Shape {
            sizes: [rows, inner, columns],
            is_transposed: [left.is_transposed, right.is_transposed],
            has_bias: bias.is_some(),
            numbers,
            alignments: [left.address, right.address, to].map(|address| alignment(address.address())),
        };
        let mut plans = locked(&self.plans);
        if plans.len() > MOST_PLANS {
            plans.clear();
        }
        let plan = match plans.entry(shape) {
            std::collections::hash_map::Entry::Occupied(plan) => plan.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place
                .insert(Plan::new(shape, self.handle, bias.map_or(0, |bias| bias.address())).map_err(said)?),
        };
        let (one, zero) = (1.0f32, 0.0f32);
        // SAFETY: the plan is of these shapes, which the addresses cover.
        unsafe {
            if let Some(bias) = bias {
                plan.set_bias(bias.address()).map_err(said)?;
            }
            result::matmul(
                self.handle,
                plan.description,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                right.address.address() as *const c_void,
                plan.right,
                left.address.address() as *const c_void,
                plan.left,
                to.address() as *const c_void,
                plan.result,
                to.address() as *mut c_void,
                plan.result,
                &raw const plan.chosen.algo,
                self.workspace as *mut c_void,
                WORKSPACE_BYTES,
                stream.cu_stream().cast(),
            )
        }
        .map_err(said)
    }
}

impl Plan {
    fn new(shape: Shape, handle: cublasLtHandle_t, bias: u64) -> Result<Self, CublasError> {
        let Shape { sizes: [rows, inner, columns], is_transposed: [left, right], has_bias, numbers, .. } =
            shape;
        let kind = match numbers {
            Numbers::F32 | Numbers::Tf32 => cudaDataType_t::CUDA_R_32F,
            Numbers::Bf16 => cudaDataType_t::CUDA_R_16BF,
        };
        let compute = match numbers {
            Numbers::Tf32 => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Numbers::F32 | Numbers::Bf16 => cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let description = result::create_matmul_desc(compute, cudaDataType_t::CUDA_R_32F)?;
        // A matrix that is not read transposed has its rows as cuBLASLt's columns.
        let layout = |is_transposed: bool, kind, [rows, columns]: [usize; 2]| {
            let [height, width] = if is_transposed { [rows, columns] } else { [columns, rows] };
            result::create_matrix_layout(kind, height as u64, width as u64, height as i64)
        };
        let mut plan = Self {
            description,
            right: layout(right, kind, [inner, columns])?,
            left: layout(left, kind, [rows, inner])?,
            result: layout(false, cudaDataType_t::CUDA_R_32F, [rows, columns])?,
            // SAFETY: plain numbers, which the heuristic fills in below.
            chosen: unsafe { std::mem::zeroed() },
        };
        use cublasLtMatmulDescAttributes_t as Attribute;
        // SAFETY: each attribute gets a value of its type.
        unsafe {
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &i32::from(right))?;
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &i32::from(left))?;
            if has_bias {
                plan.set(
                    Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
                    &cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
                )?;
                plan.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &cudaDataType_t::CUDA_R_32F)?;
                plan.set_bias(bias)?;
            }
        }
        let preference = result::create_matmul_pref()?;
        // SAFETY: all handles were just made.
        let chosen = unsafe {
            set_preferences(preference, shape.alignments).and_then(|()| {
                result::get_matmul_algo_heuristic(
                    handle,
                    plan.description,
                    plan.right,
                    plan.left,
                    plan.result,
                    plan.result,
                    preference,
                )
            })
        };
        // SAFETY: nobody uses it any more.
        unsafe { result::destroy_matmul_pref(preference) }?;
        plan.chosen = chosen?;
        Ok(plan)
    }

    /// # Safety
    /// The value is of the attribute's type.
    unsafe fn set<T>(&self, attribute: cublasLtMatmulDescAttributes_t, value: &T) -> Result<(), CublasError> {
        let value = std::ptr::from_ref(value).cast();
        // SAFETY: as the caller says.
        unsafe { result::set_matmul_desc_attribute(self.description, attribute, value, size_of::<T>()) }
    }

    /// # Safety
    /// The description has an epilogue with a bias.
    unsafe fn set_bias(&self, address: u64) -> Result<(), CublasError> {
        // SAFETY: an address is what this attribute holds.
        unsafe { self.set(cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &address) }
    }
}

/// What an algorithm may count on.
///
/// # Safety
/// The preference is one.
unsafe fn set_preferences(
    preference: cublasLtMatmulPreference_t,
    [left, right, to]: [u32; 3],
) -> Result<(), CublasError> {
    use cublasLtMatmulPreferenceAttributes_t as Attribute;
    let bytes = WORKSPACE_BYTES;
    let set = |attribute, value: *const c_void, size| {
        // SAFETY: each attribute below gets a value of its type.
        unsafe { result::set_matmul_pref_attribute(preference, attribute, value, size) }
    };
    let workspace = Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    set(workspace, (&raw const bytes).cast(), size_of::<usize>())?;
    for (attribute, alignment) in [
        (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, right),
        (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, left),
        (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, to),
        (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, to),
    ] {
        set(attribute, (&raw const alignment).cast(), size_of::<u32>())?;
    }
    Ok(())
}

impl Drop for Plan {
    fn drop(&mut self) {
        // What cannot be given back is lost, and nobody can help it.
        // SAFETY: the handles are this plan's own.
        unsafe {
            let _ = result::destroy_matmul_desc(self.description);
            for layout in [self.right, self.left, self.result] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}
