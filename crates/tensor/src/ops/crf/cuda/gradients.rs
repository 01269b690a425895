use super::expectations::Expectations;
use super::{THREADS, grid_of_tokens};
use crate::cuda::{Argument, Grid, Memory, Side};
use crate::{Ids, Offsets, Precision, Result, Tensor};

impl Expectations {
    /// Those of emissions, transitions, start and end, where `gradient` is the loss's.
    pub(in crate::ops::crf) fn gradients(
        &self,
        tags: &Ids,
        offsets: &Offsets,
        gradient: &Tensor,
    ) -> Result<[Tensor; 4]> {
        let (_, count) = self.marginals.rows_columns();
        let emissions = self.emission_gradient(tags, gradient)?;
        let [start, end] = self.end_gradients(&emissions, offsets)?;
        let transitions = self.transition_gradient(tags, offsets, gradient)?;
        Ok([
            Tensor::on_gpu(emissions, self.marginals.shape()),
            Tensor::on_gpu(transitions, &[count, count]),
            Tensor::on_gpu(start, &[count]),
            Tensor::on_gpu(end, &[count]),
        ])
    }

    fn emission_gradient(&self, tags: &Ids, gradient: &Tensor) -> Result<Memory> {
        let (gpu, (tokens, count)) = (self.gpu, self.marginals.rows_columns());
        let result = gpu.allocate(tokens * count)?;
        let arguments = [
            gpu.read(&self.marginals)?,
            tags.on(gpu)?,
            gpu.read(gradient)?,
            tokens.into(),
            count.into(),
            Argument::from(&result),
        ];
        gpu.launch("crf_gradient", "crf_emission_gradient", grid_of_tokens(tokens), &arguments)?;
        Ok(result)
    }

    fn end_gradients(&self, emissions: &Memory, offsets: &Offsets) -> Result<[Memory; 2]> {
        let (gpu, (_, count)) = (self.gpu, self.marginals.rows_columns());
        let (start, end) = (gpu.allocate(count)?, gpu.allocate(count)?);
        let arguments = [
            emissions.into(),
            offsets.on(gpu)?,
            offsets.segments().into(),
            count.into(),
            Argument::from(&start),
            Argument::from(&end),
        ];
        let grid = Grid::blocks(count.div_ceil(THREADS as usize), THREADS);
        gpu.launch("crf_gradient", "crf_end_gradients", grid, &arguments)?;
        Ok([start, end])
    }

    fn transition_gradient(&self, tags: &Ids, offsets: &Offsets, gradient: &Tensor) -> Result<Memory> {
        let (gpu, (_, count)) = (self.gpu, self.marginals.rows_columns());
        let shares = Side::from(&self.shares).transposed();
        let products = gpu.product(Precision::F32, shares, (&self.ratios).into(), None)?;
        let pairs = gpu.sum_over_rows(&self.pairs)?;
        let counts = gpu.upload(&counts(tags, offsets, count))?;
        let result = gpu.allocate(count * count)?;
        let arguments = [
            Argument::from(&self.factors),
            Argument::from(&products),
            Argument::from(&pairs),
            Argument::from(&counts),
            gpu.read(gradient)?,
            (offsets.rows().max(1) as f32).into(),
            (count * count).into(),
            Argument::from(&result),
        ];
        gpu.launch("crf_gradient", "crf_transition_gradient", Grid::over(count * count), &arguments)?;
        Ok(result)
    }
}

/// How often each tag follows each, `[tags, tags]`.
fn counts(tags: &Ids, offsets: &Offsets, count: usize) -> Vec<f32> {
    let mut counts = vec![0.0; count * count];
    for rows in offsets.iter() {
        for pair in tags.as_slice()[rows].windows(2) {
            counts[pair[0] as usize * count + pair[1] as usize] += 1.0;
        }
    }
    counts
}
