//! A model in bf16 and one of 8-bit integers answer as the one in f32 does, nearly.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use polytask_data::PackedBatch;
use polytask_model::{Model, ModelFolder, Precision};
use polytask_tests::{Workspace, answers, bits, texts};

fn trained(assignments: &[&str]) -> (Workspace, ModelFolder) {
    let size = ["encoder.width=64", "encoder.heads=4", "trainer.epochs=6"];
    let workspace = Workspace::new(&[&size[..], assignments].concat());
    let folder = workspace.train("model").unwrap();
    (workspace, folder)
}

/// The logits of the sentiment of some texts.
fn logits(model: &Model) -> Vec<f32> {
    let encode = |text: &String| model.tokenizer().encode(text, &polytask_data::split_words(text)).unwrap();
    let encoded: Vec<_> = texts().iter().map(encode).collect();
    let task = model.tasks_named(&["sentiment".into()]).unwrap();
    let forward = model.infer(&PackedBatch::pack(&encoded.iter().collect::<Vec<_>>()), &task).unwrap();
    forward.outputs[task[0]].as_ref().unwrap().logits.data().to_vec()
}

/// The root of the mean square of the difference, of that of the values.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let difference = squares(&mut found.iter().zip(expected).map(|(f, e)| f - e));
    (difference / squares(&mut expected.iter().copied())).sqrt()
}

#[test]
fn a_quantized_model_is_near_and_survives_its_folder() {
    let (workspace, folder) = trained(&[]);
    let mut model = folder.load().unwrap();
    let expected = logits(&model);
    model.quantize();
    let found = logits(&model);
    assert_ne!(found, expected);
    // 8 bits of each weight and each activation: below 1 % a product, and some ten products in a row.
    assert!(relative_error(&found, &expected) < 0.05, "{}", relative_error(&found, &expected));

    let quantized = workspace.model_folder("quantized");
    quantized.save(&model, model.parameters()).unwrap();
    let loaded = quantized.load().unwrap();
    assert_eq!(bits(loaded.parameters()), bits(model.parameters()));
    assert_eq!(logits(&loaded), found);
    let size = |folder: &ModelFolder| std::fs::metadata(folder.parameters()).unwrap().len();
    assert!(2 * size(&quantized) < size(&folder));
}

#[test]
fn bf16_is_near_and_can_be_left_again() {
    let (_workspace, folder) = trained(&[]);
    let mut model = folder.load().unwrap();
    let expected = logits(&model);
    model.set_precision(Precision::Bf16);
    let found = logits(&model);
    assert_ne!(found, expected);
    // 8 bits of mantissa: below 0.4 % an operand.
    assert!(relative_error(&found, &expected) < 0.03, "{}", relative_error(&found, &expected));
    model.set_precision(Precision::F32);
    assert_eq!(logits(&model), expected);
}

#[test]
fn a_model_trained_in_bf16_remembers_it_and_learns_as_well() {
    let (_workspace, folder) = trained(&["trainer.precision=bf16"]);
    let model = folder.load().unwrap();
    assert_eq!(model.config().precision, Precision::Bf16);
    let dev = |folder: &ModelFolder| folder.evaluation().unwrap().unwrap();
    let (_other, in_f32) = trained(&[]);
    for ((task, bf16), (_, f32)) in dev(&folder).iter().zip(&dev(&in_f32)) {
        // 24 dev texts: a text is 4 points.
        assert!((bf16.value - f32.value).abs() < 0.2, "{task}: {} and {}", bf16.value, f32.value);
    }
    assert!(answers(&folder, &texts(), &[]).contains("sentiment"));
}
