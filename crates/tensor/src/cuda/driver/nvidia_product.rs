//! Matrix products by cuBLASLt, planned once for all numbers of rows of a bucket.
//!
//! Packed batches have ever new numbers of rows. The algorithm is asked for with that number rounded up, so that plans recur
//! and the choice is the same for all numbers of a bucket; the sizes of each product are set when it is computed.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{self, cublasLtEpilogue_t, cublasLtHandle_t};
use cudarc::driver::{CudaStream, result as driver};

use super::nvidia_plan::{Plan, epilogue_of};
use crate::cuda::gpu::locked;
use crate::cuda::{Argument, Numbers, Product};

/// What cuBLASLt may use besides: NVIDIA's advice for Hopper.
pub(super) const WORKSPACE_BYTES: usize = 32 << 20;

/// Plans that are kept.
const MOST_PLANS: usize = 100_000;

/// Rows of a bucket.
const BUCKET: usize = 64;

/// What decides the algorithm of a product, and so is asked for once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// Rows, inner and columns.
    pub(super) sizes: [usize; 3],
    /// Of left and right.
    pub(super) is_transposed: [bool; 2],
    pub(super) epilogue: cublasLtEpilogue_t,
    pub(super) numbers: Numbers,
    /// Bytes of which the addresses of left, right and result are multiples, and those of the epilogue's vector and matrix.
    pub(super) alignments: [u32; 5],
}

impl Shape {
    fn of(product: &Product) -> Self {
        let Product { rows, inner, columns, left, right, result, numbers, epilogue } = *product;
        let places =
            [Some(left.address), Some(right.address), Some(result), epilogue.vector(), epilogue.matrix()];
        Self {
            sizes: [rows, inner, columns],
            is_transposed: [left.is_transposed, right.is_transposed],
            epilogue: epilogue_of(epilogue),
            numbers,
            alignments: places.map(|place| alignment(place.map_or(0, Argument::address))),
        }
    }

    /// The same with the number of rows that left has as it lies, which is a batch's, rounded up.
    fn bucket(mut self) -> Self {
        let [left_is_transposed, _] = self.is_transposed;
        let size = &mut self.sizes[usize::from(left_is_transposed)];
        *size = size.next_multiple_of(BUCKET);
        self
    }
}

/// The largest power of two that divides an address, 256 at most: what algorithms make use of.
fn alignment(address: u64) -> u32 {
    1 << address.trailing_zeros().min(8)
}

pub(super) struct Products {
    handle: cublasLtHandle_t,
    /// An address on the GPU.
    workspace: u64,
    plans: Mutex<Plans>,
}

/// Plans, and the refusals of what cannot be planned.
type Plans = HashMap<Shape, Result<Plan, CublasError>>;

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

    /// Whether there is a plan for a product. The context must be bound to this thread.
    pub(super) fn can_multiply(&self, product: &Product) -> bool {
        self.plan(&mut locked(&self.plans), product).is_ok()
    }

    /// # Safety
    /// The addresses cover the shapes, of which none is empty, and the context is bound to this thread.
    pub(super) unsafe fn multiply(&self, product: &Product, stream: &Arc<CudaStream>) -> Result<(), String> {
        let mut plans = locked(&self.plans);
        let plan = self.plan(&mut plans, product).map_err(said)?;
        let (one, zero) = (1.0f32, 0.0f32);
        let [left, right, to] =
            [product.left.address, product.right.address, product.result].map(Argument::address);
        // SAFETY: the plan is of these shapes, which the addresses cover.
        unsafe {
            plan.set_addresses(product.epilogue).map_err(said)?;
            result::matmul(
                self.handle,
                plan.description,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                right as *const c_void,
                plan.right,
                left as *const c_void,
                plan.left,
                to as *const c_void,
                plan.result,
                to as *mut c_void,
                plan.result,
                &raw const plan.chosen.algo,
                self.workspace as *mut c_void,
                WORKSPACE_BYTES,
                stream.cu_stream().cast(),
            )
        }
        .map_err(said)
    }

    /// The plan of a product, with its sizes set: the bucket's, or its own where the bucket's algorithm refuses its sizes.
    fn plan<'a>(&self, plans: &'a mut Plans, product: &Product) -> Result<&'a mut Plan, CublasError> {
        if plans.len() > MOST_PLANS {
            plans.clear();
        }
        let exact = Shape::of(product);
        let bucket = exact.bucket();
        let fits = self.planned(plans, bucket, product)?.resize(self.handle, exact.sizes)?;
        self.planned(plans, if fits { bucket } else { exact }, product)
    }

    /// The plan of a shape, made when it is first met.
    fn planned<'a>(
        &self,
        plans: &'a mut Plans,
        shape: Shape,
        product: &Product,
    ) -> Result<&'a mut Plan, CublasError> {
        let plan = plans.entry(shape).or_insert_with(|| Plan::new(shape, self.handle, product.epilogue));
        plan.as_mut().map_err(|refusal| *refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::{Epilogue, Operand};

    fn shape(sizes: [usize; 3], left_is_transposed: bool, address: usize) -> Shape {
        let (place, numbers) = (Argument::from(address), Numbers::Bf16);
        let (left, [rows, inner, columns]) = (Operand::new(place), sizes);
        let left = if left_is_transposed { left.transposed() } else { left };
        let (right, epilogue) = (Operand::new(place), Epilogue::Bias(place));
        Shape::of(&Product { rows, inner, columns, left, right, result: place, numbers, epilogue })
    }

    #[test]
    fn batches_of_about_one_size_share_a_plan_forward_and_backward() {
        let forward = |rows| shape([rows, 384, 1536], false, 4096).bucket();
        assert!(forward(65) == forward(128) && forward(65).sizes == [128, 384, 1536]);
        assert!(forward(64) != forward(65));
        let gradient_of_weight = |rows| shape([384, rows, 1536], true, 4096).bucket();
        assert!(
            gradient_of_weight(1) == gradient_of_weight(64)
                && gradient_of_weight(64) != gradient_of_weight(65)
        );
        assert_eq!(gradient_of_weight(1).sizes, [384, 64, 1536]);
    }

    #[test]
    fn what_is_aligned_otherwise_has_a_plan_of_its_own() {
        assert_eq!([0, 4, 48, 256, 4096].map(alignment), [256, 4, 16, 256, 256]);
        assert!(shape([64; 3], false, 4096) != shape([64; 3], false, 4112));
    }
}
