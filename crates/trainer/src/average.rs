use polytask_tensor::Parameters;

/// Steps from one update of the average to the next: each passes over all parameters.
const STEPS: u64 = 8;

/// The exponential moving average of the weights, often better than the weights themselves.
///
/// ```text
/// every 8 steps   a ← d a + (1 − d) p      d = min(decay, (1 + t) / (10 + t)) ^ 8
/// ```
///
/// t counts steps; the second term lets the average forget its start, as in TensorFlow's ExponentialMovingAverage.
pub(crate) fn update(average: &mut Parameters, parameters: &Parameters, decay: f32, step: u64) {
    if !step.is_multiple_of(STEPS) {
        return;
    }
    let t = step as f64;
    let keep = f64::from(decay).min((1.0 + t) / (10.0 + t)).powi(STEPS as i32) as f32;
    for (id, parameter) in parameters.iter() {
        average.update(id, |average| {
            polytask_tensor::for_each_row_block(average, 1, |first, block| {
                let new = &parameter.tensor().data()[first..first + block.len()];
                block.iter_mut().zip(new).for_each(|(a, p)| *a = keep * *a + (1.0 - keep) * p);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_tensor::Tensor;

    #[test]
    fn a_constant_weight_is_its_own_average_and_a_moved_one_is_followed() {
        let store = |value| {
            let mut parameters = Parameters::default();
            parameters.insert("a", &Tensor::full(&[3], value)).unwrap();
            parameters
        };
        let value = |parameters: &Parameters| parameters.iter().next().unwrap().1.tensor().data()[0];
        let (mut average, one) = (store(1.0), store(1.0));
        update(&mut average, &one, 0.9, 8);
        assert_eq!(value(&average), 1.0);
        let zero = store(0.0);
        update(&mut average, &zero, 0.9, 9);
        assert_eq!(value(&average), 1.0, "only every 8 steps");
        update(&mut average, &zero, 0.9, 8000);
        assert!((value(&average) - 0.9f32.powi(8)).abs() < 1e-6);
    }
}
