use super::*;
use polytask_tensor::testing::{assert_close, assert_same_on_threads, sample};
use polytask_tensor::{Ids, Offsets};

fn config(norm: Norm, positions: Positions) -> Transformer {
    Transformer { width: 8, heads: 2, word_shapes: 5, norm, positions, ..Transformer::default() }
}

/// Two texts of 3 and 2 words; the second word of the first has two pieces.
fn input() -> EncoderInput {
    EncoderInput {
        pieces: Ids::from(vec![3, 4, 5, 6, 7, 3]),
        unknown_piece: 0,
        texts: Offsets::from_lengths([4, 2]),
        words: Offsets::from_lengths([1, 2, 1, 1, 1]),
        shapes: vec![[1, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6], [5, 4, 3, 2], [1, 2, 3, 4]],
        adapter: None,
    }
}

fn build(config: &Transformer) -> (Parameters, Box<dyn Encoder>) {
    let mut parameters = Parameters::default();
    let encoder = config.build(10, 16, &[], &mut ParameterBuilder::random(&mut parameters, 1)).unwrap();
    (parameters, encoder)
}

#[test]
fn every_parameter_gets_a_gradient() {
    for norm in [Norm::Pre, Norm::Post] {
        for positions in [Positions::Learnt, Positions::Sinusoidal, Positions::None] {
            let (parameters, encoder) = build(&config(norm, positions));
            let states =
                encoder.forward(&parameters, &input(), &mut Pass::training(1, 1), &mut |_| {}).unwrap();
            assert_eq!(states.shape(), [6, 8]);
            let gradients = states.backward_from(sample(&[6, 8], 1)).unwrap();
            for (_, parameter) in parameters.iter() {
                let gradient = gradients.get(parameter.tensor());
                let moves = gradient.is_some_and(|g| g.values().iter().any(|v| v.abs() > 1e-7));
                assert!(moves, "{norm:?} {positions:?} {}", parameter.name);
            }
        }
    }
}

#[test]
fn a_batch_equals_one_by_one() {
    let (parameters, encoder) = build(&config(Norm::Pre, Positions::Learnt));
    let together = encoder.forward(&parameters, &input(), &mut Pass::inference(), &mut |_| {}).unwrap();
    let whole = input();
    let second = EncoderInput {
        pieces: Ids::from(&whole.pieces.as_slice()[4..]),
        unknown_piece: 0,
        texts: Offsets::from_lengths([2]),
        words: Offsets::from_lengths([1, 1]),
        shapes: whole.shapes[3..].to_vec(),
        adapter: None,
    };
    let alone = encoder.forward(&parameters, &second, &mut Pass::inference(), &mut |_| {}).unwrap();
    // Sums of 8 and 32 products in f32, in blocks that depend on the number of rows.
    assert_close(&together.data()[32..], alone.data(), 1e-5);
}

#[test]
fn order_matters_only_where_something_tells_it() {
    let reversed = EncoderInput {
        pieces: Ids::from(vec![3, 7]),
        unknown_piece: 0,
        texts: Offsets::from_lengths([2]),
        words: Offsets::from_lengths([1, 1]),
        shapes: vec![[1, 2, 3, 4], [5, 4, 3, 2]],
        adapter: None,
    };
    let forward = EncoderInput {
        pieces: Ids::from(vec![7, 3]),
        shapes: vec![[5, 4, 3, 2], [1, 2, 3, 4]],
        ..reversed.clone()
    };
    let same_state = |config: &Transformer| {
        let (parameters, encoder) = build(config);
        let state = |input| encoder.forward(&parameters, input, &mut Pass::inference(), &mut |_| {}).unwrap();
        let (a, b) = (state(&reversed), state(&forward));
        a.row(0).iter().zip(b.row(1)).all(|(a, b)| (a - b).abs() < 1e-5)
    };
    let blind = Transformer { window: 0, ..config(Norm::Pre, Positions::None) };
    assert!(same_state(&blind));
    assert!(!same_state(&Transformer { window: 1, ..blind.clone() }));
    assert!(!same_state(&Transformer { positions: Positions::Sinusoidal, ..blind.clone() }));
    assert!(!same_state(&Transformer { positions: Positions::Learnt, ..blind }));
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let config = Transformer { width: 64, ..Transformer::default() };
    let (parameters, encoder) = build(&config);
    let pieces: Vec<u32> = (0..400).map(|i| i % 10).collect();
    let input = EncoderInput {
        pieces: Ids::from(pieces),
        unknown_piece: 0,
        texts: Offsets::from_lengths((0..40).map(|_| 10)),
        words: Offsets::from_lengths((0..400).map(|_| 1)),
        shapes: (0..400).map(|i| [i, i / 2, i / 3, i / 4]).collect(),
        adapter: None,
    };
    assert_same_on_threads(|| {
        let states = encoder.forward(&parameters, &input, &mut Pass::training(1, 1), &mut |_| {}).unwrap();
        let mut results = vec![states.data().to_vec()];
        let gradients = states.backward_from(sample(&[400, 64], 1)).unwrap();
        results.extend(
            parameters.iter().filter_map(|(_, p)| Some(gradients.get(p.tensor())?.values().to_vec())),
        );
        results
    });
}

#[test]
fn contradictions_are_refused() {
    let message = |config: Transformer| {
        let mut parameters = Parameters::default();
        config.build(10, 16, &[], &mut ParameterBuilder::random(&mut parameters, 1)).unwrap_err().to_string()
    };
    let found = message(Transformer { width: 10, heads: 4, ..Transformer::default() });
    assert_eq!(found, "transformer: `width` (10) must be a multiple of `heads` (4)");
    let found = message(Transformer { dropout: 1.0, ..Transformer::default() });
    assert_eq!(found, "transformer: `dropout` must lie in [0, 1); found 1");
}

#[test]
fn a_text_beyond_the_learnt_positions_is_refused() {
    let (parameters, encoder) = build(&config(Norm::Pre, Positions::Learnt));
    let long = EncoderInput {
        pieces: Ids::from(vec![1; 17]),
        unknown_piece: 0,
        texts: Offsets::from_lengths([17]),
        words: Offsets::from_lengths((0..17).map(|_| 1)),
        shapes: vec![[0; 4]; 17],
        adapter: None,
    };
    let error =
        encoder.forward(&parameters, &long, &mut Pass::inference(), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "positions: a text of 17 pieces, but only 16 learnt positions");
}

#[test]
fn recomputed_layers_give_the_same_bits() {
    for norm in [Norm::Pre, Norm::Post] {
        let results = |recompute_activations| {
            let config = Transformer { recompute_activations, ..config(norm, Positions::Learnt) };
            let (parameters, encoder) = build(&config);
            let states =
                encoder.forward(&parameters, &input(), &mut Pass::training(1, 1), &mut |_| {}).unwrap();
            let mut results = vec![states.data().to_vec()];
            let gradients = states.backward_from(sample(&[6, 8], 1)).unwrap();
            let of = |tensor: &Tensor| gradients.get(tensor).unwrap().to_dense().unwrap().data().to_vec();
            results.extend(parameters.iter().map(|(_, parameter)| of(parameter.tensor())));
            results
        };
        assert_eq!(results(true), results(false), "{norm:?}");
    }
}
