//! ModernBERT: rotary positions, gated feed-forward networks, the norm before each block, local attention in most layers.

use polytask_encoder::{Architecture, Rotary};

use crate::Result;
use crate::graph::{Value, int};
use crate::layers::{Attention, Layers, States};
use crate::proto::ElementType;

/// The states of one text, whose ids are `[pieces]`.
pub(crate) fn states(
    layers: &mut Layers<'_>,
    architecture: &Architecture,
    rotary: &Rotary,
    ids: &Value,
) -> Result<States> {
    let Architecture { width, heads, epsilon, .. } = *architecture;
    let places = places(layers, ids);
    let [global, local] =
        [rotary.global_base, rotary.local_base].map(|base| rotation(layers, &places, width / heads, base));
    let mask = window(layers, &places, rotary.window);

    let pieces = layers.parameter("encoder.embeddings.pieces.weight")?;
    let mut x = layers.graph.node("Gather", &[&pieces, ids], &[]);
    x = layers.layer_norm(&x, "encoder.embeddings.norm", epsilon)?;
    let mut all = vec![x.clone()];
    for layer in 0..architecture.layers {
        let name = |part: &str| format!("encoder.layers.{layer}.{part}");
        let attention = match layer.is_multiple_of(rotary.global_every) {
            true => Attention { heads, rotation: Some(&global), mask: None },
            false => Attention { heads, rotation: Some(&local), mask: Some(&mask) },
        };
        let normalised = match layer {
            0 => x.clone(),
            _ => layers.layer_norm(&x, &name("attention_norm"), epsilon)?,
        };
        let branch = layers.self_attention(&normalised, &name("attention"), attention)?;
        x = layers.add(&x, &branch);
        let normalised = layers.layer_norm(&x, &name("feed_forward_norm"), epsilon)?;
        let up = layers.linear(&normalised, &name("feed_forward.up"))?;
        let up = layers.gelu(&up);
        let gate = layers.linear(&normalised, &name("feed_forward.gate"))?;
        let inner = layers.multiply(&up, &gate);
        let branch = layers.linear(&inner, &name("feed_forward.down"))?;
        x = layers.add(&x, &branch);
        all.push(x.clone());
    }
    let last = layers.layer_norm(&x, "encoder.norm", epsilon)?;
    // Tasks that mix layers read the last one normalised.
    all.pop();
    all.push(last.clone());
    Ok(States { layers: all, last })
}

/// 0, 1, 2 … as numbers, `[pieces, 1]`.
fn places(layers: &mut Layers<'_>, ids: &Value) -> Value {
    let number = layers.graph.node("Size", &[ids], &[]);
    let number = layers.graph.node("Cast", &[&number], &[int("to", ElementType::Float as i64)]);
    let [first, step] = [0.0, 1.0].map(|value| layers.graph.number(value));
    let places = layers.graph.node("Range", &[&first, &number, &step], &[]);
    layers.reshape(&places, &[-1, 1])
}

/// cos p·base^(−2i / d) and sin p·base^(−2i / d) of each place p, `[pieces, d]` each: columns i and i + d / 2 share an angle,
/// and the first half of the sines is negated.
fn rotation(layers: &mut Layers<'_>, places: &Value, head_width: usize, base: f32) -> [Value; 2] {
    // Rounded to f32 where the encoder rounds.
    let frequency = |i: usize| {
        let exponent = (2 * i) as f32 / head_width as f32;
        1.0 / f64::from(base).powf(f64::from(exponent)) as f32
    };
    let frequencies: Vec<f32> = (0..head_width / 2).map(frequency).collect();
    let frequencies = layers.graph.numbers(&[1, head_width / 2], &frequencies);
    let angles = layers.multiply(places, &frequencies);
    let [cosines, sines] = ["Cos", "Sin"].map(|operator| layers.graph.node(operator, &[&angles], &[]));
    let negated = layers.graph.node("Neg", &[&sines], &[]);
    [layers.concat(&cosines, &cosines), layers.concat(&negated, &sines)]
}

/// 0 where two places are at most `window` apart, else what leaves nothing of a weight, `[pieces, pieces]`.
fn window(layers: &mut Layers<'_>, places: &Value, window: usize) -> Value {
    let across = layers.reshape(places, &[1, -1]);
    let distances = layers.graph.node("Sub", &[places, &across], &[]);
    let distances = layers.graph.node("Abs", &[&distances], &[]);
    let [window, hidden, seen] =
        [window as f32, f32::NEG_INFINITY, 0.0].map(|value| layers.graph.number(value));
    let is_beyond = layers.graph.node("Greater", &[&distances, &window], &[]);
    layers.graph.node("Where", &[&is_beyond, &hidden, &seen], &[])
}
