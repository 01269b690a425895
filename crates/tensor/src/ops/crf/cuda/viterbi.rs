use super::{Inputs, with_matrix_in_shared};
use crate::cuda::{Argument, Gpu};
use crate::ops::CrfWeights;
use crate::{Offsets, Result, Tensor};

/// What the kernel writes in the place of a text's first tag where it has no best sequence.
const NONE: u32 = u32::MAX;

/// The tags of all texts, or the first text that has no best sequence.
pub(in crate::ops::crf) fn best_sequences(
    gpu: &'static Gpu,
    emissions: &Tensor,
    weights: &CrfWeights<'_>,
    offsets: &Offsets,
) -> Result<std::result::Result<Vec<u32>, usize>> {
    let inputs = Inputs::new(gpu, emissions, weights, offsets)?;
    let (came_from, sequences) = (inputs.values()?, gpu.allocate(inputs.tokens)?);
    let results = [&came_from, &sequences].map(Argument::from);
    let arguments = [&inputs.first_arguments()[..], &[inputs.tags.into()], &results].concat();
    let (name, grid) = with_matrix_in_shared(
        ["crf_viterbi_in_shared", "crf_viterbi"],
        inputs.grid_of_texts(),
        16 * inputs.tags,
        4 * inputs.tags * inputs.tags,
    );
    gpu.launch("crf_viterbi", name, grid, &arguments)?;
    let mut tags = vec![0u32; inputs.tokens];
    gpu.download(&sequences, 0, bytemuck::cast_slice_mut(&mut tags))?;
    let has_none = |rows: std::ops::Range<usize>| !rows.is_empty() && tags[rows.start] == NONE;
    Ok(match offsets.iter().position(has_none) {
        Some(text) => Err(text),
        None => Ok(tags),
    })
}
