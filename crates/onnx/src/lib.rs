#![doc = include_str!("../README.md")]

mod bert;
mod error;
mod graph;
mod heads;
mod layers;
mod metadata;
mod modern_bert;
mod proto;

use polytask_model::Model;
use prost::Message;

pub use error::{Error, Result};

use graph::{Graph, dimension};
use layers::Layers;
use proto::{Dimension, ModelProto, OperatorSetIdProto};

/// The version of the operators, the first that has a layer norm.
const OPERATORS: i64 = 17;
/// The version of the format that belongs to it.
const FORMAT: i64 = 8;
/// The most bytes of a file.
const MOST_BYTES: usize = i32::MAX as usize;

/// The one input, and the name of its size.
const INPUT: &str = "input_ids";
const PIECES: &str = "pieces";

/// A model as the bytes of an ONNX file, for one text a run: token ids in, the logits of every task out.
///
/// # Errors
/// The encoder is not a pretrained one, the model is quantized or has adapters, or the file would be beyond what the format can hold.
pub fn to_onnx(model: &Model) -> Result<Vec<u8>> {
    let file = proto_of(model)?;
    match file.encoded_len() {
        bytes if bytes > MOST_BYTES => Err(Error::TooLarge(bytes)),
        _ => Ok(file.encode_to_vec()),
    }
}

fn proto_of(model: &Model) -> Result<ModelProto> {
    let architecture = model.config().encoder.architecture().ok_or(Error::NotPretrained)?;
    if model.is_quantized() {
        return Err(Error::Quantized);
    }
    if !model.config().adapters.is_empty() {
        return Err(Error::Adapters);
    }
    let mut layers = Layers { graph: Graph::default(), parameters: model.constants() };
    let ids = layers.graph.input(INPUT, &[dimension(1), Dimension::Name(PIECES.into())]);
    let ids = layers.reshape(&ids, &[-1]);
    let states = match &architecture.rotary {
        Some(rotary) => modern_bert::states(&mut layers, architecture, rotary, &ids)?,
        None => bert::states(&mut layers, architecture, &ids)?,
    };
    check_places(&layers)?;
    heads::outputs(&mut layers, model.config(), &states)?;
    Ok(ModelProto {
        ir_version: FORMAT,
        producer_name: "polytask".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(layers.graph.finish("polytask")),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPERATORS }],
        metadata_props: metadata::properties(model)?,
    })
}

/// Every parameter of the encoder must be in its graph: else the states would be others.
fn check_places(layers: &Layers<'_>) -> Result<()> {
    let names = layers.parameters.iter().map(|(_, parameter)| &parameter.name);
    match names.filter(|name| name.starts_with("encoder.")).find(|name| !layers.graph.holds(name)) {
        None => Ok(()),
        Some(name) => Err(Error::NoPlace(name.clone())),
    }
}

#[cfg(test)]
mod tests;
