//! Which tensors of a Hugging Face file make up which parameter.
//!
//! Hugging Face keeps a layer's weight as `[outputs, inputs]`, here it is `[inputs, outputs]`, and query, key and value are
//! one layer. So a parameter is made of rows of one or several tensors, turned where it is a layer's weight.

use std::ops::Range;

use super::architecture::{Architecture, Family};

/// One parameter and what it is made of.
pub(crate) struct Entry {
    /// The name beneath the encoder, such as `layers.0.attention.output.weight`.
    pub(crate) name: String,
    /// Values a row of the tensors; `None` of vectors.
    pub(crate) inputs: Option<usize>,
    /// Whether the rows of the tensors are columns here.
    pub(crate) is_transposed: bool,
    /// One after another.
    pub(crate) parts: Vec<Part>,
}

impl Entry {
    /// Rows of all parts.
    pub(crate) fn outputs(&self) -> usize {
        self.parts.iter().map(|part| part.rows.len()).sum()
    }
}

/// Rows of a tensor.
pub(crate) struct Part {
    /// The tensor's name, without what a family puts before all of its names.
    pub(crate) tensor: String,
    /// All rows of the tensor.
    pub(crate) total: usize,
    /// Those that are meant.
    pub(crate) rows: Range<usize>,
}

impl Part {
    fn whole(tensor: String, rows: usize) -> Self {
        Self { tensor, total: rows, rows: 0..rows }
    }
}

/// What a family may put before the names of its encoder's tensors.
pub(crate) fn prefixes(family: Family) -> [&'static str; 2] {
    match family {
        Family::Bert => ["", "bert."],
        Family::DistilBert => ["", "distilbert."],
        Family::Roberta => ["", "roberta."],
        Family::Electra => ["", "electra."],
        Family::ModernBert => ["", "model."],
    }
}

/// All parameters of an encoder, in the order in which they are made.
pub(crate) fn entries(architecture: &Architecture) -> Vec<Entry> {
    let mut entries = Entries { entries: Vec::new(), has_biases: architecture.rotary.is_none() };
    entries.embeddings(architecture);
    for layer in 0..architecture.layers {
        match architecture.family {
            Family::ModernBert => entries.modern_layer(architecture, layer),
            Family::DistilBert => entries.layer(architecture, layer, &DISTIL_BERT),
            _ => entries.layer(architecture, layer, &BERT),
        }
    }
    if architecture.family == Family::ModernBert {
        entries.norm("norm", "final_norm", architecture.width);
    }
    entries.entries
}

/// The names of a layer's parts.
struct LayerNames {
    layers: &'static str,
    query_key_value: [&'static str; 3],
    attention_output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    feed_forward_norm: &'static str,
}

const BERT: LayerNames = LayerNames {
    layers: "encoder.layer",
    query_key_value: ["attention.self.query", "attention.self.key", "attention.self.value"],
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    feed_forward_norm: "output.LayerNorm",
};

const DISTIL_BERT: LayerNames = LayerNames {
    layers: "transformer.layer",
    query_key_value: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    feed_forward_norm: "output_layer_norm",
};

struct Entries {
    entries: Vec<Entry>,
    has_biases: bool,
}

impl Entries {
    fn embeddings(&mut self, architecture: &Architecture) {
        let Architecture { family, vocabulary, embedding_width: width, .. } = *architecture;
        if family == Family::ModernBert {
            self.table("pieces", "tok_embeddings", vocabulary, width);
            return self.norm("embeddings.norm", "embeddings.norm", width);
        }
        self.table("pieces", "word_embeddings", vocabulary, width);
        let positions = architecture.first_position + architecture.max_tokens;
        self.table("positions", "position_embeddings", positions, width);
        if architecture.token_types > 0 {
            self.table("token_types", "token_type_embeddings", architecture.token_types, width);
        }
        self.norm("embeddings.norm", "embeddings.LayerNorm", width);
        if width != architecture.width {
            let rows = Part::whole("embeddings_project".into(), architecture.width);
            self.linear("embeddings.projection", width, vec![rows]);
        }
    }

    fn layer(&mut self, architecture: &Architecture, layer: usize, names: &LayerNames) {
        let Architecture { width, feed_forward, .. } = *architecture;
        let own = |part: &str| format!("layers.{layer}.{part}");
        let theirs = |part: &str| format!("{}.{layer}.{part}", names.layers);
        let whole = |part: &str, rows: usize| Part::whole(theirs(part), rows);
        let query_key_value = names.query_key_value.map(|part| whole(part, width));
        self.linear(&own("attention.query_key_value"), width, query_key_value.into());
        self.linear(&own("attention.output"), width, vec![whole(names.attention_output, width)]);
        self.norm(&own("attention_norm"), &theirs(names.attention_norm), width);
        self.linear(&own("feed_forward.up"), width, vec![whole(names.up, feed_forward)]);
        self.linear(&own("feed_forward.down"), feed_forward, vec![whole(names.down, width)]);
        self.norm(&own("feed_forward_norm"), &theirs(names.feed_forward_norm), width);
    }

    fn modern_layer(&mut self, architecture: &Architecture, layer: usize) {
        let Architecture { width, feed_forward, .. } = *architecture;
        let own = |part: &str| format!("layers.{layer}.{part}");
        let theirs = |part: &str| format!("layers.{layer}.{part}");
        // The embeddings' norm stands right before the first layer.
        if layer > 0 {
            self.norm(&own("attention_norm"), &theirs("attn_norm"), width);
        }
        let whole = |part: &str, rows: usize| Part::whole(theirs(part), rows);
        self.linear(&own("attention.query_key_value"), width, vec![whole("attn.Wqkv", 3 * width)]);
        self.linear(&own("attention.output"), width, vec![whole("attn.Wo", width)]);
        self.norm(&own("feed_forward_norm"), &theirs("mlp_norm"), width);
        for (part, first) in [("feed_forward.up", 0), ("feed_forward.gate", feed_forward)] {
            let (tensor, total) = (theirs("mlp.Wi"), 2 * feed_forward);
            let rows = first..first + feed_forward;
            self.linear(&own(part), width, vec![Part { tensor, total, rows }]);
        }
        self.linear(&own("feed_forward.down"), feed_forward, vec![whole("mlp.Wo", width)]);
    }

    fn table(&mut self, name: &str, tensor: &str, rows: usize, width: usize) {
        self.entries.push(Entry {
            name: format!("embeddings.{name}.weight"),
            inputs: Some(width),
            is_transposed: false,
            parts: vec![Part::whole(format!("embeddings.{tensor}.weight"), rows)],
        });
    }

    fn norm(&mut self, name: &str, tensor: &str, width: usize) {
        self.vector(format!("{name}.gain"), vec![Part::whole(format!("{tensor}.weight"), width)]);
        if self.has_biases {
            self.vector(format!("{name}.bias"), vec![Part::whole(format!("{tensor}.bias"), width)]);
        }
    }

    fn linear(&mut self, name: &str, inputs: usize, parts: Vec<Part>) {
        let named = |end: &str| {
            let part = |part: &Part| Part {
                tensor: format!("{}.{end}", part.tensor),
                total: part.total,
                rows: part.rows.clone(),
            };
            parts.iter().map(part).collect::<Vec<_>>()
        };
        let weight = named("weight");
        self.entries.push(Entry {
            name: format!("{name}.weight"),
            inputs: Some(inputs),
            is_transposed: true,
            parts: weight,
        });
        if self.has_biases {
            self.vector(format!("{name}.bias"), named("bias"));
        }
    }

    fn vector(&mut self, name: String, parts: Vec<Part>) {
        self.entries.push(Entry { name, inputs: None, is_transposed: false, parts });
    }
}
