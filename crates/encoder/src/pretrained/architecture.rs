//! What a `config.json` of a pretrained model says.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The file that describes a pretrained model.
pub(super) const CONFIG: &str = "config.json";

/// Families of encoders, by the `model_type` of their `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Devlin et al., *BERT*, 2019; MiniLM and many others have its form.
    Bert,
    /// Sanh et al., *DistilBERT*, 2019.
    DistilBert,
    /// Liu et al., *RoBERTa*, 2019.
    Roberta,
    /// Clark et al., *ELECTRA*, 2020.
    Electra,
    /// Warner et al., *Smarter, Better, Faster, Longer* (ModernBERT), 2024.
    ModernBert,
}

const FAMILIES: [(&str, Family); 5] = [
    ("bert", Family::Bert),
    ("distilbert", Family::DistilBert),
    ("roberta", Family::Roberta),
    ("electra", Family::Electra),
    ("modernbert", Family::ModernBert),
];

/// The sizes of a pretrained encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Whose form the encoder has.
    pub family: Family,
    /// Rows of the table of pieces.
    pub vocabulary: usize,
    /// The width of a state.
    pub width: usize,
    /// The width of the embeddings; where it is another one, a projection follows.
    pub embedding_width: usize,
    /// Layers, one after another.
    pub layers: usize,
    /// Attention heads a layer.
    pub heads: usize,
    /// The inner width of the feed-forward networks.
    pub feed_forward: usize,
    /// The most pieces of a text, the special ones included.
    pub max_tokens: usize,
    /// Rows of the table of positions before that of a text's first piece.
    pub first_position: usize,
    /// Rows of the table of token types; 0 where there is none.
    pub token_types: usize,
    /// What the norms add to the variance.
    pub epsilon: f32,
    /// The share of values dropped in training.
    pub dropout: f32,
    /// The share of attention weights dropped in training.
    pub attention_dropout: f32,
    /// What ModernBERT has instead of positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotary: Option<Rotary>,
}

/// Rotary positions, and attention that sees all of a text in some layers alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotary {
    /// Layers 0, n, 2n … see all of a text.
    pub global_every: usize,
    /// How far to each side the other layers see.
    pub window: usize,
    /// The base of the angles in layers that see all.
    pub global_base: f32,
    /// The base of the angles in the other layers.
    pub local_base: f32,
}

impl Architecture {
    /// Reads the `config.json` of a folder.
    ///
    /// # Errors
    /// It is missing or no JSON, a key is missing or of no use, or it asks for what this program does not compute.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join(CONFIG);
        let json = fs::read_to_string(&file).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                let hint = ": a pretrained model is a folder as Hugging Face has it".into();
                Error::MissingFile { folder: folder.into(), missing: CONFIG, hint }
            }
            _ => Error::Io { file: file.clone(), source },
        })?;
        let wrong = |message: String| Error::Description { file: file.clone(), message };
        let value =
            serde_json::from_str(&json).map_err(|error| wrong(format!("no JSON object ({error})")))?;
        Self::parse(&Keys(value)).map_err(wrong)
    }

    fn parse(keys: &Keys) -> std::result::Result<Self, String> {
        let name = keys.text("model_type")?;
        let family = FAMILIES.iter().find(|(known, _)| *known == name).map(|(_, family)| *family);
        let family = family.ok_or_else(|| {
            let known = FAMILIES.map(|(name, _)| name);
            let hint = polytask_config::did_you_mean(name, known);
            format!("`model_type` is `{name}`, this program reads {}{hint}", known.join(", "))
        })?;
        let architecture = match family {
            Family::Bert | Family::Roberta | Family::Electra => Self::bert(keys, family),
            Family::DistilBert => Self::distil_bert(keys),
            Family::ModernBert => Self::modern_bert(keys),
        }?;
        architecture.check()?;
        Ok(architecture)
    }

    fn bert(keys: &Keys, family: Family) -> std::result::Result<Self, String> {
        keys.must_be("hidden_act", "gelu")?;
        keys.must_not_be_set("is_decoder", "a decoder, which sees no later pieces")?;
        if keys.0.contains_key("position_embedding_type") {
            keys.must_be("position_embedding_type", "absolute")?;
        }
        let width = keys.size("hidden_size")?;
        // Places of a text count on from that of the padding piece.
        let first_position = match family {
            Family::Roberta => keys.size_or("pad_token_id", 1)?.saturating_add(1),
            _ => 0,
        };
        let positions = keys.size("max_position_embeddings")?;
        Ok(Self {
            family,
            vocabulary: keys.size("vocab_size")?,
            width,
            embedding_width: match family {
                Family::Electra => keys.size_or("embedding_size", width)?,
                _ => width,
            },
            layers: keys.size("num_hidden_layers")?,
            heads: keys.size("num_attention_heads")?,
            feed_forward: keys.size("intermediate_size")?,
            max_tokens: positions.saturating_sub(first_position),
            first_position,
            token_types: keys.size_or("type_vocab_size", 2)?,
            epsilon: keys.number_or("layer_norm_eps", 1e-12)?,
            dropout: keys.number_or("hidden_dropout_prob", 0.1)?,
            attention_dropout: keys.number_or("attention_probs_dropout_prob", 0.1)?,
            rotary: None,
        })
    }

    fn distil_bert(keys: &Keys) -> std::result::Result<Self, String> {
        keys.must_be("activation", "gelu")?;
        let width = keys.size("dim")?;
        Ok(Self {
            family: Family::DistilBert,
            vocabulary: keys.size("vocab_size")?,
            width,
            embedding_width: width,
            layers: keys.size("n_layers")?,
            heads: keys.size("n_heads")?,
            feed_forward: keys.size("hidden_dim")?,
            max_tokens: keys.size("max_position_embeddings")?,
            first_position: 0,
            token_types: 0,
            // Not in the file: transformers has it in the code.
            epsilon: 1e-12,
            dropout: keys.number_or("dropout", 0.1)?,
            attention_dropout: keys.number_or("attention_dropout", 0.1)?,
            rotary: None,
        })
    }

    fn modern_bert(keys: &Keys) -> std::result::Result<Self, String> {
        keys.must_be("hidden_activation", "gelu")?;
        for key in ["attention_bias", "mlp_bias", "norm_bias"] {
            if keys.0.get(key).is_some_and(|value| value != &Value::Bool(false)) {
                return Err(format!("`{key}` must be false: ModernBERT with biases is not supported"));
            }
        }
        let global_every = keys.size_or("global_attn_every_n_layers", 3)?;
        keys.check_rotary(global_every)?;
        let width = keys.size("hidden_size")?;
        Ok(Self {
            family: Family::ModernBert,
            vocabulary: keys.size("vocab_size")?,
            width,
            embedding_width: width,
            layers: keys.size("num_hidden_layers")?,
            heads: keys.size("num_attention_heads")?,
            feed_forward: keys.size("intermediate_size")?,
            max_tokens: keys.size("max_position_embeddings")?,
            first_position: 0,
            token_types: 0,
            epsilon: keys.number_or("norm_eps", 1e-5)?,
            dropout: keys.number_or("mlp_dropout", 0.0)?,
            attention_dropout: keys.number_or("attention_dropout", 0.0)?,
            rotary: Some(Rotary {
                global_every,
                window: keys.size_or("local_attention", 128)? / 2,
                global_base: keys.rotary_base("full_attention", "global_rope_theta", 160_000.0)?,
                local_base: keys.rotary_base("sliding_attention", "local_rope_theta", 10_000.0)?,
            }),
        })
    }

    /// What the sizes must hold to, wherever they come from.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let Self { width, heads, .. } = *self;
        for (name, size, most) in [
            ("vocabulary", self.vocabulary, 100_000_000),
            ("width", width, 65_536),
            ("width of embeddings", self.embedding_width, 65_536),
            ("inner width", self.feed_forward, 1_000_000),
            ("number of heads", heads, 65_536),
            ("number of positions", self.max_tokens, 100_000_000),
        ] {
            if !(1..=most).contains(&size) {
                return Err(format!("the {name} must lie in 1 to {most}; found {size}"));
            }
        }
        for (name, size) in [("layers", self.layers), ("token types", self.token_types)] {
            if size > 1024 {
                return Err(format!("{size} {name} are too many: 1024 at most"));
            }
        }
        if self.first_position > 100_000_000 {
            return Err(format!("a first position of {} is too great", self.first_position));
        }
        if !width.is_multiple_of(heads) {
            return Err(format!("the width {width} is no multiple of its {heads} attention heads"));
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(format!("the norms' epsilon must be greater than 0; found {}", self.epsilon));
        }
        for (name, share) in [("dropout", self.dropout), ("attention dropout", self.attention_dropout)] {
            if !(0.0..1.0).contains(&share) {
                return Err(format!("the {name} must lie in [0, 1); found {share}"));
            }
        }
        self.rotary.as_ref().map_or(Ok(()), |rotary| rotary.check(width / heads))
    }
}

impl Rotary {
    fn check(&self, head_width: usize) -> std::result::Result<(), String> {
        if self.global_every == 0 {
            return Err("`global_attn_every_n_layers` must be 1 at least".into());
        }
        if !head_width.is_multiple_of(2) {
            return Err(format!("a head of width {head_width} cannot be rotated: it must be even"));
        }
        match [self.global_base, self.local_base].into_iter().find(|base| !(*base > 0.0 && base.is_finite()))
        {
            Some(base) => Err(format!("the base of rotary angles must be greater than 0; found {base}")),
            None => Ok(()),
        }
    }
}

/// The keys of a `config.json`.
struct Keys(Map<String, Value>);

impl Keys {
    fn text(&self, key: &str) -> std::result::Result<&str, String> {
        let value = self.0.get(key).ok_or_else(|| format!("no `{key}`"))?;
        value.as_str().ok_or_else(|| format!("`{key}` must be a text, found {value}"))
    }

    fn must_be(&self, key: &str, expected: &str) -> std::result::Result<(), String> {
        match self.text(key)? {
            found if found == expected => Ok(()),
            found => Err(format!("`{key}` is `{found}`, this program computes `{expected}` alone")),
        }
    }

    /// Refuses what this program does not compute.
    fn must_not_be_set(&self, key: &str, meaning: &str) -> std::result::Result<(), String> {
        match self.0.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => Ok(()),
            Some(value) => Err(format!("`{key}` is {value}: {meaning}, is not supported")),
        }
    }

    /// Refuses angles that are scaled, and another order of global and local layers than every nth.
    fn check_rotary(&self, global_every: usize) -> std::result::Result<(), String> {
        const SCALED: &str = "rotary angles that are scaled";
        self.must_not_be_set("rope_scaling", SCALED)?;
        let tables =
            self.0.get("rope_parameters").and_then(Value::as_object).into_iter().flat_map(Map::values);
        if let Some(kind) = tables.filter_map(|table| table.get("rope_type")).find(|kind| *kind != "default")
        {
            return Err(format!("`rope_type` is {kind}: {SCALED}, is not supported"));
        }
        let types = self.0.get("layer_types").and_then(Value::as_array).into_iter().flatten();
        for (layer, found) in types.enumerate() {
            let is_global = global_every > 0 && layer.is_multiple_of(global_every);
            let expected = if is_global { "full_attention" } else { "sliding_attention" };
            if found != expected {
                let every = format!("one layer in {global_every} sees all of a text");
                return Err(format!(
                    "layer {layer} of `layer_types` is {found}, expected \"{expected}\": {every}"
                ));
            }
        }
        Ok(())
    }

    fn size(&self, key: &str) -> std::result::Result<usize, String> {
        let value = self.0.get(key).ok_or_else(|| format!("no `{key}`"))?;
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| format!("`{key}` must be a size, found {value}"))
    }

    fn size_or(&self, key: &str, default: usize) -> std::result::Result<usize, String> {
        if self.0.get(key).is_none_or(Value::is_null) { Ok(default) } else { self.size(key) }
    }

    fn number_or(&self, key: &str, default: f32) -> std::result::Result<f32, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => number(key, value),
        }
    }

    /// The base of the rotary angles of one type of layer: newer files have a table of them, older ones a key each.
    fn rotary_base(&self, layer_type: &str, key: &str, default: f32) -> std::result::Result<f32, String> {
        match self.0.get("rope_parameters").and_then(|table| table.get(layer_type)?.get("rope_theta")) {
            Some(value) => number("rope_theta", value),
            None => self.number_or(key, default),
        }
    }
}

fn number(key: &str, value: &Value) -> std::result::Result<f32, String> {
    value
        .as_f64()
        .map(|number| number as f32)
        .ok_or_else(|| format!("`{key}` must be a number, found {value}"))
}
