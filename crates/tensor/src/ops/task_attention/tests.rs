use super::*;
use crate::ops::{Side, matrix_product, segment_softmax};
use crate::testing::{assert_close, assert_same_on_threads, check_devices, check_gradients, sample};

/// The pooled rows of tasks whose queries are the last tensors.
fn pooled(tensors: &[Tensor], offsets: &Offsets) -> Result<Tensor> {
    let queries: Vec<&Tensor> = tensors[1..].iter().collect();
    Ok(task_attention(&tensors[0], &queries, offsets)?.pooled)
}

#[test]
fn gradients_agree_with_differences() {
    for lengths in [&[2][..], &[1, 4], &[0, 3, 1, 0, 7]] {
        let offsets = Offsets::from_lengths(lengths.iter().copied());
        for (tasks, heads, width) in [(1, 1, 1), (1, 2, 3), (3, 1, 5), (2, 3, 4)] {
            let mut inputs = vec![sample(&[offsets.rows(), width], 1)];
            inputs.extend((0..tasks).map(|task| sample(&[heads, width], 2 + task)));
            check_gradients(&inputs, |t| pooled(t, &offsets));
        }
    }
}

/// More rows, and more columns, than a block has threads.
#[test]
fn long_texts_and_wide_rows_agree_on_each_device() {
    for (lengths, tasks, heads, width) in [
        (&[300, 0, 1, 8, 9, 33][..], 3, 2, 33),
        (&[1, 12, 40], 2, 1, 384),
        (&[20, 7], 1, 1, 1024),
        (&[2; 150], 2, 1, 5),
    ] {
        let offsets = Offsets::from_lengths(lengths.iter().copied());
        let mut inputs = vec![sample(&[offsets.rows(), width], 1)];
        inputs.extend((0..tasks).map(|task| sample(&[heads, width], 2 + task)));
        check_devices(&inputs, |t| pooled(t, &offsets));
    }
}

const PYTORCH_POOLED: [f32; 36] = [
    -0.159884, -0.174111, -0.082961, -0.286791, -0.094794, -0.209868, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.038859,
    -0.106377, 0.115782, -0.052671, 0.014608, 0.024252, -0.019624, -0.261773, 0.057299, -0.364991, -0.045919,
    -0.288068, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.129889, -0.183679, 0.206812, -0.109143, 0.005491, -0.03222,
];
const PYTORCH_WEIGHTS: [f32; 20] = [
    0.447312, 0.653535, 0.219389, 0.780611, 0.552688, 0.346465, 0.780611, 0.219389, 0.316302, 0.528817,
    0.14797, 0.576173, 0.390815, 0.280347, 0.526494, 0.161932, 0.292883, 0.190836, 0.325536, 0.261896,
];

/// PyTorch 2.15 in f64, rounded to six places, with x and q (both tasks' queries) as below:
///
/// ```text
/// texts = [x[0:2], x[2:2], x[2:5]]
/// w = [torch.softmax(text @ q.T, 0) for text in texts]
/// pooled = torch.stack([a.T @ text for a, text in zip(w, texts)]).reshape(3, 2, 6).transpose(0, 1)
/// weights = torch.cat(w)
/// ```
#[test]
fn agrees_with_pytorch() {
    let x: Vec<f32> = (0..15).map(|i| ((i * 7) % 13) as f32 / 13.0 - 0.5).collect();
    let x = Tensor::new(x, &[5, 3]).unwrap();
    let query = |first: usize| {
        let values = (first..first + 6).map(|i| ((i * 5) % 11) as f32 / 4.0 - 1.0).collect();
        Tensor::new(values, &[2, 3]).unwrap()
    };
    let read = task_attention(&x, &[&query(0), &query(6)], &Offsets::from_lengths([2, 0, 3])).unwrap();
    // Half a unit of the sixth place, and a few roundings of f32.
    assert_close(read.pooled.data(), &PYTORCH_POOLED, 2e-6);
    assert_close(read.weights.data(), &PYTORCH_WEIGHTS, 2e-6);
}

#[test]
fn weights_are_the_softmax_of_the_products_and_constant() {
    let offsets = Offsets::from_lengths([4, 1, 6]);
    let (x, query) = (sample(&[11, 5], 1), sample(&[3, 5], 2));
    let read = task_attention(&x.leaf(), &[&query.leaf()], &offsets).unwrap();
    let logits = matrix_product(&x, Side::Plain, &query, Side::Transposed).unwrap();
    assert_close(read.weights.data(), segment_softmax(&logits, &offsets).unwrap().data(), 1e-6);
    assert!(!read.weights.is_tracked());
    assert!(read.pooled.is_tracked());
}

#[test]
fn tasks_together_equal_tasks_alone_and_an_empty_text_gives_zeros() {
    let offsets = Offsets::from_lengths([3, 0, 5]);
    let inputs = [sample(&[8, 6], 1), sample(&[2, 6], 2), sample(&[2, 6], 3)];
    let together = pooled(&inputs, &offsets).unwrap();
    let first = pooled(&inputs[..2], &offsets).unwrap();
    let second = pooled(&[inputs[0].clone(), inputs[2].clone()], &offsets).unwrap();
    assert_close(together.data(), &[first.data(), second.data()].concat(), 1e-6);
    assert_eq!(together.row(1), [0.0; 12]);
    assert_eq!(together.row(4), [0.0; 12]);
}

#[test]
fn no_text_is_no_fault() {
    let read =
        task_attention(&Tensor::zeros(&[0, 3]), &[&sample(&[2, 3], 1)], &Offsets::from_lengths([])).unwrap();
    assert_eq!((read.pooled.shape(), read.weights.shape()), (&[0, 6][..], &[0, 2][..]));
}

#[test]
fn what_does_not_fit_is_named() {
    let (x, query, offsets) = (sample(&[4, 3], 1), sample(&[2, 3], 2), Offsets::from_lengths([4]));
    let message =
        |queries: &[&Tensor], offsets| task_attention(&x, queries, offsets).unwrap_err().to_string();
    assert_eq!(message(&[], &offsets), "task_attention: needs the query of at least one task");
    let expected = "task_attention: the query of task 1 must be [2, 3]; found [1, 3]";
    assert_eq!(message(&[&query, &sample(&[1, 3], 3)], &offsets), expected);
    let expected = "task_attention: the offsets cover 3 rows, the input has 4";
    assert_eq!(message(&[&query], &Offsets::from_lengths([3])), expected);
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let offsets = Offsets::from_lengths((0..80).map(|i| i % 37));
    let inputs = [sample(&[offsets.rows(), 65], 1), sample(&[2, 65], 2), sample(&[2, 65], 3)];
    assert_same_on_threads(|| {
        let leaves = inputs.each_ref().map(Tensor::leaf);
        let pooled = pooled(&leaves, &offsets).unwrap();
        let mut results = vec![pooled.data().to_vec()];
        let gradients = pooled.backward_from(sample(&[160, 130], 4)).unwrap();
        results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
        results
    });
}
