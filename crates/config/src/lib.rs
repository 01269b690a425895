#![doc = include_str!("../README.md")]

mod append;
mod check;
mod document;
mod error;
mod key;
mod nearest;
mod place;
mod plugin;
mod schema;
mod set;
mod table;
mod view;

pub use document::Document;
pub use error::{Error, Result};
pub use key::{Choice, Key, keys, markdown_table, summary};
pub use nearest::{did_you_mean, nearest};
pub use place::Place;
pub use plugin::{Plugin, plugin, plugins};
pub use table::Table;

// `register!` and the derives of plugin crates reach these two through this crate.
pub use {inventory, schemars};

/// What [`Document::set_at`] takes: made from strings, numbers and truth values, or collected from several of them.
pub use toml_edit::Value as TomlValue;
