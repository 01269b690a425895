//! The result of an evaluation, to print and to keep.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use unicode_width::UnicodeWidthStr;

/// How well one task was predicted. `Display` prints it as a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the main metric, of which more is better: `accuracy`, `micro F1`, `entity F1`, `R²`.
    pub metric: String,
    /// Value of the main metric.
    #[serde(deserialize_with = "or_nan")]
    pub value: f64,
    /// Further figures by name, in the order in which they are printed.
    #[serde(deserialize_with = "each_or_nan")]
    pub summary: Vec<(String, f64)>,
    /// One row a class; empty where a task has no classes.
    pub classes: Vec<ClassScore>,
    /// Micro, macro and weighted average over the classes; empty where a task has no classes.
    pub averages: Vec<ClassScore>,
    /// How many examples were scored.
    pub examples: usize,
}

/// Precision, recall and F1 of one class, or an average of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Name of the class or of the average.
    pub label: String,
    /// Of what was predicted as this class, the share that is right, 0 to 1.
    #[serde(deserialize_with = "or_nan")]
    pub precision: f64,
    /// Of what is this class in the gold labels, the share that was found, 0 to 1.
    #[serde(deserialize_with = "or_nan")]
    pub recall: f64,
    /// Harmonic mean of precision and recall, 0 to 1.
    #[serde(deserialize_with = "or_nan")]
    pub f1: f64,
    /// How often the class occurs in the gold labels.
    pub support: usize,
}

/// What is no finite number is null in JSON, and NaN when it is read back.
fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn each_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, f64)>, D::Error> {
    let figures = Vec::<(String, Option<f64>)>::deserialize(deserializer)?;
    Ok(figures.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = std::iter::once((self.metric.as_str(), self.value))
            .chain(self.summary.iter().map(|(name, value)| (name.as_str(), *value)));
        let names = figures.clone().map(|(name, _)| name);
        let labels = self.classes.iter().chain(&self.averages).map(|score| score.label.as_str());
        let width = names.chain(labels).map(|label| label.width()).max().unwrap_or(0);

        if !self.classes.is_empty() {
            writeln!(
                f,
                "{:width$}  {:>9}  {:>9}  {:>9}  {:>9}\n",
                "", "precision", "recall", "F1", "support"
            )?;
            write_scores(f, &self.classes, width)?;
            write_scores(f, &self.averages, width)?;
        }
        for (name, value) in figures {
            write_label(f, name, width)?;
            writeln!(f, "  {value:>9.4}")?;
        }
        write_label(f, "examples", width)?;
        write!(f, "  {:>9}", self.examples)
    }
}

fn write_scores(f: &mut fmt::Formatter<'_>, scores: &[ClassScore], width: usize) -> fmt::Result {
    for ClassScore { label, precision, recall, f1, support } in scores {
        write_label(f, label, width)?;
        writeln!(f, "  {precision:>9.4}  {recall:>9.4}  {f1:>9.4}  {support:>9}")?;
    }
    writeln!(f)
}

/// Right-aligned by columns on the screen: the formatter's own width counts characters, and some take two columns.
fn write_label(f: &mut fmt::Formatter<'_>, label: &str, width: usize) -> fmt::Result {
    write!(f, "{:indent$}{label}", "", indent = width.saturating_sub(label.width()))
}

#[cfg(test)]
mod tests {
    use super::super::classification_report;
    use super::*;

    fn labels() -> Vec<String> {
        ["gut", "très bien", "良い"].map(str::to_owned).to_vec()
    }

    #[test]
    fn prints_an_aligned_table() {
        let report = classification_report(&labels(), &[0, 1, 1, 2], &[0, 1, 2, 2]);
        let expected = "                  precision     recall         F1    support

             gut     1.0000     1.0000     1.0000          1
       très bien     1.0000     0.5000     0.6667          2
            良い     0.5000     1.0000     0.6667          1

   micro average     0.7500     0.7500     0.7500          4
   macro average     0.8333     0.8333     0.7778          4
weighted average     0.8750     0.7500     0.7500          4

        accuracy     0.7500
        micro F1     0.7500
        macro F1     0.7778
     weighted F1     0.7500
        examples          4";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn survives_json() {
        let report = classification_report(&labels(), &[0, 1, 1, 2], &[0, 1, 2, 2]);
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn what_is_no_finite_number_is_read_back_as_nan() {
        let mut report = classification_report(&labels(), &[0, 1, 1, 2], &[0, 1, 2, 2]);
        (report.value, report.summary[0].1, report.classes[0].f1) = (f64::NAN, f64::INFINITY, f64::NAN);
        let read: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert!(read.value.is_nan() && read.summary[0].1.is_nan() && read.classes[0].f1.is_nan());
        assert_eq!((read.summary[1].1, &read.classes[1]), (report.summary[1].1, &report.classes[1]));
    }
}
