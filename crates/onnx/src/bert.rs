//! BERT, DistilBERT, RoBERTa and ELECTRA: learnt positions, layers with the norm after each residual.

use polytask_encoder::Architecture;

use crate::Result;
use crate::graph::Value;
use crate::layers::{Attention, Layers, States};

/// The states of one text, whose ids are `[pieces]`.
pub(crate) fn states(layers: &mut Layers<'_>, architecture: &Architecture, ids: &Value) -> Result<States> {
    let epsilon = architecture.epsilon;
    let mut x = embeddings(layers, architecture, ids)?;
    let mut all = vec![x.clone()];
    for layer in 0..architecture.layers {
        let name = |part: &str| format!("encoder.layers.{layer}.{part}");
        let attention = Attention { heads: architecture.heads, ..Attention::default() };
        let branch = layers.self_attention(&x, &name("attention"), attention)?;
        x = layers.add(&x, &branch);
        x = layers.layer_norm(&x, &name("attention_norm"), epsilon)?;
        let inner = layers.linear(&x, &name("feed_forward.up"))?;
        let inner = layers.gelu(&inner);
        let branch = layers.linear(&inner, &name("feed_forward.down"))?;
        x = layers.add(&x, &branch);
        x = layers.layer_norm(&x, &name("feed_forward_norm"), epsilon)?;
        all.push(x.clone());
    }
    Ok(States { layers: all, last: x })
}

fn embeddings(layers: &mut Layers<'_>, architecture: &Architecture, ids: &Value) -> Result<Value> {
    let Architecture { embedding_width: width, first_position, max_tokens, .. } = *architecture;
    let pieces = layers.parameter("encoder.embeddings.pieces.weight")?;
    let mut x = layers.graph.node("Gather", &[&pieces, ids], &[]);

    let name = "encoder.embeddings.positions.weight";
    let positions = &layers.values(name)?.data()[first_position * width..];
    let positions = layers.graph.constant(name, &[max_tokens, width], positions);
    let [start, axis] = [0, 0].map(|number| layers.graph.integers(&[number]));
    let end = layers.graph.node("Shape", &[ids], &[]);
    let positions = layers.graph.node("Slice", &[&positions, &start, &end, &axis], &[]);
    x = layers.add(&x, &positions);

    if architecture.token_types > 0 {
        let name = "encoder.embeddings.token_types.weight";
        let first = &layers.values(name)?.data()[..width];
        let first = layers.graph.constant(name, &[1, width], first);
        x = layers.add(&x, &first);
    }
    x = layers.layer_norm(&x, "encoder.embeddings.norm", architecture.epsilon)?;
    match width == architecture.width {
        true => Ok(x),
        false => layers.linear(&x, "encoder.embeddings.projection"),
    }
}
