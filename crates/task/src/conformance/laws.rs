use polytask_data::{Label, Span};
use polytask_tensor::testing::{assert_close, assert_same_on_threads, check_gradients_within};
use polytask_tensor::{Error, Tensor};

use super::bench::{Bench, Example, VOCABULARY, hidden};
use super::passed;
use crate::{HiddenPiece, Level, Prediction, Target};

/// Two ways to the same sum of f32 values of a size near 1, in another order.
const ROUNDING: f32 = 1e-5;
/// Central differences of a loss, itself one f32, resolve gradients to some 1e-3 of the largest.
const DIFFERENCES: f64 = 1e-2;
/// How much of the loss the steps must take away at least.
const LEARNT: f32 = 0.1;
const STEPS: usize = 48;

pub(super) fn foreign_labels_do_not_panic(bench: &Bench) {
    let nowhere = Span { start: 7, end: usize::MAX, label: String::new() };
    let labels = [
        Label::Text(String::new()),
        Label::Text("\u{0} no such label".into()),
        Label::Number(f64::NAN),
        Label::Number(-1e300),
        Label::List(Vec::new()),
        Label::List(vec![String::new(); 1000]),
        Label::Spans(Vec::new()),
        Label::Spans(vec![nowhere]),
    ];
    for (label, example) in labels.iter().flat_map(|label| bench.examples.iter().map(move |e| (label, e))) {
        let _ = bench.task.target(label, example.text());
        let _ = bench.task.findings(label, example.text());
    }
}

pub(super) fn other_texts_do_not_change_the_loss(bench: &Bench) {
    let batch: Vec<&Example> = bench.examples.iter().collect();
    let chosen = |text: usize| batch[text].target.is_some() && !text.is_multiple_of(3);
    let alone: Vec<&Example> =
        (0..batch.len()).filter(|&text| chosen(text)).map(|text| batch[text]).collect();
    assert!(!alone.is_empty(), "the rows need at least two with a label");
    assert_close(bench.loss_within(&batch, chosen).data(), bench.loss(&alone).data(), ROUNDING);
}

pub(super) fn a_batch_taken_twice_has_the_same_loss(bench: &Bench) {
    let once = bench.labelled();
    let twice = [once.as_slice(), &once].concat();
    assert_close(bench.loss(&twice).data(), bench.loss(&once).data(), ROUNDING);
}

pub(super) fn a_gradient_reaches_every_parameter(bench: &Bench) {
    let labelled = bench.labelled();
    let gradients = passed("backward", bench.loss(&labelled).backward());
    for (_, parameter) in bench.parameters.iter() {
        let gradient = gradients.get(parameter.tensor()).map(|gradient| gradient.values());
        let reached = gradient.is_some_and(|values| values.iter().any(|value| *value != 0.0));
        assert!(reached, "no gradient reaches the parameter `{}`", parameter.name);
    }
    let loss = |values: &[Tensor]| Ok::<_, Error>(bench.loss_at(&labelled, values));
    check_gradients_within(DIFFERENCES, &bench.values(), loss);
}

pub(super) fn the_loss_of_a_batch_is_that_of_its_parts(bench: &Bench) {
    let whole = bench.labelled();
    let parts = whole.split_at(whole.len() / 3);
    let sum = |examples: &[&Example]| match examples {
        [] => 0.0,
        examples => f64::from(bench.loss(examples).data()[0]) * bench.loss_denominator(examples),
    };
    let of_parts = (sum(parts.0) + sum(parts.1)) / bench.loss_denominator(&whole);
    assert_close(&[of_parts as f32], bench.loss(&whole).data(), ROUNDING);
}

pub(super) fn a_batch_decodes_as_its_texts_do(bench: &Bench) {
    let batch: Vec<&Example> = bench.examples.iter().collect();
    let together = bench.decode(&batch);
    assert_eq!(together.len(), batch.len(), "decode gives one prediction a text");
    for (example, together) in batch.into_iter().zip(together) {
        let alone = bench.decode(&[example]);
        let [alone] = alone.as_slice() else {
            panic!("decode gave {} predictions for one text", alone.len());
        };
        assert_close(&together.confidence, &alone.confidence, ROUNDING);
        match (&together.target, &alone.target) {
            (Target::Values(together), Target::Values(alone)) => assert_close(together, alone, ROUNDING),
            (together, alone) => assert_eq!(together, alone, "a batch decodes otherwise than one by one"),
        }
    }
}

pub(super) fn predictions_have_the_form_of_targets(bench: &Bench) {
    let batch: Vec<&Example> = bench.examples.iter().collect();
    for (example, Prediction { target, confidence }) in batch.iter().zip(bench.decode(&batch)) {
        let expected = match (&example.target, bench.task.level()) {
            (Some(gold), _) => Some(length(gold)),
            (None, Level::Word) => Some(example.row.words.len()),
            (None, Level::Text | Level::Piece) => None,
        };
        let found = length(&target);
        assert!(
            expected.is_none_or(|expected| expected == found),
            "a target has {expected:?} entries, a prediction {found}"
        );
        let is_probability = |value: &f32| (0.0..=1.0).contains(value);
        assert!(confidence.iter().all(is_probability), "a confidence is no probability: {confidence:?}");
        let answer = bench.task.answer(&Prediction { target, confidence }, example.text());
        assert!(!answer.is_null(), "the answer for `{}` is null", example.row.text);
    }
}

fn length(target: &Target) -> usize {
    match target {
        Target::Ids(ids) => ids.len(),
        Target::Values(values) => values.len(),
    }
}

pub(super) fn saved_and_loaded_are_equal(bench: &Bench, reloaded: &Bench) {
    let state = |bench: &Bench| {
        let names: Vec<String> =
            bench.parameters.iter().map(|(_, parameter)| parameter.name.clone()).collect();
        let targets: Vec<_> = bench.examples.iter().map(|example| example.target.clone()).collect();
        let loss = bench.loss(&bench.labelled()).data().to_vec();
        (names, targets, loss, bench.decode(&bench.examples.iter().collect::<Vec<_>>()))
    };
    assert_eq!(state(bench), state(reloaded), "a saved and loaded task is another");
}

pub(super) fn threads_change_nothing(bench: &Bench) {
    let labelled = bench.labelled();
    // Enough rows for the operations to split them over the threads.
    let many: Vec<&Example> = labelled.iter().copied().cycle().take(4096).collect();
    assert_same_on_threads(|| {
        let loss = bench.loss(&many);
        let mut results = vec![loss.data().to_vec()];
        let gradients = passed("backward", loss.backward());
        let leaves = bench.parameters.iter().map(|(_, parameter)| parameter.tensor());
        results.extend(leaves.filter_map(|leaf| Some(gradients.get(leaf)?.values().to_vec())));
        results.extend(bench.decode(&many).into_iter().map(|prediction| prediction.confidence));
        results
    });
}

pub(super) fn hidden_pieces_are_of_the_text(bench: &Bench) {
    for (stream, example) in bench.examples.iter().enumerate() {
        let (ids, found) = hidden(bench.task.as_ref(), &example.row, stream);
        assert!(found.is_sorted_by(|a, b| a.place < b.place), "hidden places do not ascend: {found:?}");
        let exists =
            |hidden: &HiddenPiece| hidden.place < ids.len() && (hidden.stand_in as usize) < VOCABULARY;
        assert!(found.iter().all(exists), "of {} pieces and {VOCABULARY} kinds: {found:?}", ids.len());
        assert_eq!(found, hidden(bench.task.as_ref(), &example.row, stream).1, "the same draw hides others");
    }
}

pub(super) fn gold_is_best(bench: &Bench) {
    let labelled = bench.labelled();
    let gold: Vec<&Target> = labelled.iter().filter_map(|example| example.target.as_ref()).collect();
    let value = |predicted: &[&Target]| {
        let report = passed("report", bench.task.report(&gold, predicted));
        assert_eq!(report.examples, gold.len(), "the report counts the texts");
        report.value
    };
    let perfect = value(&gold);
    let predictions = bench.decode(&labelled);
    let predicted = value(&predictions.iter().map(|prediction| &prediction.target).collect::<Vec<_>>());
    assert!(perfect >= predicted, "gold labels score {perfect}, predictions {predicted}");

    let mut shifted = gold.clone();
    shifted.rotate_left(1);
    assert_ne!(gold, shifted, "the rows need at least two labels that differ");
    let wrong = value(&shifted);
    assert!(perfect > wrong, "gold labels score {perfect}, wrong ones {wrong}");
}

/// Gradient steps, each halved until it leads downhill.
pub(super) fn the_loss_falls(mut bench: Bench) {
    let loss_of = |bench: &Bench| bench.loss(&bench.labelled());
    let first = passed("loss", loss_of(&bench).item());
    let (mut best, mut rate) = (first, 1.0);
    for _ in 0..STEPS {
        let before = bench.parameters.clone();
        let gradients = passed("backward", loss_of(&bench).backward());
        for (id, parameter) in before.iter() {
            let Some(gradient) = gradients.get(parameter.tensor()) else { continue };
            let gradient = passed("the whole gradient", gradient.to_dense());
            bench.parameters.update(id, |values| {
                values.iter_mut().zip(gradient.data()).for_each(|(v, g)| *v -= rate * g)
            });
        }
        let loss = passed("loss", loss_of(&bench).item());
        if loss < best {
            (best, rate) = (loss, rate * 1.5);
        } else {
            (bench.parameters, rate) = (before, rate * 0.5);
        }
    }
    assert!(
        first - best > LEARNT * first.abs(),
        "{STEPS} gradient steps bring the loss from {first} only to {best}"
    );
}
