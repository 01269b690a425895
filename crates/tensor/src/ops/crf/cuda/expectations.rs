use super::recursion::Recursion;
use super::{Inputs, THREADS};
use crate::cuda::{Argument, Gpu, Grid, Memory};
use crate::ops::CrfWeights;
use crate::{Ids, Offsets, Result, Tensor};

/// Blocks that share the texts that are done in logarithms: each keeps a sum of `[tags, tags]`.
const MOST_EXACT_BLOCKS: usize = 64;

/// What is expected of each text, on a GPU.
pub(in crate::ops::crf) struct Expectations {
    pub(super) gpu: &'static Gpu,
    /// P(y_t = j), u and r of `kernels/crf.cu`, all `[tokens, tags]`.
    pub(super) marginals: Tensor,
    pub(super) shares: Tensor,
    pub(super) ratios: Tensor,
    /// F `[tags, tags]`; what follows it is not needed any more.
    pub(super) factors: Memory,
    /// Σ P(y_{t−1} = i, y_t = j) of the texts that were done in logarithms, `[blocks, tags · tags]`.
    pub(super) pairs: Tensor,
    /// log Z − score(y) of each text in f64; log Z where no tags y are known.
    losses: Memory,
}

impl Expectations {
    pub(in crate::ops::crf) fn new(
        gpu: &'static Gpu,
        emissions: &Tensor,
        weights: &CrfWeights<'_>,
        tags: Option<&Ids>,
        offsets: &Offsets,
    ) -> Result<Self> {
        let inputs = Inputs::new(gpu, emissions, weights, offsets)?;
        let recursion = Recursion::new(&inputs)?;
        let (marginals, ratios) = (inputs.values()?, inputs.values()?);
        let (losses, is_trusted) = (gpu.allocate(2 * inputs.texts)?, gpu.allocate(inputs.texts)?);
        let arguments = [
            inputs.emissions,
            Argument::from(&recursion.emission_maxima),
            Argument::from(&recursion.emission_factors),
            inputs.transitions,
            inputs.start,
            inputs.end,
            Argument::from(&recursion.logs),
            tags.map_or(Ok(Argument::NULL), |tags| tags.on(gpu))?,
            inputs.offsets,
            inputs.tokens.into(),
            inputs.tags.into(),
            Argument::from(&recursion.forward),
            Argument::from(&recursion.backward),
            Argument::from(&recursion.maxima),
            Argument::from(&marginals),
            Argument::from(&ratios),
            Argument::from(&losses),
            Argument::from(&is_trusted),
        ];
        gpu.launch("crf", "crf_probabilities", Grid::blocks(inputs.texts, THREADS), &arguments)?;

        let Recursion { factors, forward, .. } = recursion;
        let [marginals, shares, ratios] =
            [marginals, forward, ratios].map(|memory| Tensor::on_gpu(memory, &[inputs.tokens, inputs.tags]));
        let blocks = inputs.texts.min(MOST_EXACT_BLOCKS);
        let pairs = Tensor::on_gpu(
            gpu.allocate(blocks * inputs.tags * inputs.tags)?,
            &[blocks, inputs.tags * inputs.tags],
        );
        let expectations = Self { gpu, marginals, shares, ratios, factors, pairs, losses };
        expectations.redo_in_logarithms(&inputs, &is_trusted, blocks)?;
        Ok(expectations)
    }

    fn redo_in_logarithms(&self, inputs: &Inputs, is_trusted: &Memory, blocks: usize) -> Result<()> {
        let gpu = self.gpu;
        let alpha = gpu.allocate(2 * inputs.tokens * inputs.tags)?;
        let own = [
            is_trusted.into(),
            inputs.texts.into(),
            inputs.tags.into(),
            Argument::from(&alpha),
            gpu.read(&self.marginals)?,
            gpu.read(&self.shares)?,
            gpu.read(&self.ratios)?,
            gpu.read(&self.pairs)?,
            Argument::from(&self.losses),
        ];
        let arguments = [&inputs.first_arguments()[..], &own].concat();
        let grid = Grid::blocks(blocks, THREADS).with_shared(16 * inputs.tags);
        gpu.launch("crf_exact", "crf_exact", grid, &arguments)
    }

    /// Σ (log Z − score(y)) / tokens.
    pub(in crate::ops::crf) fn mean_loss(&self, offsets: &Offsets) -> Result<Memory> {
        let loss = self.gpu.allocate(1)?;
        let tokens = offsets.rows().max(1) as f32;
        let arguments =
            [Argument::from(&self.losses), offsets.segments().into(), tokens.into(), Argument::from(&loss)];
        self.gpu.launch("crf", "crf_mean", Grid::blocks(1, 32), &arguments)?;
        Ok(loss)
    }

    /// The first text in which every sequence is forbidden, or not every emission finite.
    pub(in crate::ops::crf) fn text_without_sequence(&self, offsets: &Offsets) -> Result<Option<usize>> {
        let mut log_partitions = vec![0.0f64; offsets.segments()];
        self.gpu.download(&self.losses, 0, bytemuck::cast_slice_mut(&mut log_partitions))?;
        Ok(log_partitions.iter().position(|log_partition| !log_partition.is_finite()))
    }

    /// P(y_t = j), `[tokens, tags]`.
    pub(in crate::ops::crf) fn into_marginals(self) -> Tensor {
        self.marginals
    }
}
