use polytask_tensor::{Parameters, average_on_gpu, for_each};

use crate::Result;

/// Steps from one update of the average to the next: each passes over all parameters.
const STEPS: u64 = 8;

/// Values that one thread averages at a time.
const BLOCK: usize = 16 * 1024;

/// The exponential moving average of the weights, often better than the weights themselves.
///
/// ```text
/// a ← d a + (1 − d) p      d = min(decay, (1 + t) / (10 + t)) ^ n
/// ```
///
/// after each of the first 8 steps (n = 1), then every 8 steps (n = 8). t counts steps; the second term lets the average forget its start, as in TensorFlow's ExponentialMovingAverage.
pub(crate) fn update(average: &mut Parameters, parameters: &Parameters, decay: f32, step: u64) -> Result<()> {
    if step > STEPS && !step.is_multiple_of(STEPS) {
        return Ok(());
    }
    let t = step as f64;
    let steps = if step > STEPS { STEPS } else { 1 };
    let keep = f64::from(decay).min((1.0 + t) / (10.0 + t)).powi(steps as i32) as f32;
    if average_on_gpu(average, parameters, keep)? {
        return Ok(());
    }
    // What has been frozen until now is its own average, to the bit.
    let averages = average.values_mut().into_iter();
    let moved = averages.zip(parameters.iter()).filter(|(_, (_, p))| p.is_trained());
    let blocks = moved.map(|(average, (_, parameter))| {
        (average.chunks_mut(BLOCK), parameter.tensor().data().chunks(BLOCK))
    });
    for_each(blocks.flat_map(|(a, p)| a.zip(p)), |(average, values)| {
        average.iter_mut().zip(values).for_each(|(a, p)| *a = keep * *a + (1.0 - keep) * p);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::Tensor;

    #[test]
    fn a_constant_weight_is_its_own_average_and_a_moved_one_is_followed() {
        let (mut average, one) = (store(1.0), store(1.0));
        update(&mut average, &one, 0.9, 8).unwrap();
        assert_eq!(value(&average), 1.0);
        let zero = store(0.0);
        update(&mut average, &zero, 0.9, 9).unwrap();
        assert_eq!(value(&average), 1.0, "only every 8 steps");
        update(&mut average, &zero, 0.9, 8000).unwrap();
        assert!((value(&average) - 0.9f32.powi(8)).abs() < 1e-6);
    }

    #[test]
    fn the_first_steps_are_followed_one_by_one() {
        let mut average = store(0.0);
        let mut expected = 0.0;
        for step in 1..=8u64 {
            update(&mut average, &store(step as f32), 0.999, step).unwrap();
            let keep = (1 + step) as f32 / (10 + step) as f32;
            expected = keep * expected + (1.0 - keep) * step as f32;
            assert!((value(&average) - expected).abs() < 1e-6, "{step}");
        }
    }

    fn store(value: f32) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.insert("a", &Tensor::full(&[3], value)).unwrap();
        parameters
    }

    fn value(parameters: &Parameters) -> f32 {
        parameters.iter().next().unwrap().1.tensor().data()[0]
    }
}
