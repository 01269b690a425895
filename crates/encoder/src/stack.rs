//! Layers one after another.

use std::ops::Range;
use std::sync::Arc;

use polytask_attention::Adapter;
use polytask_tensor::{Offsets, ParameterBuilder, ParameterId, Parameters, Pass, Result, Tensor, ops};

use crate::OnLayer;

/// One layer: states `[tokens, width]` to states.
pub(crate) trait Layer: std::fmt::Debug + Send + Sync {
    fn forward(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        texts: &Offsets,
        adapter: Option<usize>,
        pass: &mut Pass,
    ) -> Result<Tensor>;
}

/// Layers, each with the places of its parameters in the store.
#[derive(Debug)]
pub(crate) struct Stack {
    layers: Vec<(Arc<dyn Layer>, Range<usize>)>,
    adapters: Vec<Adapter>,
    recompute_activations: bool,
}

impl Stack {
    /// Makes layers `0..number` under `layers` of the builder.
    pub(crate) fn new<L: Layer + 'static>(
        number: usize,
        recompute_activations: bool,
        adapters: &[Adapter],
        builder: &mut ParameterBuilder<'_>,
        new_layer: impl Fn(usize, &mut ParameterBuilder<'_>) -> Result<L>,
    ) -> Result<Self> {
        let mut layer = |i: usize| -> Result<(Arc<dyn Layer>, Range<usize>)> {
            let first = builder.made();
            let layer = new_layer(i, &mut builder.part("layers").part(i))?;
            Ok((Arc::new(layer), first..builder.made()))
        };
        let layers = (0..number).map(&mut layer).collect::<Result<_>>()?;
        Ok(Self { layers, adapters: adapters.to_vec(), recompute_activations })
    }

    pub(crate) fn len(&self) -> usize {
        self.layers.len()
    }

    /// All layers in turn, through one adapter or none; `on_layer` gets what goes in and what each gives.
    pub(crate) fn forward(
        &self,
        parameters: &Parameters,
        mut x: Tensor,
        texts: &Offsets,
        adapter: Option<usize>,
        pass: &mut Pass,
        on_layer: OnLayer<'_>,
    ) -> Result<Tensor> {
        on_layer(&x);
        for (layer, places) in &self.layers {
            x = if self.recompute_activations && x.is_tracked() {
                let used = self.used(places, parameters, adapter);
                recomputed(layer, used, parameters, &x, texts, adapter, pass)?
            } else {
                layer.forward(parameters, &x, texts, adapter, pass)?
            };
            on_layer(&x);
        }
        Ok(x)
    }

    /// The parameters that a layer reads in a pass through one adapter: those of the others take no part.
    fn used(
        &self,
        places: &Range<usize>,
        parameters: &Parameters,
        adapter: Option<usize>,
    ) -> Vec<ParameterId> {
        let others: Vec<&Adapter> =
            (0..).zip(&self.adapters).filter(|(i, _)| Some(*i) != adapter).map(|(_, a)| a).collect();
        let of_layer = parameters.iter().skip(places.start).take(places.len());
        of_layer.filter(|(_, p)| !others.iter().any(|other| other.owns(&p.name))).map(|(id, _)| id).collect()
    }
}

fn recomputed(
    layer: &Arc<dyn Layer>,
    used: Vec<ParameterId>,
    parameters: &Parameters,
    x: &Tensor,
    texts: &Offsets,
    adapter: Option<usize>,
    pass: &mut Pass,
) -> Result<Tensor> {
    let (layer, texts) = (layer.clone(), texts.clone());
    ops::recompute(x, parameters, &used, pass, move |parameters, x, pass| {
        layer.forward(parameters, x, &texts, adapter, pass)
    })
}
