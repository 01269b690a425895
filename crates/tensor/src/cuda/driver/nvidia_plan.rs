//! A product as cuBLASLt wants it described, with the algorithm that it chose.
//!
//! cuBLASLt reads matrices column by column; a row-major matrix is then its own transpose. So `result = left · right` is
//! asked for as `resultᵀ = rightᵀ · leftᵀ`, which needs no copy: right is its A, left its B, and one value a column of the
//! result is one a row of its D. So its epilogues have their vectors: the bias, and in `BGRADA` the sums of A over the inner
//! dimension, which are those of right over its rows.

use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::size_of;

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t, cublasLtEpilogue_t, cublasLtHandle_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t,
    cudaDataType_t,
};

use super::nvidia_product::{Shape, WORKSPACE_BYTES};
use crate::cuda::{Epilogue, Numbers};

/// What cuBLASLt calls an epilogue.
pub(super) fn epilogue_of(epilogue: Epilogue) -> cublasLtEpilogue_t {
    match epilogue {
        Epilogue::Nothing => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
        Epilogue::Bias(_) => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
        Epilogue::BiasGelu { sum: None, .. } => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_BIAS,
        Epilogue::BiasGelu { sum: Some(_), .. } => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
        Epilogue::GeluGradient { .. } => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DGELU,
        Epilogue::RightSums(_) => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BGRADA,
    }
}

pub(super) struct Plan {
    /// Its sizes are those that are set.
    shape: Shape,
    pub(super) description: cublasLtMatmulDesc_t,
    pub(super) right: cublasLtMatrixLayout_t,
    pub(super) left: cublasLtMatrixLayout_t,
    pub(super) result: cublasLtMatrixLayout_t,
    pub(super) chosen: cublasLtMatmulHeuristicResult_t,
    /// Which sizes the algorithm can do with.
    can: HashMap<[usize; 3], bool>,
}

// SAFETY: descriptions are plain memory of the library, used by one thread at a time, under a lock.
unsafe impl Send for Plan {}

impl Plan {
    /// The plan of a shape; of the epilogue's addresses it is the alignments that matter.
    pub(super) fn new(
        shape: Shape,
        handle: cublasLtHandle_t,
        epilogue: Epilogue,
    ) -> Result<Self, CublasError> {
        let kind = match shape.numbers {
            Numbers::F32 | Numbers::Tf32 => cudaDataType_t::CUDA_R_32F,
            Numbers::Bf16 => cudaDataType_t::CUDA_R_16BF,
        };
        let kind_of_result =
            if epilogue.rounds() { cudaDataType_t::CUDA_R_16BF } else { cudaDataType_t::CUDA_R_32F };
        let compute = match shape.numbers {
            Numbers::Tf32 => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Numbers::F32 | Numbers::Bf16 => cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let [right, left, result] = lying(&shape, shape.sizes);
        let layout = |kind, [height, width]: [usize; 2]| {
            result::create_matrix_layout(kind, height as u64, width as u64, height as i64)
        };
        let mut plan = Self {
            shape,
            description: result::create_matmul_desc(compute, cudaDataType_t::CUDA_R_32F)?,
            right: layout(kind, right)?,
            left: layout(kind, left)?,
            result: layout(kind_of_result, result)?,
            // SAFETY: plain numbers, which the heuristic fills in below.
            chosen: unsafe { std::mem::zeroed() },
            can: HashMap::from([(shape.sizes, true)]),
        };
        let [of_left, of_right] = shape.is_transposed;
        // SAFETY: each attribute gets a value of its type. A vector and a matrix are of the result's numbers, as the
        // documentation asks.
        unsafe {
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &i32::from(of_right))?;
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &i32::from(of_left))?;
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &shape.epilogue)?;
            if epilogue.vector().is_some() {
                plan.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &kind_of_result)?;
            }
            if epilogue.matrix().is_some() {
                let [_, _, columns] = shape.sizes;
                plan.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, &kind_of_result)?;
                plan.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &(columns as i64))?;
            }
            plan.set_addresses(epilogue)?;
        }
        plan.chosen = plan.choose(handle)?;
        Ok(plan)
    }

    /// # Safety
    /// The epilogue is of the plan's kind.
    pub(super) unsafe fn set_addresses(&self, epilogue: Epilogue) -> Result<(), CublasError> {
        let places = [
            (Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, epilogue.vector()),
            (Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, epilogue.matrix()),
        ];
        for (attribute, place) in places {
            if let Some(place) = place {
                // SAFETY: an address is what these attributes hold.
                unsafe { self.set(attribute, &place.address()) }?;
            }
        }
        Ok(())
    }

    /// Sets the sizes of a product; whether the algorithm can do with them.
    pub(super) fn resize(
        &mut self,
        handle: cublasLtHandle_t,
        sizes: [usize; 3],
    ) -> Result<bool, CublasError> {
        if sizes != self.shape.sizes {
            self.set_sizes(sizes)?;
        }
        if let Some(&can) = self.can.get(&sizes) {
            return Ok(can);
        }
        let can = self.check(handle);
        self.can.insert(sizes, can);
        Ok(can)
    }

    fn set_sizes(&mut self, sizes: [usize; 3]) -> Result<(), CublasError> {
        let layouts = [self.right, self.left, self.result];
        for (layout, [height, width]) in layouts.into_iter().zip(lying(&self.shape, sizes)) {
            use cublasLtMatrixLayoutAttribute_t as Attribute;
            let attributes = [
                (Attribute::CUBLASLT_MATRIX_LAYOUT_ROWS, height),
                (Attribute::CUBLASLT_MATRIX_LAYOUT_COLS, width),
                (Attribute::CUBLASLT_MATRIX_LAYOUT_LD, height),
            ];
            for (attribute, size) in attributes {
                let (size, bytes) = (size as u64, size_of::<u64>());
                let value = (&raw const size).cast();
                // SAFETY: each attribute is an integer of 64 bits.
                unsafe { result::set_matrix_layout_attribute(layout, attribute, value, bytes) }?;
            }
        }
        self.shape.sizes = sizes;
        Ok(())
    }

    /// Whether the algorithm can do with the sizes as they are set.
    fn check(&self, handle: cublasLtHandle_t) -> bool {
        // SAFETY: plain numbers, which the check fills in.
        let mut found: cublasLtMatmulHeuristicResult_t = unsafe { std::mem::zeroed() };
        // SAFETY: all handles are alive.
        let status = unsafe {
            sys::cublasLtMatmulAlgoCheck(
                handle,
                self.description,
                self.right,
                self.left,
                self.result,
                self.result,
                &raw const self.chosen.algo,
                &raw mut found,
            )
        };
        status.result().is_ok() && found.workspaceSize <= WORKSPACE_BYTES
    }

    fn choose(&self, handle: cublasLtHandle_t) -> Result<cublasLtMatmulHeuristicResult_t, CublasError> {
        let preference = result::create_matmul_pref()?;
        // SAFETY: all handles are alive.
        let chosen = unsafe {
            set_preferences(preference, self.shape.alignments).and_then(|()| {
                result::get_matmul_algo_heuristic(
                    handle,
                    self.description,
                    self.right,
                    self.left,
                    self.result,
                    self.result,
                    preference,
                )
            })
        };
        // SAFETY: nobody uses it any more.
        unsafe { result::destroy_matmul_pref(preference) }?;
        chosen
    }

    /// # Safety
    /// The value is of the attribute's type.
    unsafe fn set<T>(&self, attribute: Attribute, value: &T) -> Result<(), CublasError> {
        let value = std::ptr::from_ref(value).cast();
        // SAFETY: as the caller says.
        unsafe { result::set_matmul_desc_attribute(self.description, attribute, value, size_of::<T>()) }
    }
}

/// Height and width of right, left and result as cuBLASLt sees them: a matrix that is not read transposed has its rows as
/// cuBLASLt's columns.
fn lying(shape: &Shape, [rows, inner, columns]: [usize; 3]) -> [[usize; 2]; 3] {
    let [left, right] = shape.is_transposed;
    let lying = |is_transposed, [rows, columns]: [usize; 2]| {
        if is_transposed { [rows, columns] } else { [columns, rows] }
    };
    [lying(right, [inner, columns]), lying(left, [rows, inner]), lying(false, [rows, columns])]
}

/// What an algorithm may count on.
///
/// # Safety
/// The preference is one.
unsafe fn set_preferences(
    preference: cublasLtMatmulPreference_t,
    [left, right, to, ..]: [u32; 5],
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
