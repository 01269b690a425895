use super::*;
use crate::testing::{assert_close, assert_same_on_threads, check_gradients, sample};

#[test]
fn gradients_agree_with_differences() {
    for lengths in [&[1][..], &[4], &[0, 3, 1, 0, 2], &[11]] {
        let texts = Offsets::from_lengths(lengths.iter().copied());
        for (heads, width) in [(1, 2), (1, 6), (3, 12), (2, 8), (1, 66)] {
            let x = sample(&[texts.rows(), 3 * width], 1);
            check_gradients(&[x], |t| rotary(&t[0], &texts, heads, 100.0));
        }
    }
}

/// The row x of one head as the token at `place` of a text, turned.
fn row_at(place: usize, base: f32, x: &[f32]) -> Vec<f32> {
    let rows = Tensor::new(x.repeat(place + 1), &[place + 1, x.len()]).unwrap();
    rotary(&rows, &Offsets::from_lengths([place + 1]), 1, base).unwrap().row(place).to_vec()
}

/// PyTorch 2.15 and transformers 5.23 in f32, `ModernBertRotaryEmbedding` theta 160000 and heads of 64
/// columns: its cosines and sines at place 8191, rounded to six places.
#[test]
fn far_places_agree_with_transformers() {
    // A query of 32 pairs (1, 0): turned, it is the cosines and sines.
    let x: Vec<f32> = (0..192).map(|column| if column < 32 { 1.0 } else { 0.0 }).collect();
    // Half a unit of the sixth place, and a rounding of f32.
    assert_close(&row_at(8191, 160_000.0, &x)[..64], &COSINES_SINES, 6e-7);
}

/// PyTorch 2.15 and transformers 5.23 in f32, `apply_rotary_pos_emb` of ModernBERT, rounded to six places:
///
/// ```text
/// x = ((torch.arange(72) * 7 % 13).float() / 4 - 1.5).reshape(3, 24).requires_grad_()
/// cos, sin = ModernBertRotaryEmbedding(config)(x, torch.tensor([[0, 0, 1]]), "full_attention")   # theta 160000
/// q, k, v = x.reshape(1, 3, 3, 2, 4).permute(2, 0, 3, 1, 4)
/// q, k = apply_rotary_pos_emb(q, k, cos, sin)
/// y = torch.stack([q, k, v]).permute(1, 3, 0, 2, 4).reshape(3, 24)
/// y.backward(((torch.arange(72) * 5 % 11).float() / 4 - 1.25).reshape(3, 24))
/// ```
#[test]
fn agrees_with_transformers_on_packed_texts() {
    let ramp = |step: usize, modulus: usize, shift: f32| {
        let values = (0..72).map(|i| (i * step % modulus) as f32 / 4.0 - shift).collect();
        Tensor::new(values, &[3, 24]).unwrap()
    };
    let x = ramp(7, 13, 1.5).leaf();
    let y = rotary(&x, &Offsets::from_lengths([1, 2]), 2, 160_000.0).unwrap();
    assert_eq!(y.data()[..48], x.data()[..48]);
    assert_close(y.row(2), &TURNED, 1e-6);
    let dy = ramp(5, 11, 1.25);
    let gradients = y.backward_from(dy.clone()).unwrap();
    let dx = gradients.get(&x).unwrap().values();
    assert_eq!(dx[..48], dy.data()[..48]);
    assert_close(&dx[48..], &D_PROJECTIONS, 1e-6);
}

/// q at place a times k at place b depends on a − b alone.
#[test]
fn products_depend_on_the_distance_alone() {
    let x = sample(&[1, 3 * 8], 1);
    let score = |a: usize, b: usize| -> f32 {
        let (query, key) = (row_at(a, 50.0, x.data()), row_at(b, 50.0, x.data()));
        query[..8].iter().zip(&key[8..16]).map(|(q, k)| q * k).sum()
    };
    assert_close(&[score(9, 2), score(40, 33)], &[score(7, 0); 2], 1e-5);
    assert!((score(7, 0) - score(6, 0)).abs() > 1e-2);
}

#[test]
fn each_text_begins_at_place_zero() {
    let x = sample(&[7, 12], 1);
    let together = rotary(&x, &Offsets::from_lengths([4, 0, 3]), 2, 10.0).unwrap();
    for text in [0..4, 4..7] {
        let alone = crate::ops::rows(&x, text.clone()).unwrap();
        let alone = rotary(&alone, &Offsets::from_lengths([text.len()]), 2, 10.0).unwrap();
        assert_eq!(alone.data(), &together.data()[text.start * 12..text.end * 12]);
    }
    assert_eq!(together.row(4), x.row(4));
}

#[test]
fn no_text_is_no_fault() {
    let x = Tensor::zeros(&[0, 12]).leaf();
    let y = rotary(&x, &Offsets::from_lengths([0, 0]), 2, 10.0).unwrap();
    assert_eq!(y.shape(), [0, 12]);
    assert!(y.backward_from(Tensor::zeros(&[0, 12])).unwrap().get(&x).unwrap().values().is_empty());
}

#[test]
fn what_does_not_fit_is_named() {
    let message = |columns, length, heads, base| {
        let texts = Offsets::from_lengths([length]);
        rotary(&Tensor::zeros(&[4, columns]), &texts, heads, base).unwrap_err().to_string()
    };
    // Not three parts, heads that do not divide, heads of an odd width, no head, no column.
    for (columns, heads) in [(16, 2), (18, 2), (18, 6), (18, 0), (0, 2)] {
        let expected = format!(
            "rotary: {heads} heads need [tokens, 3 · width] with a width that they divide into even parts; \
             found [4, {columns}]"
        );
        assert_eq!(message(columns, 4, heads, 10.0), expected);
    }
    assert_eq!(message(12, 3, 2, 10.0), "rotary: the offsets cover 3 rows, the input has 4");
    assert_eq!(message(12, 4, 2, 0.0), "rotary: the base must be above 0; found 0");
    assert!(message(12, 4, 2, f32::NAN).starts_with("rotary: the base"));
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let texts = Offsets::from_lengths((0..40).map(|i| i % 19).chain([900]));
    let x = sample(&[texts.rows(), 96], 1);
    assert_same_on_threads(|| {
        let leaf = x.leaf();
        let y = rotary(&leaf, &texts, 1, 10_000.0).unwrap();
        let values = y.data().to_vec();
        let gradients = y.backward_from(sample(&[texts.rows(), 96], 2)).unwrap();
        vec![values, gradients.get(&leaf).unwrap().values().to_vec()]
    });
}

const COSINES_SINES: [f32; 64] = [
    -0.64639, -0.959716, -0.95561, 0.834803, -0.999892, -0.95733, 0.551363, 0.239807, 0.414891, 0.441235,
    0.440614, 0.336606, -0.890668, 0.989875, 0.779045, -0.066385, -0.057116, 0.055662, -0.966792, 0.930312,
    -0.133085, -0.999975, -0.560041, 0.08177, 0.52006, 0.762211, 0.885066, 0.945087, 0.973906, 0.987633,
    0.994145, 0.99723, -0.763007, 0.280973, 0.294635, -0.550549, -0.014715, 0.288998, -0.834265, -0.970821,
    0.909871, -0.897392, -0.897697, 0.941646, -0.454654, 0.141943, -0.626968, -0.997794, 0.998368, 0.99845,
    -0.255566, 0.366769, -0.991105, -0.007121, 0.828465, 0.996651, 0.85413, 0.647328, 0.465466, 0.326819,
    0.226951, 0.156786, 0.10805, 0.074378,
];
const TURNED: [f32; 24] = [
    -0.586829, -0.249999, 1.862292, -0.000625, 0.241385, 0.248749, -1.937584, 0.500623, 0.090801, 0.747498,
    -1.246698, 1.001872, -0.059783, 1.246246, -0.555811, 1.50312, 0.0, -1.5, 0.25, -1.25, 0.5, -1.0, 0.75,
    -0.75,
];
const D_PROJECTIONS: [f32; 24] = [
    1.171406, -0.501873, -0.436244, -0.748748, 0.480519, -1.003122, -0.28566, -1.247496, -0.210368, 1.252496,
    -0.135076, 0.996872, -0.901254, 0.751248, 0.015509, 0.498123, -1.0, 0.25, -1.25, 0.0, 1.25, -0.25, 1.0,
    -0.5,
];
