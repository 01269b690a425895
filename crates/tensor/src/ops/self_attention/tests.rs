mod devices;
mod window;

use super::self_attention;
use crate::ops::concatenate_columns;
use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};
use crate::{Offsets, RandomKey, Result, Tensor};

const KEY: RandomKey = RandomKey { seed: 1, stream: 2 };

fn query_key_value(shape: &[usize]) -> [Tensor; 3] {
    [1, 2, 3].map(|stream| sample(shape, stream))
}

fn attend(
    t: &[Tensor],
    offsets: &Offsets,
    heads: usize,
    dropout: Option<(f32, RandomKey)>,
) -> Result<Tensor> {
    attend_near(t, offsets, heads, None, dropout)
}

fn attend_near(
    t: &[Tensor],
    offsets: &Offsets,
    heads: usize,
    window: Option<usize>,
    dropout: Option<(f32, RandomKey)>,
) -> Result<Tensor> {
    self_attention(&concatenate_columns(&[&t[0], &t[1], &t[2]])?, offsets, heads, window, dropout)
}

#[test]
fn gradients_agree_with_differences() {
    for lengths in [&[2][..], &[1, 5], &[0, 3, 1, 0, 6, 2], &[30, 1]] {
        let offsets = Offsets::from_lengths(lengths.iter().copied());
        for (heads, width) in [(1, 1), (1, 5), (3, 3), (2, 8)] {
            let inputs = query_key_value(&[offsets.rows(), width]);
            check_gradients(&inputs, |t| attend(t, &offsets, heads, None));
            check_gradients(&inputs, |t| attend(t, &offsets, heads, Some((0.3, KEY))));
        }
    }
}

/// A text of one token has one weight, 1: its output is its value, and only that has a gradient.
#[test]
fn a_token_alone_reads_itself() {
    let [query, key, value] = query_key_value(&[3, 4]).map(|tensor| tensor.leaf());
    let leaves = [query.clone(), key, value.clone()];
    let output = attend(&leaves, &Offsets::from_lengths([1, 1, 1]), 2, None).unwrap();
    assert_eq!(output.data(), value.data());
    let gradient = sample(&[3, 4], 4);
    let gradients = output.backward_from(gradient.clone()).unwrap();
    assert_eq!(gradients.get(&value).unwrap().values(), gradient.data());
    assert_eq!(gradients.get(&query).unwrap().values(), [0.0; 12]);
}

/// PyTorch 2.15 in f64, `torch.nn.functional.scaled_dot_product_attention` of each text alone, rounded to six places:
///
/// ```text
/// def ramp(shift): return ((((torch.arange(40) + shift) * 7) % 13).double() / 4 - 1.5).reshape(10, 4)
/// q, k, v = [ramp(shift).requires_grad_() for shift in (0, 3, 5)]
/// heads = lambda x, start, n: x[start:start + n].reshape(n, 2, 2).transpose(0, 1)
/// output = torch.cat([scaled_dot_product_attention(*[heads(x, start, n) for x in (q, k, v)])
///                     .transpose(0, 1).reshape(n, 4) for start, n in ((0, 1), (1, 2), (3, 7))])
/// output.backward(ramp(8))
/// ```
#[test]
fn agrees_with_pytorch_on_packed_texts() {
    assert_golden(None, [OUTPUT, D_QUERY, D_KEY, D_VALUE]);
}

#[track_caller]
fn assert_golden(window: Option<usize>, [output, gradients @ ..]: [[f32; 40]; 4]) {
    let ramp = |shift: usize| {
        let values = (shift..shift + 40).map(|i| ((i * 7) % 13) as f32 / 4.0 - 1.5).collect();
        Tensor::new(values, &[10, 4]).unwrap()
    };
    let leaves = [0, 3, 5].map(|shift| ramp(shift).leaf());
    let found = attend_near(&leaves, &Offsets::from_lengths([1, 2, 7]), 2, window, None).unwrap();
    // Half a unit of the sixth place, and a few roundings of f32.
    assert_close(found.data(), &output, 2e-6);
    let found = found.backward_from(ramp(8)).unwrap();
    for (leaf, expected) in leaves.iter().zip(gradients) {
        assert_close(found.get(leaf).unwrap().values(), &expected, 2e-6);
    }
}

/// The formulas of the module for one head `[n, d]` in f64, with a maximum taken off each row of S.
/// Returns O, dQ, dK and dV of dO.
fn reference([q, k, v, d_output]: [&[f32]; 4], d: usize, window: usize) -> [Vec<f32>; 4] {
    let n = q.len() / d;
    let at = |x: &[f32], row: usize, column: usize| f64::from(x[row * d + column]);
    let dot = |a: &[f32], i, b: &[f32], j| (0..d).map(|c| at(a, i, c) * at(b, j, c)).sum::<f64>();
    let scale = 1.0 / (d as f64).sqrt();
    let [mut o, mut dq, mut dk, mut dv] = [(); 4].map(|()| vec![0.0f64; n * d]);
    for i in 0..n {
        let score = |j| if i.abs_diff(j) <= window { dot(q, i, k, j) * scale } else { f64::NEG_INFINITY };
        let s: Vec<f64> = (0..n).map(score).collect();
        let max = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = s.iter().map(|s| (s - max).exp()).sum();
        let w: Vec<f64> = s.iter().map(|s| (s - max).exp() / sum).collect();
        let dw: Vec<f64> = (0..n).map(|j| dot(d_output, i, v, j)).collect();
        let mean: f64 = w.iter().zip(&dw).map(|(w, dw)| w * dw).sum();
        for j in 0..n {
            let ds = w[j] * (dw[j] - mean) * scale;
            for c in 0..d {
                o[i * d + c] += w[j] * at(v, j, c);
                dv[j * d + c] += w[j] * at(d_output, i, c);
                dq[i * d + c] += ds * at(k, j, c);
                dk[j * d + c] += ds * at(q, i, c);
            }
        }
    }
    [o, dq, dk, dv].map(|x| x.into_iter().map(|x| x as f32).collect())
}

/// Compares each head of each text with the reference, which sees the head's columns alone.
#[track_caller]
fn assert_agrees_with_reference(inputs: &[Tensor; 3], lengths: &[usize], heads: usize, tolerance: f32) {
    assert_agrees_with_reference_near(inputs, lengths, heads, None, tolerance);
}

/// The same with a window.
#[track_caller]
fn assert_agrees_with_reference_near(
    inputs: &[Tensor; 3],
    lengths: &[usize],
    heads: usize,
    window: Option<usize>,
    tolerance: f32,
) {
    let (rows, width) = inputs[0].rows_columns();
    let offsets = Offsets::from_lengths(lengths.iter().copied());
    let leaves = inputs.each_ref().map(Tensor::leaf);
    let output = attend_near(&leaves, &offsets, heads, window, None).unwrap();
    let d_output = sample(&[rows, width], 4);
    let gradients = output.clone().backward_from(d_output.clone()).unwrap();
    let [dq, dk, dv] = leaves.each_ref().map(|leaf| gradients.get(leaf).unwrap().to_dense().unwrap());
    for text in offsets.iter() {
        for columns in (0..width).step_by(width / heads).map(|first| first..first + width / heads) {
            let part = |x: &Tensor| -> Vec<f32> {
                text.clone().flat_map(|row| x.row(row)[columns.clone()].to_vec()).collect()
            };
            let [query, key, value] = inputs;
            let sources = [query, key, value, &d_output].map(part);
            let expected =
                reference(sources.each_ref().map(Vec::as_slice), columns.len(), window.unwrap_or(usize::MAX));
            for (found, expected) in [&output, &dq, &dk, &dv].into_iter().zip(expected) {
                assert_close(&part(found), &expected, tolerance);
            }
        }
    }
}

/// Sums of up to 200 products of size 1 in f32.
#[test]
fn texts_longer_than_a_block_agree_with_f64() {
    for (lengths, heads, width) in [
        (&[70][..], 2, 14),
        (&[200], 1, 33),
        (&[24, 25, 48, 3], 3, 120),
        (&[16, 0, 97], 2, 2),
        (&[31, 17], 2, 128),
    ] {
        let rows = lengths.iter().sum();
        assert_agrees_with_reference(&query_key_value(&[rows, width]), lengths, heads, 1e-5);
    }
}

/// S of up to ±80 and far beyond: its exponentials alone would overflow. Gradients of the size of Q and K, from S with an
/// error of its size times 2⁻²⁴.
#[test]
fn extreme_scores_do_not_overflow() {
    for (size, tolerance) in [(9.5, 1e-4), (100.0, 3e-2)] {
        let inputs = query_key_value(&[40, 8]);
        let [query, key, value] = inputs;
        let grown = |x: &Tensor| crate::ops::scale(x, size).unwrap();
        assert_agrees_with_reference(&[grown(&query), grown(&key), value], &[33, 7], 1, tolerance);
    }
    // Every score of the row is −10000.
    let (query, key) = (Tensor::full(&[3, 4], -100.0), Tensor::full(&[3, 4], 50.0));
    let value = sample(&[3, 4], 1);
    assert_agrees_with_reference(&[query, key, value], &[3], 1, 1e-6);
}

#[test]
fn texts_together_equal_texts_alone() {
    let lengths = [4, 0, 70, 1];
    let inputs = query_key_value(&[75, 6]);
    let together = attend(&inputs, &Offsets::from_lengths(lengths), 3, None).unwrap();
    for text in Offsets::from_lengths(lengths).iter() {
        let alone = inputs.each_ref().map(|x| crate::ops::rows(x, text.clone()).unwrap());
        let alone = attend(&alone, &Offsets::from_lengths([text.len()]), 3, None).unwrap();
        assert_eq!(alone.data(), &together.data()[text.start * 6..text.end * 6]);
    }
}

/// With values of 1 and equal weights, a row's output is the share of weights kept, grown by 1 / (1 − p).
#[test]
fn the_share_dropped_is_as_promised() {
    let (zeros, ones) = (Tensor::zeros(&[200, 4]), Tensor::full(&[200, 4], 1.0));
    let offsets = Offsets::from_lengths([200]);
    let output = attend(&[zeros.clone(), zeros, ones], &offsets, 2, Some((0.3, KEY))).unwrap();
    let mean = |head: usize| output.data().chunks(4).map(|row| f64::from(row[head * 2])).sum::<f64>() / 200.0;
    // 40,000 draws a head: the standard error is 0.0033.
    assert!((mean(0) - 1.0).abs() < 0.015 && (mean(1) - 1.0).abs() < 0.015, "{} {}", mean(0), mean(1));
    // A row has 200 draws: two heads, two rows of the same draws would agree.
    assert_ne!(output.row(0)[0], output.row(0)[2]);
    assert!(output.data().chunks(4).any(|row| row[0] != output.row(0)[0]));
}

#[test]
fn the_mask_depends_on_key_head_and_position_alone() {
    let inputs = query_key_value(&[9, 4]);
    let others = [&inputs[0], &inputs[1], &inputs[2]].map(|x| crate::ops::rows(x, 0..5).unwrap());
    let long = attend(&inputs, &Offsets::from_lengths([5, 4]), 2, Some((0.5, KEY))).unwrap();
    let short = attend(&others, &Offsets::from_lengths([5]), 2, Some((0.5, KEY))).unwrap();
    assert_eq!(short.data(), &long.data()[..20]);
    let other_key = RandomKey { stream: 3, ..KEY };
    let other = attend(&others, &Offsets::from_lengths([5]), 2, Some((0.5, other_key))).unwrap();
    assert_ne!(short.data(), other.data());
}

#[test]
fn no_text_is_no_fault() {
    for lengths in [&[][..], &[0, 0]] {
        let x = Tensor::zeros(&[0, 12]).leaf();
        let output =
            self_attention(&x, &Offsets::from_lengths(lengths.iter().copied()), 2, None, None).unwrap();
        assert_eq!(output.shape(), [0, 4]);
        let gradients = output.backward_from(Tensor::zeros(&[0, 4])).unwrap();
        assert!(gradients.get(&x).unwrap().values().is_empty());
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let (x, offsets) = (Tensor::zeros(&[4, 18]), Offsets::from_lengths([4]));
    let message = |x: &Tensor, offsets: &Offsets, heads, probability| {
        self_attention(x, offsets, heads, None, Some((probability, KEY))).unwrap_err().to_string()
    };
    for (columns, heads) in [(17, 1), (18, 4), (18, 0), (0, 2)] {
        let x = Tensor::zeros(&[4, columns]);
        let expected = format!(
            "self_attention: {heads} heads need [tokens, 3 · width] with a width that they divide; \
             found [4, {columns}]"
        );
        assert_eq!(message(&x, &offsets, heads, 0.1), expected);
    }
    let expected = "self_attention: the probability of dropout must lie in [0, 1); found 1";
    assert_eq!(message(&x, &offsets, 2, 1.0), expected);
    assert!(message(&x, &offsets, 2, f32::NAN).starts_with("self_attention: the probability"));
    let expected = "self_attention: the offsets cover 3 rows, the input has 4";
    assert_eq!(message(&x, &Offsets::from_lengths([3]), 2, 0.1), expected);
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    // Enough for several tasks; the heads of the last text fall to two of them.
    let offsets = Offsets::from_lengths((0..40).map(|i| i % 19).chain([130]));
    let inputs = query_key_value(&[offsets.rows(), 64]);
    assert_same_on_threads(|| {
        let leaves = inputs.each_ref().map(Tensor::leaf);
        let output = attend(&leaves, &offsets, 2, Some((0.1, KEY))).unwrap();
        let mut results = vec![output.data().to_vec()];
        let gradients = output.backward_from(sample(&[offsets.rows(), 64], 4)).unwrap();
        results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
        results
    });
}

const OUTPUT: [f32; 40] = [
    0.75, -0.75, 1.0, -0.5, -0.064273, -0.011041, -0.863896, 0.429799, -0.30624, 0.032953, -0.51928,
    0.367142, 0.471525, -0.426665, 0.219453, -0.51337, 0.606242, -0.3793, 0.086686, -0.313125, 0.743562,
    -0.334238, -0.123551, -0.128309, 0.865937, -0.300571, -0.571481, 0.725396, -0.652867, 0.312763,
    -0.544725, 0.821576, -0.492043, 0.128696, -0.515993, 0.90297, -0.329204, -0.117349, 0.256268, -0.608877,
];
const D_QUERY: [f32; 40] = [
    0.0, 0.0, 0.0, 0.0, -0.066162, -0.066162, 0.308023, -0.056004, -0.162849, -0.162849, 0.924793, -0.168144,
    0.543199, -0.332375, 0.044801, -0.372685, 0.672673, -0.2559, 0.110557, 0.511754, -0.56215, 0.271253,
    0.18404, 0.545961, -0.297091, 0.183792, -0.304702, 0.537586, -0.433176, -0.081447, 0.223744, -0.492628,
    0.435937, 0.196932, 0.213628, -0.332096, 0.452847, 0.176743, 0.081995, -0.379653,
];
const D_KEY: [f32; 40] = [
    0.0, 0.0, 0.0, 0.0, -0.295173, 0.506365, -0.168078, 0.616441, 0.295173, -0.506365, 0.168078, -0.616441,
    0.074674, -0.068508, 0.006197, 0.01925, 0.175538, -0.349864, 0.156723, -0.223647, -0.035082, 0.766098,
    -0.08245, -0.031795, -0.042308, -0.070338, -0.27886, -0.035681, -0.083641, -0.168701, -0.49223, 0.054028,
    -0.150685, -0.175712, 0.738239, 0.070651, 0.061503, 0.067025, -0.047619, 0.147193,
];
const D_VALUE: [f32; 40] = [
    -0.5, 1.25, -0.25, 1.5, 0.217047, -1.217219, 0.234388, -0.374789, 0.282953, -1.282781, 0.765612,
    -1.625211, 0.176581, 0.024529, -0.017934, -0.324521, 0.196987, -0.118779, 0.029455, -0.477147, 0.250809,
    -0.269643, 0.377725, -0.15388, 0.507078, 0.059305, 0.04153, -0.036366, 0.141807, 0.242811, -0.210592,
    0.062572, -0.201477, 0.465276, -0.426481, 0.162135, 0.178216, 0.096501, -0.043704, -0.232794,
];
