//! A graph in the making: constants, and nodes one after another.

use crate::proto::{
    AttributeProto, AttributeType, Dimension, DimensionProto, ElementType, GraphProto, NodeProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// A value of the graph, by its name.
#[derive(Clone, Debug)]
pub(crate) struct Value(String);

/// The graph so far.
#[derive(Default)]
pub(crate) struct Graph {
    proto: GraphProto,
    made: usize,
}

/// A size, or the name of one that differs from call to call.
pub(crate) fn dimension(size: usize) -> Dimension {
    Dimension::Size(size as i64)
}

impl Graph {
    /// An input of whole numbers.
    pub(crate) fn input(&mut self, name: &str, shape: &[Dimension]) -> Value {
        self.proto.input.push(described(name, ElementType::Int64, shape));
        Value(name.into())
    }

    /// Lets a value of numbers be an output of this name.
    pub(crate) fn output(&mut self, value: &Value, name: &str, shape: &[Dimension]) {
        self.proto.output.push(described(name, ElementType::Float, shape));
        self.push("Identity", &[value], Vec::new(), vec![name.into()]);
    }

    /// A constant with a name of its own.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name.into(), shape, ElementType::Float, raw_data)
    }

    /// A constant without one.
    pub(crate) fn numbers(&mut self, shape: &[usize], values: &[f32]) -> Value {
        let name = self.fresh("numbers");
        self.constant(&name, shape, values)
    }

    /// One number.
    pub(crate) fn number(&mut self, value: f32) -> Value {
        self.numbers(&[], &[value])
    }

    /// A list of whole numbers, such as a shape.
    pub(crate) fn integers(&mut self, values: &[i64]) -> Value {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let name = self.fresh("integers");
        self.tensor(name, &[values.len()], ElementType::Int64, raw_data)
    }

    /// A node of one output.
    pub(crate) fn node(&mut self, operator: &str, inputs: &[&Value], attributes: &[AttributeProto]) -> Value {
        let output = self.fresh(operator);
        self.push(operator, inputs, attributes.to_vec(), vec![output.clone()]);
        Value(output)
    }

    /// Equal parts of a value along one axis.
    pub(crate) fn split<const PARTS: usize>(&mut self, value: &Value, axis: i64) -> [Value; PARTS] {
        let parts: [String; PARTS] = std::array::from_fn(|_| self.fresh("Split"));
        self.push("Split", &[value], vec![int("axis", axis)], parts.to_vec());
        parts.map(Value)
    }

    /// Whether a value has this name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        let named = |value: &ValueInfoProto| value.name == name;
        self.proto.input.iter().chain(&self.proto.output).any(named)
            || self.proto.initializer.iter().any(|tensor| tensor.name == name)
            || self.proto.node.iter().any(|node| node.output.iter().any(|output| output == name))
    }

    /// The graph as it is.
    pub(crate) fn finish(self, name: &str) -> GraphProto {
        GraphProto { name: name.into(), ..self.proto }
    }

    fn tensor(&mut self, name: String, shape: &[usize], element: ElementType, raw_data: Vec<u8>) -> Value {
        let dims = shape.iter().map(|&size| size as i64).collect();
        let value = Value(name.clone());
        self.proto.initializer.push(TensorProto { dims, data_type: element.into(), name, raw_data });
        value
    }

    fn push(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attribute: Vec<AttributeProto>,
        output: Vec<String>,
    ) {
        let input = inputs.iter().map(|value| value.0.clone()).collect();
        self.proto.node.push(NodeProto { input, output, op_type: operator.into(), attribute });
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("/{kind}/{}", self.made)
    }
}

/// An attribute of one whole number.
pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: AttributeType::Int.into(), ..Default::default() }
}

/// An attribute of several whole numbers.
pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    let ints = ints.to_vec();
    AttributeProto { name: name.into(), ints, r#type: AttributeType::Ints.into(), ..Default::default() }
}

/// An attribute of one number.
pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, r#type: AttributeType::Float.into(), ..Default::default() }
}

fn described(name: &str, element: ElementType, shape: &[Dimension]) -> ValueInfoProto {
    let dim = shape.iter().map(|size| DimensionProto { value: Some(size.clone()) }).collect();
    let tensor_type = TensorTypeProto { elem_type: element.into(), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}
