//! What a training step does to all parameters at once, on a GPU: the norm of the gradients, the optimizer, the average of
//! the weights. One launch each, whatever the number of parameters, and nothing comes back to the processor.

use bytemuck::{Pod, Zeroable};

use crate::cuda::{Argument, Gpu, Grid};
use crate::{Device, Gradient, ParameterId, Parameters, Result, Tensor};

/// Values of a part at most: a block's work.
const VALUES: usize = 16 * 1024;
const THREADS: u32 = 256;

/// As `kernels/update.cu` declares it.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
struct Part {
    values: u64,
    other: u64,
    slots: [u64; 2],
    count: u64,
    numbers: [f32; 4],
}

/// The arrays of one parameter, all of one length.
struct Arrays {
    values: Argument,
    other: Argument,
    slots: [Argument; 2],
    numbers: [f32; 4],
}

impl Arrays {
    /// The parts of `count` values; `other` begins at its value `other_first` where that of the rest is `first`.
    fn cut(&self, first: usize, other_first: usize, count: usize, parts: &mut Vec<Part>) {
        for start in (0..count).step_by(VALUES) {
            let at = |array: Argument, first: usize| {
                if array.is_null() { 0 } else { array.plus(first + start).address() }
            };
            parts.push(Part {
                values: at(self.values, first),
                other: at(self.other, other_first),
                slots: self.slots.map(|slot| at(slot, first)),
                count: (count - start).min(VALUES) as u64,
                numbers: self.numbers,
            });
        }
    }

    /// The parts that a gradient touches.
    fn cut_touched(&self, gradient: &Gradient, parts: &mut Vec<Part>) {
        let Gradient::Rows(touched) = gradient else {
            return self.cut(0, 0, gradient.kept().len(), parts);
        };
        let (_, width) = touched.values.rows_columns();
        let mut place = 0;
        for run in touched.rows.chunk_by(|row, next| *next == row + 1) {
            self.cut(run[0] as usize * width, place * width, run.len() * width, parts);
            place += run.len();
        }
    }
}

fn launch(gpu: &'static Gpu, kernel: &'static str, parts: &[Part], others: &[Argument]) -> Result<()> {
    let on_gpu = gpu.upload(parts)?;
    let mut arguments = vec![Argument::from(&on_gpu)];
    arguments.extend(others);
    gpu.launch("update", kernel, Grid::blocks(parts.len(), THREADS), &arguments)
}

/// The norm of gradients on a GPU, where it stays.
///
/// ```text
/// norm = √ Σ g² / terms      factor = min(1, max_norm / norm) / terms      of all values of all gradients
/// ```
#[derive(Clone, Debug)]
pub struct GradientNorm(Tensor);

impl GradientNorm {
    /// Of the sum of `terms` batches' gradients; nothing is clipped where `max_norm` is 0. `None` where no gradient lies on a
    /// GPU.
    ///
    /// # Errors
    /// The GPU failed.
    pub fn of<'a>(
        gradients: impl IntoIterator<Item = &'a Gradient>,
        terms: usize,
        max_norm: f32,
    ) -> Result<Option<Self>> {
        let tensors: Vec<&Tensor> = gradients.into_iter().map(Gradient::kept).collect();
        let Some(gpu) = Gpu::of(tensors.iter().copied())? else { return Ok(None) };
        let mut parts = Vec::new();
        for tensor in tensors {
            let (values, slots) = (Argument::NULL, [Argument::NULL; 2]);
            let arrays = Arrays { values, other: gpu.read(tensor)?, slots, numbers: [0.0; 4] };
            arrays.cut(0, 0, tensor.len(), &mut parts);
        }
        let (squares, norm) = (gpu.allocate(parts.len())?, gpu.allocate(2)?);
        launch(gpu, "sum_of_squares", &parts, &[(&squares).into()])?;
        let arguments = [
            Argument::from(&squares),
            parts.len().into(),
            (terms as f32).into(),
            max_norm.into(),
            (&norm).into(),
        ];
        gpu.launch("update", "norm_and_factor", Grid::blocks(1, 1024), &arguments)?;
        Ok(Some(Self(Tensor::on_gpu(norm, &[2]))))
    }

    /// What gradients are multiplied by; this waits for the GPU.
    pub fn factor(&self) -> f32 {
        self.0.data()[1]
    }

    /// The norm; this waits for the GPU.
    pub fn value(&self) -> f64 {
        f64::from(self.0.data()[0])
    }
}

/// What an optimizer does to one parameter in one step: the numbers of its kernel. `g` is the gradient times the norm's
/// factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateRule {
    /// m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², p ← keep · p − rate · m / (scale · √v + ε)
    AdamW {
        /// β₁
        beta1: f32,
        /// β₂
        beta2: f32,
        /// ε
        epsilon: f32,
        /// 1 − η λ
        keep: f32,
        /// η / (1 − β₁ᵗ)
        rate: f32,
        /// 1 / √(1 − β₂ᵗ)
        scale: f32,
    },
    /// m ← μ m + g + λ p, p ← p − η m
    Sgd {
        /// μ
        momentum: f32,
        /// λ
        decay: f32,
        /// η
        learning_rate: f32,
    },
}

impl UpdateRule {
    /// The kernel, its numbers that all parameters share, and those of this parameter.
    fn kernel(self) -> (&'static str, Vec<Argument>, [f32; 4]) {
        match self {
            UpdateRule::AdamW { beta1, beta2, epsilon, keep, rate, scale } => {
                let shared = [beta1, beta2, epsilon].map(Argument::from).to_vec();
                ("adamw", shared, [keep, rate, scale, 0.0])
            }
            UpdateRule::Sgd { momentum, decay, learning_rate } => {
                ("sgd", vec![momentum.into()], [decay, learning_rate, 0.0, 0.0])
            }
        }
    }
}

/// One step of an optimizer on the GPU on which `norm` lies: each parameter that has a gradient, by its rule, `slots[k]`
/// holding what the optimizer keeps of all parameters under its k-th name. Nothing happens where the norm is not finite.
///
/// # Errors
/// The GPU failed.
pub fn update_on_gpu(
    parameters: &mut Parameters,
    slots: &mut [Parameters],
    gradients: &[(ParameterId, Gradient)],
    rules: &[UpdateRule],
    norm: &GradientNorm,
) -> Result<()> {
    let Some(gpu) = Gpu::of([&norm.0])? else { return Ok(()) };
    let mut parts = Vec::new();
    let mut kernel = None;
    for ((id, gradient), rule) in gradients.iter().zip(rules) {
        let (name, shared, numbers) = rule.kernel();
        let mut places = [Argument::NULL; 2];
        for (place, store) in places.iter_mut().zip(slots.iter_mut()) {
            *place = store.address_mut_on(*id, gpu)?;
        }
        let values = parameters.address_mut_on(*id, gpu)?;
        let arrays = Arrays { values, other: gpu.read(gradient.kept())?, slots: places, numbers };
        arrays.cut_touched(gradient, &mut parts);
        kernel = Some((name, shared));
    }
    let Some((name, shared)) = kernel else { return Ok(()) };
    let mut arguments = vec![gpu.read(&norm.0)?];
    arguments.extend(shared);
    launch(gpu, name, &parts, &arguments)
}

/// average ← keep · average + (1 − keep) · parameter, for each parameter that is trained, on the GPU on which they lie. Says
/// whether they lie on one.
///
/// # Errors
/// The GPU failed.
pub fn average_on_gpu(average: &mut Parameters, parameters: &Parameters, keep: f32) -> Result<bool> {
    let trained = || parameters.iter().filter(|(_, parameter)| parameter.is_trained());
    let tensors = trained().map(|(_, parameter)| parameter.tensor());
    let Some(gpu) = Gpu::of(tensors)? else { return Ok(false) };
    let mut parts = Vec::new();
    for (id, parameter) in trained() {
        let values = average.address_mut_on(id, gpu)?;
        let (other, slots) = (gpu.read(parameter.tensor())?, [Argument::NULL; 2]);
        let arrays = Arrays { values, other, slots, numbers: [0.0; 4] };
        arrays.cut(0, 0, parameter.tensor().len(), &mut parts);
    }
    launch(gpu, "move_average", &parts, &[keep.into()])?;
    Ok(true)
}

impl Parameters {
    /// Puts all values on a device.
    ///
    /// # Errors
    /// The device cannot be used, or its memory is used up.
    pub fn move_to(&mut self, device: Device) -> Result<()> {
        self.tensors_mut().try_for_each(|tensor| {
            *tensor = tensor.to(device)?;
            Ok(())
        })
    }
}
