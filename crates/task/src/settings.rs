use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The keys that every task has, beside those of its type.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSettings {
    /// The task's name, in reports, answers and parameter names.
    pub name: String,
    /// Where its labels stand: `data set.column`, or a list of such where several data sets feed the task. A task that needs
    /// no labels names the data sets alone.
    pub label: Labels,
    /// The weight of its loss in the sum.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0))]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

/// One `data set.column`, or several.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Labels {
    /// From one data set.
    One(String),
    /// From several data sets.
    Several(Vec<String>),
}

impl Labels {
    /// Each place as (data set, column); `None` for the column where the dot is missing.
    pub fn places(&self) -> Vec<(&str, Option<&str>)> {
        let each: Vec<&String> = match self {
            Labels::One(place) => vec![place],
            Labels::Several(places) => places.iter().collect(),
        };
        each.into_iter()
            .map(|place| match place.split_once('.') {
                Some((set, column)) => (set, Some(column)),
                None => (place.as_str(), None),
            })
            .collect()
    }

    /// Whether one of the places is in this data set.
    pub fn names(&self, data_set: &str) -> bool {
        self.places().iter().any(|(set, _)| *set == data_set)
    }

    /// The column of one data set that holds the labels.
    pub fn column(&self, data_set: &str) -> Option<&str> {
        self.places().into_iter().find(|(set, _)| *set == data_set).and_then(|(_, column)| column)
    }
}
