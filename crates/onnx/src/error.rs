/// Why a model has no ONNX file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An encoder whose input is more than token ids.
    #[error(
        "an ONNX file gets token ids, but this encoder also reads the words around them and their shapes: \
         only encoders of `type = \"pretrained\"` can be exported"
    )]
    NotPretrained,
    /// A model of 8-bit integers.
    #[error("this model has 8-bit integers: export the one that it was quantized from")]
    Quantized,
    /// A parameter of the encoder that the graph does not compute with.
    #[error("the graph does not compute with `{0}`: adapters and other additions cannot be exported")]
    NoPlace(String),
    /// A model with adapters.
    #[error("this model has adapters beside the encoder's weights: merge them first, with `polytask merge`")]
    Adapters,
    /// A task whose name the graph needs for something else.
    #[error("no output can be named `{0}`: another value of the graph has that name")]
    TaskName(String),
    /// A file beyond what the format can hold.
    #[error("the file would have {0} bytes: ONNX files hold 2 GiB at most")]
    TooLarge(usize),
    /// A parameter is missing.
    #[error(transparent)]
    Tensor(#[from] polytask_tensor::Error),
    /// A task cannot be written as JSON.
    #[error("a task as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
