//! Local attention: a token sees the tokens of its text that are near.

use super::*;

#[test]
fn gradients_agree_with_differences() {
    for (lengths, heads, width) in [(&[1, 5][..], 2, 4), (&[0, 3, 1, 6], 1, 5), (&[30], 1, 2)] {
        let offsets = Offsets::from_lengths(lengths.iter().copied());
        let inputs = query_key_value(&[offsets.rows(), width]);
        for window in [1, 2, 7] {
            for dropout in [None, Some((0.3, KEY))] {
                check_gradients(&inputs, |t| attend_near(t, &offsets, heads, Some(window), dropout));
            }
        }
    }
}

/// As [without a window](super::agrees_with_pytorch_on_packed_texts), with
/// `attn_mask=(torch.arange(n)[:, None] - torch.arange(n)).abs() <= 2`.
#[test]
fn agrees_with_pytorch_on_packed_texts() {
    assert_golden(Some(2), [OUTPUT, D_QUERY, D_KEY, D_VALUE]);
}

/// Windows that end within a vector, a block and the text, at their bounds, and beyond.
#[test]
fn any_window_agrees_with_f64() {
    let lengths = [1, 70, 0, 24, 117];
    let inputs = query_key_value(&[212, 10]);
    for window in [0, 1, 7, 15, 16, 17, 23, 24, 25, 48, 69, 70, 115, 116, 117, usize::MAX] {
        assert_agrees_with_reference_near(&inputs, &lengths, 2, Some(window), 1e-5);
    }
}

#[test]
fn a_token_that_sees_only_itself_is_its_value() {
    let inputs = query_key_value(&[40, 6]);
    let output = attend_near(&inputs, &Offsets::from_lengths([33, 7]), 3, Some(0), None).unwrap();
    assert_eq!(output.data(), inputs[2].data());
}

#[test]
fn a_window_over_the_whole_text_changes_no_bit() {
    let (offsets, inputs) = (Offsets::from_lengths([70, 5]), query_key_value(&[75, 6]));
    let results = |window| {
        let leaves = inputs.each_ref().map(Tensor::leaf);
        let output = attend_near(&leaves, &offsets, 3, window, Some((0.2, KEY))).unwrap();
        let gradients = output.clone().backward_from(sample(&[75, 6], 4)).unwrap();
        let gradients = leaves.each_ref().map(|leaf| gradients.get(leaf).unwrap().values().to_vec());
        (output.data().to_vec(), gradients)
    };
    assert_eq!(results(Some(69)), results(None));
}

/// With the unit matrix as values, the output is W̃ itself: a weight that both see is dropped by both or by none.
#[test]
fn the_window_moves_no_draw() {
    let n = 70;
    let zeros = Tensor::zeros(&[n, n]);
    let unit = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
    let inputs = [zeros.clone(), zeros, Tensor::new(unit, &[n, n]).unwrap()];
    let weights =
        |window| attend_near(&inputs, &Offsets::from_lengths([n]), 1, window, Some((0.4, KEY))).unwrap();
    let all = weights(None);
    for window in [0, 3, 21, 40] {
        let near = weights(Some(window));
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let seen = i.abs_diff(j) <= window;
            assert_eq!(near.row(i)[j] > 0.0, seen && all.row(i)[j] > 0.0, "{window}: {i}, {j}");
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let offsets = Offsets::from_lengths([3, 200, 0, 90, 130]);
    let inputs = query_key_value(&[offsets.rows(), 128]);
    assert_same_on_threads(|| {
        let leaves = inputs.each_ref().map(Tensor::leaf);
        let output = attend_near(&leaves, &offsets, 4, Some(30), Some((0.1, KEY))).unwrap();
        let mut results = vec![output.data().to_vec()];
        let gradients = output.backward_from(sample(&[offsets.rows(), 128], 4)).unwrap();
        results.extend(leaves.iter().map(|leaf| gradients.get(leaf).unwrap().values().to_vec()));
        results
    });
}

const OUTPUT: [f32; 40] = [
    0.75, -0.75, 1.0, -0.5, -0.064273, -0.011041, -0.863896, 0.429799, -0.30624, 0.032953, -0.51928,
    0.367142, -0.668965, 0.499407, 0.120352, -0.8488, 0.179794, -0.608911, 0.348588, -0.659324, 0.486613,
    -0.549864, 0.691927, -0.381369, 0.974915, -0.352566, 0.031334, 0.467286, -0.541664, -0.246547, -0.585778,
    0.312871, -0.542898, 0.198917, -0.6513, 0.417679, -0.297644, 0.240641, 0.010936, 0.081035,
];
const D_QUERY: [f32; 40] = [
    0.0, 0.0, 0.0, 0.0, -0.066162, -0.066162, 0.308023, -0.056004, -0.162849, -0.162849, 0.924793, -0.168144,
    0.188975, 0.188975, 0.130197, -0.37425, 0.303432, -0.466494, -0.242628, 0.366374, -0.385137, 0.398424,
    -0.320521, 0.404983, -0.116628, 0.127514, -0.418276, 1.369594, -0.701992, -0.374285, 0.489431, -0.512723,
    0.578553, -0.298269, 0.438462, -0.301926, 1.029463, -0.280358, 0.211519, -0.341814,
];
const D_KEY: [f32; 40] = [
    0.0, 0.0, 0.0, 0.0, -0.295173, 0.506365, -0.168078, 0.616441, 0.295173, -0.506365, 0.168078, -0.616441,
    0.040821, 0.341528, 0.175146, 0.024935, 0.233586, 0.079983, -0.619542, 0.110265, 0.468037, -0.508006,
    0.315565, -0.146983, 0.008441, -0.123663, -0.128828, 0.338838, -0.299808, 0.404754, -0.146394, -0.554223,
    -0.121018, 0.426464, -0.018208, 0.487814, -0.33006, -0.62106, 0.422261, -0.260646,
];
const D_VALUE: [f32; 40] = [
    -0.5, 1.25, -0.25, 1.5, 0.217047, -1.217219, 0.234388, -0.374789, 0.282953, -1.282781, 0.765612,
    -1.625211, 0.614228, -0.225934, -0.047773, 0.035558, 0.31701, -0.060191, -0.37819, 0.739241, 0.049808,
    0.474008, 0.11594, 0.14636, 0.501756, 0.313448, -0.932035, 0.250889, -0.59362, 0.309907, 0.139837,
    -0.098257, -0.143917, 0.192857, 0.355325, -0.350845, 0.504735, -0.504095, 0.496895, -1.722946,
];
