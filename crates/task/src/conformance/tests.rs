//! The kit finds each fault that it is there to find.

use std::panic::catch_unwind;

use anyhow::{Result, bail};
use polytask_data::{Label, Place, Row};
use polytask_tensor::{Tensor, ops};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check;
use crate::metrics::{Report, regression_report};
use crate::{Prediction, Target, Task, TaskOutput, Text};

/// Predicts a number, with a fault.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Faulty {
    /// What is wrong with it.
    fault: Fault,
    #[serde(skip)]
    first_label: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
enum Fault {
    None,
    Forgets,
    PanicsAtALabel,
    AddsLosses,
    Miscounts,
    CutsTheGradient,
    HalvesTheGradient,
    MixesTexts,
    Boasts,
    AnswersNothing,
    PraisesAll,
}

polytask_config::register!("task", "faulty", Faulty);

#[typetag::serde(name = "faulty")]
impl Task for Faulty {
    fn fit(&mut self, labels: &[(&Label, Text<'_>)]) -> Result<()> {
        if let (Fault::Forgets, Some((Label::Number(number), _))) = (self.fault, labels.first()) {
            self.first_label = Some(*number as f32);
        }
        Ok(())
    }

    fn outputs(&self) -> usize {
        1
    }

    fn target(&self, label: &Label, _text: Text<'_>) -> Result<Target> {
        match label {
            Label::Number(number) => {
                Ok(Target::Values(vec![*number as f32 - self.first_label.unwrap_or(0.0)]))
            }
            Label::Spans(_) if self.fault == Fault::PanicsAtALabel => panic!("a span"),
            _ => bail!("expected a number"),
        }
    }

    fn loss(&self, output: TaskOutput<'_>, targets: &[&Target]) -> Result<Tensor> {
        let targets = Tensor::new(Target::all_values(targets)?, output.logits.shape())?;
        let loss = |logits| ops::mean_squared_error(logits, &targets);
        Ok(match self.fault {
            Fault::AddsLosses => ops::scale(&loss(output.logits)?, targets.len() as f32)?,
            Fault::CutsTheGradient => loss(&output.logits.detach())?,
            Fault::HalvesTheGradient => {
                let loss = loss(output.logits)?;
                ops::multiply(&loss, &loss.detach())?
            }
            _ => loss(output.logits)?,
        })
    }

    fn loss_denominator(&self, output: TaskOutput<'_>, _targets: &[&Target]) -> Result<f64> {
        let rows = output.logits.rows_columns().0 as f64;
        Ok(if self.fault == Fault::Miscounts { rows.sqrt() } else { rows })
    }

    fn decode(&self, output: TaskOutput<'_>) -> Result<Vec<Prediction>> {
        let values = output.logits.data();
        let shift = if self.fault == Fault::MixesTexts { values[0] } else { 0.0 };
        let confidence = if self.fault == Fault::Boasts { 1.1 } else { 1.0 };
        let predict =
            |value| Prediction { target: Target::Values(vec![value - shift]), confidence: vec![confidence] };
        Ok(values.iter().map(predict).collect())
    }

    fn answer(&self, prediction: &Prediction, _text: Text<'_>) -> Value {
        if self.fault == Fault::AnswersNothing { Value::Null } else { json!(prediction.confidence) }
    }

    fn report(&self, gold: &[&Target], predicted: &[&Target]) -> Result<Report> {
        let values =
            |targets| Target::all_values(targets).map(|values| values.into_iter().map(f64::from).collect());
        let (gold, predicted): (Vec<f64>, Vec<f64>) = (values(gold)?, values(predicted)?);
        let mut report = regression_report(&gold, &predicted);
        if self.fault == Fault::PraisesAll {
            report.value = 1.0;
        }
        Ok(report)
    }
}

fn rows() -> Vec<Row> {
    let numbers = [Some(1.0), Some(-2.0), None, Some(0.5), Some(3.0)];
    let row = |number: Option<f64>| {
        let mut row = Row::from_text("a few words", Place::new("numbers.jsonl", 1));
        row.labels.extend(number.map(|number| ("number".to_owned(), Label::Number(number))));
        row
    };
    numbers.into_iter().map(row).collect()
}

fn complaint(configuration: &str) -> Option<String> {
    let panic = catch_unwind(|| check(configuration, &rows(), "number")).err()?;
    Some(
        panic
            .downcast_ref::<String>()
            .map_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned(), Clone::clone),
    )
}

#[test]
fn each_fault_is_found() {
    let faults = [
        ("Forgets", "a saved and loaded task is another"),
        ("PanicsAtALabel", "a span"),
        ("AddsLosses", "value 0: found "),
        ("Miscounts", "value 0: found "),
        ("CutsTheGradient", "backward failed: the tensor depends on no leaf"),
        ("HalvesTheGradient", "input 0, value 0: backward "),
        ("MixesTexts", "value 0: found "),
        ("Boasts", "a confidence is no probability: [1.1]"),
        ("AnswersNothing", "the answer for `a few words` is null"),
        ("PraisesAll", "gold labels score 1, wrong ones 1"),
    ];
    for (fault, expected) in faults {
        let found = complaint(&format!("type = \"faulty\"\nfault = \"{fault}\"")).unwrap_or_default();
        assert!(found.contains(expected), "{fault}: {found:?}");
    }
}

#[test]
fn a_task_without_fault_passes() {
    assert_eq!(complaint("type = \"faulty\"\nfault = \"None\""), None);
    let found = complaint("type = \"faulty\"").unwrap();
    assert!(found.contains("lacks the key `fault`"), "{found}");
}
