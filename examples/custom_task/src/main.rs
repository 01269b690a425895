//! A task type from outside, and a `main` that starts the stock command line with it.
use anyhow::{Result, bail, ensure};
use polytask_data::Label;
use polytask_task::metrics::{Report, regression_report};
use polytask_task::{Prediction, Target, Task, TaskOutput, Text, describe, rounded};
use polytask_tensor::{Tensor, ops};
use serde_json::{Value, json};

/// Predicts a rating, such as 1 to 5 stars. Labels: numbers. Answer: `rating`. Loss: mean squared error. Metric: R².
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rating {
    /// The lowest rating there is.
    low: f32,
    /// The highest rating there is.
    high: f32,
}
polytask_config::register!("task", "rating", Rating);
#[typetag::serde(name = "rating")]
impl Task for Rating {
    fn fit(&mut self, _labels: &[(&Label, Text<'_>)]) -> Result<()> {
        ensure!(self.low < self.high, "`low` must be less than `high`; found {} and {}", self.low, self.high);
        Ok(())
    }
    fn outputs(&self) -> usize {
        1
    }
    fn target(&self, label: &Label, _text: Text<'_>) -> Result<Target> {
        let (low, high) = (self.low, self.high);
        match label.number().map(|number| number as f32) {
            Some(rating) if (low..=high).contains(&rating) => Ok(Target::Values(vec![rating])),
            _ => bail!("expected a number from {low} to {high}; found {}", describe(label)),
        }
    }
    fn loss(&self, output: TaskOutput<'_>, targets: &[&Target]) -> Result<Tensor> {
        let share = |rating: &f32| (rating - self.low) / (self.high - self.low);
        let targets = Target::all_values(targets)?.iter().map(share).collect();
        let targets = Tensor::new(targets, output.logits.shape())?;
        Ok(ops::mean_squared_error(&ops::sigmoid(output.logits)?, &targets)?)
    }
    fn decode(&self, output: TaskOutput<'_>) -> Result<Vec<Prediction>> {
        let rating = |share: &f32| Target::Values(vec![self.low + (self.high - self.low) * share]);
        let predict = |share| Prediction { target: rating(share), confidence: Vec::new() };
        Ok(ops::sigmoid(&output.logits.detach())?.data().iter().map(predict).collect())
    }
    fn answer(&self, prediction: &Prediction, _text: Text<'_>) -> Value {
        json!({ "rating": prediction.target.values().map_or(0.0, |values| rounded(values[0])) })
    }
    fn report(&self, gold: &[&Target], predicted: &[&Target]) -> Result<Report> {
        let values = |targets| Ok(Target::all_values(targets)?.into_iter().map(f64::from).collect());
        let (gold, predicted): (Result<Vec<_>>, Result<Vec<_>>) = (values(gold), values(predicted));
        Ok(regression_report(&gold?, &predicted?))
    }
}

fn main() -> std::process::ExitCode {
    polytask_cli::run()
}
