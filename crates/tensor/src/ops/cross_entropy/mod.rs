//! Softmax and negative log-likelihood of the target class in one, averaged over rows; weights and label smoothing.
//!
//! ```text
//! X [rows, classes]   t [rows]   →   a scalar
//! L = Σ_rows Σ_c −q_c log p_c / Σ_rows w_t       p = softmax(row of X)
//! q_c = ε w_c / classes + (1 − ε) w_t [c = t]    w: class weights, 1 by default; ε: label smoothing
//! dX = dL (p Σ_c q_c − q) / Σ_rows w_t
//! ```
//!
//! With ε = 0 and no weights dX is softmax − target, over the number of rows. The same numbers as PyTorch's
//! `CrossEntropyLoss`, save that with no row to average the loss is 0, not NaN.
//!
//! Kept for the backward: on the CPU dX for dL = 1, which the forward has nearly made; on a GPU, where dL is not known to who
//! launches the kernels, X and what makes p of it.
//!
//! Label smoothing: Szegedy et al., *Rethinking the Inception Architecture*, CVPR 2016.

mod cpu;
mod cuda;

use crate::cuda::Gpu;
use crate::{Error, Ids, Result, Tensor};

/// The target of a row that has none: it adds nothing to the loss and nothing to its average.
pub const IGNORED: u32 = u32::MAX;

/// How rows and classes count in [`cross_entropy`]; the default counts all alike.
#[derive(Clone, Debug, Default)]
pub struct CrossEntropy {
    /// `[classes]`, at least 0; a constant. The average is weighted by the weight of each row's target.
    pub class_weights: Option<Tensor>,
    /// ε in [0, 1]: the share of each target that is spread over all classes.
    pub label_smoothing: f32,
}

/// The mean cross-entropy of `logits` `[rows, classes]` against the class number of each row, or [`IGNORED`];
/// a scalar.
///
/// # Errors
/// The logits are no matrix, the targets are not as many as the rows or name a class that does not exist, or an
/// option is out of range.
///
/// ```
/// # use polytask_tensor::{Ids, Tensor, ops::{CrossEntropy, IGNORED, cross_entropy}};
/// let logits = Tensor::new(vec![0.0, 0.0, 5.0, 1.0], &[2, 2])?;
/// let targets = Ids::from(vec![1, IGNORED]);
/// let loss = cross_entropy(&logits, &targets, &CrossEntropy::default())?;
/// assert_eq!(loss.item()?, 2f32.ln());
/// # Ok::<(), polytask_tensor::Error>(())
/// ```
pub fn cross_entropy(logits: &Tensor, targets: &Ids, options: &CrossEntropy) -> Result<Tensor> {
    let &[rows, classes] = logits.shape() else {
        return refuse(format!("logits must be [rows, classes]; found {:?}", logits.shape()));
    };
    check_targets(targets, rows, classes)?;
    options.check(classes)?;

    let total_weight: f64 = targets.as_slice().iter().map(|&target| f64::from(options.weight(target))).sum();
    let share = if total_weight > 0.0 { (1.0 / total_weight) as f32 } else { 0.0 };
    match Gpu::of([logits])? {
        Some(gpu) => cuda::mean_loss(gpu, logits, targets, options, share),
        None => cpu::mean_loss(logits, targets, options, share),
    }
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::shape("cross_entropy", message))
}

fn check_targets(targets: &Ids, rows: usize, classes: usize) -> Result<()> {
    if targets.len() != rows {
        return refuse(format!("{rows} rows of logits need as many targets; found {}", targets.len()));
    }
    let wrong = |&target: &u32| target != IGNORED && target as usize >= classes;
    match targets.as_slice().iter().position(wrong) {
        None => Ok(()),
        Some(row) => {
            let target = targets.as_slice()[row];
            refuse(format!("target {target} of row {row} is not below {classes}, the number of classes"))
        }
    }
}

impl CrossEntropy {
    fn check(&self, classes: usize) -> Result<()> {
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return refuse(format!("label_smoothing must lie in [0, 1]; found {}", self.label_smoothing));
        }
        let Some(weights) = &self.class_weights else { return Ok(()) };
        if weights.shape() != [classes] {
            return refuse(format!("class_weights must be [{classes}]; found {:?}", weights.shape()));
        }
        if weights.is_tracked() {
            return refuse("class_weights must be a constant: call detach() on it".into());
        }
        match weights.data().iter().find(|weight| !(**weight >= 0.0 && weight.is_finite())) {
            Some(weight) => refuse(format!("class_weights must be at least 0; found {weight}")),
            None => Ok(()),
        }
    }

    /// The weight of a row with this target.
    fn weight(&self, target: u32) -> f32 {
        match &self.class_weights {
            _ if target == IGNORED => 0.0,
            Some(weights) => weights.data()[target as usize],
            None => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::testing::{assert_close, assert_same_on_threads, check_gradients, on_each_device, sample};

    fn options(class_weights: Option<Vec<f32>>, label_smoothing: f32) -> CrossEntropy {
        let class_weights = class_weights.map(|weights| {
            let classes = weights.len();
            Tensor::new(weights, &[classes]).unwrap()
        });
        CrossEntropy { class_weights, label_smoothing }
    }

    fn loss_and_gradient(logits: &Tensor, targets: &Ids, options: &CrossEntropy) -> Vec<Vec<f32>> {
        loss_and_gradient_on(Device::Cpu, logits, targets, options)
    }

    fn loss_and_gradient_on(
        device: Device,
        logits: &Tensor,
        targets: &Ids,
        options: &CrossEntropy,
    ) -> Vec<Vec<f32>> {
        let logits = logits.to(device).unwrap().leaf();
        let loss = cross_entropy(&logits, targets, options).unwrap();
        vec![loss.data().to_vec(), loss.backward().unwrap().get(&logits).unwrap().values().to_vec()]
    }

    #[test]
    fn gradients_agree_with_differences() {
        for (rows, classes) in [(1, 5), (2, 3), (17, 9)] {
            let targets: Vec<u32> =
                (0..rows as u32).map(|i| if i % 4 == 1 { IGNORED } else { i % 3 }).collect();
            let weights = sample(&[classes], 2).data().iter().map(|weight| weight.abs() + 0.1).collect();
            for options in [options(None, 0.0), options(None, 0.2), options(Some(weights), 0.1)] {
                let targets = Ids::from(targets.clone());
                check_gradients(&[sample(&[rows, classes], 1)], |t| cross_entropy(&t[0], &targets, &options));
            }
        }
    }

    /// PyTorch 2.15, `torch.nn.functional.cross_entropy` with `weight` and `label_smoothing`, and its autograd, in f64.
    #[test]
    fn agrees_with_torch_for_every_option() {
        let logits = [1.0, -2.0, 0.5, 0.3, 0.2, -1.0, 2.0, 2.0, 2.0, -0.5, 1.5, 4.0, 0.0, -3.0, 1.0];
        let logits = Tensor::new(logits.to_vec(), &[5, 3]).unwrap();
        let targets = Ids::from(vec![0, 2, 1, IGNORED, 1]);
        let weights = Some(vec![0.5, 2.0, 1.25]);
        #[rustfmt::skip]
        let golden: [(CrossEntropy, f32, [f32; 15]); 4] = [
            (options(None, 0.0), 2.0019722,
             [-0.09906278, 0.0075147217, 0.091548055, 0.11481746, 0.10389113, -0.21870859, 0.083333336,
              -0.16666667, 0.083333336, 0.0, 0.0, 0.0, 0.06634698, -0.24669679, 0.1803498]),
            (options(None, 0.1), 1.9519722,
             [-0.08239611, -8.186114e-4, 0.08321472, 0.10648413, 0.0955578, -0.20204192, 0.075, -0.15, 0.075,
              0.0, 0.0, 0.0, 0.058013648, -0.2300301, 0.17201646]),
            (options(weights.clone(), 0.0), 2.38266,
             [-0.034456618, 0.0026138164, 0.0318428, 0.09984127, 0.090340115, -0.19018137, 0.11594203,
              -0.23188406, 0.11594203, 0.0, 0.0, 0.0, 0.09230884, -0.3432303, 0.25092146]),
            (options(weights, 0.1), 2.301522,
             [-0.02078453, -0.008588314, 0.029372845, 0.096942715, 0.07874592, -0.17568862, 0.10869565,
              -0.21304348, 0.10434783, 0.0, 0.0, 0.0, 0.08594871, -0.32021424, 0.23426552]),
        ];
        on_each_device(|device| {
            for (options, loss, gradient) in &golden {
                let found = loss_and_gradient_on(device, &logits, &targets, options);
                assert_close(&found[0], &[*loss], 3e-7);
                assert_close(&found[1], gradient, 3e-7);
            }
        });
    }

    #[test]
    fn with_no_row_to_average_loss_and_gradient_are_zero() {
        let logits = sample(&[3, 4], 1);
        let weights = Some(vec![0.0, 1.0, 1.0, 1.0]);
        let all = [(IGNORED, options(None, 0.1)), (0, options(weights, 0.0))];
        on_each_device(|device| {
            for (target, options) in &all {
                let targets = Ids::from(vec![*target; 3]);
                let found = loss_and_gradient_on(device, &logits, &targets, options);
                assert_eq!(found, [vec![0.0], vec![0.0; 12]]);
            }
            let (none, targets) = (Tensor::zeros(&[0, 4]), Ids::from(vec![]));
            let found = loss_and_gradient_on(device, &none, &targets, &CrossEntropy::default());
            assert_eq!(found, [vec![0.0], vec![]]);
        });
    }

    #[test]
    fn an_ignored_row_changes_nothing_for_the_others() {
        let (first, both) = (sample(&[1, 4], 1), sample(&[2, 4], 1));
        let options = options(Some(vec![1.0, 2.0, 3.0, 4.0]), 0.1);
        let alone = loss_and_gradient(&first, &Ids::from(vec![2]), &options);
        let beside = loss_and_gradient(&both, &Ids::from(vec![2, IGNORED]), &options);
        assert_eq!(alone[0], beside[0]);
        assert_eq!(alone[1], beside[1][..4]);
        assert_eq!(beside[1][4..], [0.0; 4]);
    }

    #[test]
    fn a_masked_class_and_a_far_logit_stay_finite() {
        let logits = Tensor::new(vec![f32::NEG_INFINITY, 0.0, 1e4], &[1, 3]).unwrap();
        on_each_device(|device| {
            let targets = Ids::from(vec![1]);
            let found = loss_and_gradient_on(device, &logits, &targets, &CrossEntropy::default());
            assert_eq!(found, [vec![1e4], vec![0.0, -1.0, 1.0]]);
        });
    }

    /// As many classes as BERT has pieces. The loss is taken so often that gradients have a size of 1; the processor adds
    /// what the smoothing gives to so many classes one by one.
    #[test]
    fn a_whole_vocabulary_gives_the_same_on_each_device() {
        let classes = 30_522;
        let (x, targets) = (sample(&[3, classes], 1), Ids::from(vec![30_521, IGNORED, 17]));
        let weights = sample(&[classes], 2).data().iter().map(|weight| weight.abs()).collect();
        for options in [options(None, 0.0), options(Some(weights), 0.1)] {
            let results = |device: Device| {
                let logits = x.to(device).unwrap().leaf();
                let loss = cross_entropy(&logits, &targets, &options).unwrap();
                let value = loss.data().to_vec();
                let gradients = loss.backward_from(Tensor::scalar(classes as f32)).unwrap();
                [value, gradients.get(&logits).unwrap().values().to_vec()]
            };
            let expected = results(Device::Cpu);
            on_each_device(|device| {
                let [loss, gradient] = results(device);
                assert_close(&loss, &expected[0], 1e-5);
                assert_close(&gradient, &expected[1], 1e-5);
            });
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let logits = Tensor::zeros(&[2, 3]);
        let refused = |targets: Vec<u32>, options: CrossEntropy| {
            cross_entropy(&logits, &Ids::from(targets), &options).unwrap_err().to_string()
        };
        let plain = CrossEntropy::default;
        assert_eq!(
            refused(vec![0], plain()),
            "cross_entropy: 2 rows of logits need as many targets; found 1"
        );
        let error = refused(vec![0, 3], plain());
        assert_eq!(error, "cross_entropy: target 3 of row 1 is not below 3, the number of classes");
        let error = refused(vec![0, 1], options(Some(vec![1.0; 2]), 0.0));
        assert_eq!(error, "cross_entropy: class_weights must be [3]; found [2]");
        assert!(refused(vec![0, 1], options(Some(vec![1.0, -1.0, 1.0]), 0.0)).contains("found -1"));
        assert!(refused(vec![0, 1], options(None, 1.5)).contains("label_smoothing"));
        let tracked = CrossEntropy { class_weights: Some(Tensor::zeros(&[3]).leaf()), label_smoothing: 0.0 };
        assert!(refused(vec![0, 1], tracked).contains("detach"));
        assert!(cross_entropy(&Tensor::zeros(&[3]), &Ids::from(vec![0]), &plain()).is_err());
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let logits = sample(&[2000, 33], 1);
        let targets = Ids::from((0..2000).map(|i| i % 33).collect::<Vec<u32>>());
        let weights = sample(&[33], 2).data().iter().map(|weight| weight.abs()).collect();
        let options = options(Some(weights), 0.1);
        assert_same_on_threads(|| loss_and_gradient(&logits, &targets, &options));
    }
}
