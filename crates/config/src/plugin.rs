//! The registry of plugins, filled at link time.

use crate::{Error, Result, did_you_mean};
use schemars::Schema;

/// One registered plugin: what the configuration may name under `type`. Made by [`register!`](crate::register).
#[derive(Debug)]
pub struct Plugin {
    /// What it is: "task", "encoder", "optimizer", "sampler", "loss weighting".
    pub kind: &'static str,
    /// What the user writes as `type`; the name in the typetag line.
    pub name: &'static str,
    /// The module that registered it.
    pub module: &'static str,
    /// Its keys and their documentation.
    pub schema: fn() -> Schema,
}

inventory::collect!(Plugin);

/// Registers a type as a plugin: kind, name, type. It stands beside the typetag line and names the same name.
///
/// ```
/// use polytask_config::{plugin, schemars::JsonSchema};
///
/// /// Draws rows in proportion to the size of each data set.
/// #[derive(JsonSchema)]
/// #[schemars(crate = "polytask_config::schemars")]
/// struct Proportional {}
///
/// polytask_config::register!("sampler", "proportional", Proportional);
///
/// assert_eq!(plugin("sampler", "proportional")?.name, "proportional");
/// # Ok::<(), polytask_config::Error>(())
/// ```
#[macro_export]
macro_rules! register {
    ($kind:expr, $name:expr, $type:ty $(,)?) => {
        $crate::inventory::submit! {
            $crate::Plugin {
                kind: $kind,
                name: $name,
                module: ::core::module_path!(),
                schema: || $crate::schemars::schema_for!($type),
            }
        }
    };
}

/// All plugins of a kind that are linked into this program, sorted by name.
///
/// A crate that nothing refers to is not linked and registers nothing: `use polytask_ner as _;` refers to it.
pub fn plugins(kind: &str) -> Vec<&'static Plugin> {
    let mut found: Vec<_> = inventory::iter::<Plugin>().filter(|plugin| plugin.kind == kind).collect();
    found.sort_by_key(|plugin| (plugin.name, plugin.module));
    found
}

/// The plugin of this kind and name.
///
/// # Errors
/// [`Error::UnknownPlugin`] lists the names that exist and the nearest; [`Error::DoubledPlugin`] if two share it.
pub fn plugin(kind: &str, name: &str) -> Result<&'static Plugin> {
    let plugins = plugins(kind);
    let mut matching = plugins.iter().filter(|plugin| plugin.name == name);
    match (matching.next(), matching.next()) {
        (Some(plugin), None) => Ok(plugin),
        (Some(first), Some(second)) => Err(Error::DoubledPlugin {
            kind: first.kind,
            name: first.name,
            first: first.module,
            second: second.module,
        }),
        (None, _) => Err(Error::UnknownPlugin {
            kind: kind.to_owned(),
            name: name.to_owned(),
            hint: known_names(kind) + &did_you_mean(name, plugins.iter().map(|plugin| plugin.name)),
        }),
    }
}

/// `(known: classification, ner)`
pub(crate) fn known_names(kind: &str) -> String {
    let mut names: Vec<_> = plugins(kind).iter().map(|plugin| plugin.name).collect();
    names.dedup();
    if names.is_empty() { "(none is linked)".to_owned() } else { format!("(known: {})", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(schemars::JsonSchema)]
    struct Empty {}

    register!("colour", "red", Empty);
    register!("colour", "green", Empty);
    mod twice {
        register!("shape", "round", super::Empty);
        register!("shape", "round", super::Empty);
    }

    fn message(kind: &str, name: &str) -> String {
        plugin(kind, name).unwrap_err().to_string()
    }

    #[test]
    fn plugins_are_sorted_by_name() {
        assert_eq!(plugins("colour").iter().map(|plugin| plugin.name).collect::<Vec<_>>(), ["green", "red"]);
    }

    #[test]
    fn an_unknown_name_gets_its_neighbour_and_the_list() {
        assert_eq!(
            message("colour", "gren"),
            "unknown colour type `gren` (known: green, red); did you mean `green`?"
        );
        assert_eq!(message("colour", "blue"), "unknown colour type `blue` (known: green, red)");
        assert_eq!(message("taste", "sweet"), "unknown taste type `sweet` (none is linked)");
    }

    #[test]
    fn a_doubled_name_says_who_has_it() {
        let module = "polytask_config::plugin::tests::twice";
        assert_eq!(
            message("shape", "round"),
            format!(
                "shape type `round` is registered twice, in {module} and in {module}; rename one of them"
            )
        );
    }
}
