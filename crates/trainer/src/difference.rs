//! What tells one configuration from another, by its values: comments and the order of keys do not count.

use serde_json::{Map, Value};

/// The keys that change nothing of the result but its rounding.
const WITHOUT_EFFECT: [&str; 4] =
    ["trainer.threads", "trainer.device", "trainer.cuda_graphs", "encoder.recompute_activations"];

/// The first key in which two configurations differ, with both values.
pub(crate) fn first_difference(old: &Map<String, Value>, new: &Map<String, Value>) -> Option<String> {
    let (key, old, new) = of_tables("", old, new)?;
    let was = old.map_or("was not set".into(), |value| format!("was {value}"));
    let is = new.map_or("it is not set".into(), |value| format!("it is {value}"));
    let reason = match key.as_str() {
        "trainer.epochs" => " (the learning-rate schedule depends on `epochs`)",
        _ => "",
    };
    Some(format!("`{key}` {was}, now {is}{reason}"))
}

type Difference<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn of_tables<'a>(
    path: &str,
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
) -> Option<Difference<'a>> {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    let full = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    old.keys()
        .chain(added)
        .filter(|key| !WITHOUT_EFFECT.contains(&full(key).as_str()))
        .find_map(|key| of_values(full(key), old.get(key), new.get(key)))
}

fn of_values<'a>(path: String, old: Option<&'a Value>, new: Option<&'a Value>) -> Option<Difference<'a>> {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => of_tables(&path, old, new),
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            let place = |place: usize| {
                let name = old.get(place).or(new.get(place)).and_then(|element| element["name"].as_str());
                format!("{path}.{}", name.map_or(place.to_string(), str::to_owned))
            };
            (0..old.len().max(new.len())).find_map(|i| of_values(place(i), old.get(i), new.get(i)))
        }
        (Some(Value::Number(old)), Some(Value::Number(new))) if old.as_f64() == new.as_f64() => None,
        _ => (old != new).then_some((path, old, new)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polytask_config::Document;

    const OLD: &str = "[trainer]\nepochs = 3\nlearning_rate = 1e-3\n[[tasks]]\nname = 'mood'\nweight = 1\n";

    fn difference(new: &str) -> Option<String> {
        let [old, new] = [OLD, new].map(|text| Document::parse("config.toml", text).unwrap());
        first_difference(old.values(), new.values())
    }

    #[test]
    fn comments_order_threads_graphs_and_ways_to_write_a_number_do_not_count() {
        let new = "tasks = [{ weight = 1.0, name = 'mood' }] # one\n\
                   [trainer]\nthreads = 4\ncuda_graphs = true\nlearning_rate = 0.001\nepochs = 3\n";
        assert_eq!(difference(new), None);
    }

    #[test]
    fn the_first_key_that_differs_is_named() {
        for (old, new, expected) in [
            ("1e-3", "0.5", "`trainer.learning_rate` was 0.001, now it is 0.5"),
            ("learning_rate = 1e-3\n", "", "`trainer.learning_rate` was 0.001, now it is not set"),
            ("epochs", "seed = 7\nepochs", "`trainer.seed` was not set, now it is 7"),
            ("weight = 1", "weight = 2", "`tasks.mood.weight` was 1, now it is 2"),
            (
                "epochs = 3",
                "epochs = 4",
                "`trainer.epochs` was 3, now it is 4 (the learning-rate schedule depends on `epochs`)",
            ),
        ] {
            assert_eq!(difference(&OLD.replace(old, new)).unwrap(), expected);
        }
        let more = format!("{OLD}[[tasks]]\nname = 'topic'\n");
        assert_eq!(difference(&more).unwrap(), r#"`tasks.topic` was not set, now it is {"name":"topic"}"#);
    }
}
