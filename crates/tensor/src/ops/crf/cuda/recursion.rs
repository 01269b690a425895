use super::{Inputs, THREADS, grid_of_tokens, with_matrix_in_shared};
use crate::Result;
use crate::cuda::{Argument, Grid, Memory};

/// F is filled up with rows of zeros to a multiple of this, as the kernel reads it.
const TERMS: usize = 4;

/// Both ways through all texts, in the letters of `kernels/crf.cu`.
pub(super) struct Recursion {
    /// F and Fᵀ, `[2, rows, tags]`: the rows beyond the tags are zero.
    pub(super) factors: Memory,
    /// max A, and max s + max z.
    pub(super) logs: Memory,
    /// x and max e of each token.
    pub(super) emission_factors: Memory,
    pub(super) emission_maxima: Memory,
    /// a and b `[tokens, tags]`, and what each step divided by `[2, tokens]`.
    pub(super) forward: Memory,
    pub(super) backward: Memory,
    pub(super) maxima: Memory,
}

impl Recursion {
    pub(super) fn new(inputs: &Inputs) -> Result<Self> {
        let Inputs { gpu, tokens, tags, .. } = *inputs;
        let rows = tags.next_multiple_of(TERMS);
        let ends = gpu.allocate(2 * tags)?;
        let recursion = Self {
            factors: gpu.allocate(2 * rows * tags)?,
            logs: gpu.allocate(2)?,
            emission_factors: inputs.values()?,
            emission_maxima: gpu.allocate(tokens)?,
            forward: inputs.values()?,
            backward: inputs.values()?,
            maxima: gpu.allocate(2 * tokens)?,
        };
        recursion.exponentials_of_weights(inputs, rows, &ends)?;
        recursion.exponentials_of_emissions(inputs)?;
        recursion.both_ways(inputs, rows, &ends)?;
        Ok(recursion)
    }

    fn exponentials_of_weights(&self, inputs: &Inputs, rows: usize, ends: &Memory) -> Result<()> {
        /// Each of them looks for the maxima, and then writes its part.
        const BLOCKS: usize = 16;
        let arguments = [
            inputs.transitions,
            inputs.start,
            inputs.end,
            Argument::from(&inputs.forbidden),
            inputs.tags.into(),
            rows.into(),
            Argument::from(&self.factors),
            ends.into(),
            Argument::from(&self.logs),
        ];
        inputs.gpu.launch("crf", "crf_factors", Grid::blocks(BLOCKS, THREADS), &arguments)
    }

    fn exponentials_of_emissions(&self, inputs: &Inputs) -> Result<()> {
        let arguments = [
            inputs.emissions,
            inputs.tokens.into(),
            inputs.tags.into(),
            Argument::from(&self.emission_factors),
            Argument::from(&self.emission_maxima),
        ];
        inputs.gpu.launch("crf", "crf_emission_factors", grid_of_tokens(inputs.tokens), &arguments)
    }

    fn both_ways(&self, inputs: &Inputs, rows: usize, ends: &Memory) -> Result<()> {
        let arguments = [
            Argument::from(&self.emission_factors),
            Argument::from(&self.factors),
            ends.into(),
            inputs.offsets,
            inputs.tokens.into(),
            inputs.tags.into(),
            rows.into(),
            Argument::from(&self.forward),
            Argument::from(&self.backward),
            Argument::from(&self.maxima),
        ];
        let (name, grid) = with_matrix_in_shared(
            ["crf_recursion_in_shared", "crf_recursion"],
            inputs.grid_of_texts().times(2, 1),
            8 * rows,
            4 * rows * inputs.tags,
        );
        inputs.gpu.launch("crf", name, grid, &arguments)
    }
}
