use super::recursion::{Recursion, Text};
use super::{Chain, CrfWeights, map_texts};
use crate::matrix::{Matrix, product};
use crate::memory::{self, Values};
use crate::{Ids, Offsets, Result, Tensor};

/// What is expected of each text.
pub(super) struct Expectations {
    recursion: Recursion,
    texts: Vec<Text>,
}

impl Expectations {
    pub(super) fn new(emissions: &Tensor, weights: &CrfWeights<'_>, offsets: &Offsets) -> Self {
        let recursion = Recursion::new(Chain::new(weights));
        let texts = map_texts(emissions, offsets, |_, emissions| recursion.text(emissions));
        Self { recursion, texts }
    }

    /// Σ log Z over texts.
    pub(super) fn log_partition(&self) -> f64 {
        self.texts.iter().map(|text| text.log_partition).sum()
    }

    /// Those of emissions, transitions, start and end, times `factor`.
    pub(super) fn gradients(&self, tags: &Ids, offsets: &Offsets, factor: f32) -> Result<[Tensor; 4]> {
        let count = self.recursion.tags();
        let emissions = self.emission_gradient(tags, factor);
        let transitions = self.transition_gradient(tags, offsets, factor);
        let mut start = vec![0.0; count];
        let mut end = vec![0.0; count];
        for rows in offsets.iter().filter(|rows| !rows.is_empty()) {
            let row = |token: usize| &emissions[token * count..(token + 1) * count];
            start.iter_mut().zip(row(rows.start)).for_each(|(sum, value)| *sum += value);
            end.iter_mut().zip(row(rows.end - 1)).for_each(|(sum, value)| *sum += value);
        }
        Ok([
            Tensor::of(emissions, &[offsets.rows(), count])?,
            Tensor::of(transitions, &[count, count])?,
            Tensor::new(start, &[count])?,
            Tensor::new(end, &[count])?,
        ])
    }

    /// P(y_t = j) − [y_t = j], `[tokens, tags]`, times `factor`.
    fn emission_gradient(&self, tags: &Ids, factor: f32) -> Values {
        let mut gradient = concatenated(&self.texts, |text| &text.marginals);
        for (row, &tag) in gradient.chunks_exact_mut(self.recursion.tags()).zip(tags.as_slice()) {
            row[tag as usize] -= 1.0;
        }
        scale(&mut gradient, factor);
        gradient
    }

    /// Σ_t P(y_{t−1} = i, y_t = j) − [y_{t−1} = i, y_t = j], `[tags, tags]`, times `factor`: F ⊙ αᵀ r over all tokens.
    fn transition_gradient(&self, tags: &Ids, offsets: &Offsets, factor: f32) -> Values {
        let (count, stride) = (self.recursion.tags(), self.recursion.stride);
        let shares = concatenated(&self.texts, |text| &text.shares);
        let ratios = concatenated(&self.texts, |text| &text.ratios);
        let mut gradient = memory::overwritable(count * count);
        let left = Matrix::new(&shares, stride).transposed();
        product(&mut gradient, left, Matrix::new(&ratios, stride), offsets.rows(), count);
        for (row, factors) in
            gradient.chunks_exact_mut(count).zip(self.recursion.factors.chunks_exact(stride))
        {
            row.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        }
        for pairs in self.texts.iter().map(|text| &text.pairs) {
            gradient.iter_mut().zip(pairs).for_each(|(value, probability)| *value += probability);
        }
        for rows in offsets.iter() {
            for pair in tags.as_slice()[rows].windows(2) {
                gradient[pair[0] as usize * count + pair[1] as usize] -= 1.0;
            }
        }
        scale(&mut gradient, factor);
        gradient
    }
}

/// Σ score(y) over texts.
pub(super) fn score(emissions: &Tensor, weights: &CrfWeights<'_>, tags: &Ids, offsets: &Offsets) -> f64 {
    let of_text = |rows: std::ops::Range<usize>| {
        let tags = &tags.as_slice()[rows.clone()];
        let (Some(&first), Some(&last)) = (tags.first(), tags.last()) else { return 0.0 };
        let emitted = rows.zip(tags).map(|(token, &tag)| f64::from(emissions.row(token)[tag as usize]));
        let step = |pair: &[u32]| f64::from(weights.transitions.row(pair[0] as usize)[pair[1] as usize]);
        let ends = [(weights.start, first), (weights.end, last)];
        let ends: f64 = ends.iter().map(|(weights, tag)| f64::from(weights.data()[*tag as usize])).sum();
        ends + emitted.sum::<f64>() + tags.windows(2).map(step).sum::<f64>()
    };
    offsets.iter().map(of_text).sum()
}

fn concatenated(texts: &[Text], part: impl Fn(&Text) -> &Vec<f32>) -> Values {
    let mut all = memory::overwritable(texts.iter().map(|text| part(text).len()).sum());
    let mut rest = &mut *all;
    for part in texts.iter().map(part) {
        if let Some(place) = rest.split_off_mut(..part.len()) {
            place.copy_from_slice(part);
        }
    }
    all
}

fn scale(values: &mut [f32], factor: f32) {
    values.iter_mut().for_each(|value| *value *= factor);
}
