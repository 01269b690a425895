//! The sum of all ranks' gradients.

use std::collections::{BTreeMap, BTreeSet};

use polytask_tensor::{GpuRanks, Gradient, ParameterId, Parameters, RowGradient, Tensor};

use super::Communicator;
use crate::Result;

/// What the ranks together reached of one parameter.
enum Reached {
    All,
    Rows(BTreeSet<u32>),
}

/// Σ over the ranks of the gradients of each parameter that any of them reached, ascending: of an embedding the rows that any
/// of them touched. A parameter that no rank reached has none, as in one process. They lie where the parameters do, and are
/// summed there where the ranks' GPUs are joined; the rows of embeddings are put together in main memory before.
pub(crate) fn sum_gradients(
    ranks: &dyn Communicator,
    gpus: Option<&GpuRanks>,
    parameters: &Parameters,
    own: Vec<(ParameterId, Gradient)>,
) -> Result<Vec<(ParameterId, Gradient)>> {
    if ranks.size() == 1 {
        return Ok(own);
    }
    let mut reached = BTreeMap::new();
    for words in ranks.gather(bytemuck::cast_slice(&described(&own)))? {
        note(&mut reached, &bytemuck::pod_collect_to_vec::<u8, u32>(&words));
    }
    let mut own: BTreeMap<ParameterId, Gradient> = own.into_iter().collect();
    let mut sums = Vec::with_capacity(reached.len());
    for (id, parameter) in parameters.iter() {
        if let Some(reached) = reached.remove(&id.index()) {
            sums.push((id, of_extent(reached, own.remove(&id), parameter.tensor())?));
        }
    }
    match gpus {
        Some(gpus) => gpus.sum(&mut sums.iter_mut().map(|(_, sum)| sum.kept_mut()).collect::<Vec<_>>())?,
        None => sum_values(ranks, &mut sums)?,
    }
    for (id, sum) in &mut sums {
        let kept = sum.kept_mut();
        *kept = kept.to(parameters.get(*id).device())?;
    }
    Ok(sums)
}

/// All values in one message: each has a delay of its own.
fn sum_values(ranks: &dyn Communicator, gradients: &mut [(ParameterId, Gradient)]) -> Result<()> {
    let values: Vec<&[f32]> = gradients.iter().map(|(_, gradient)| gradient.values()).collect();
    let mut values = values.concat();
    ranks.sum(&mut values)?;
    let mut rest = values.as_slice();
    for (_, gradient) in gradients {
        gradient.update(|own| {
            let (sums, others) = rest.split_at(own.len());
            own.copy_from_slice(sums);
            rest = others;
        });
    }
    Ok(())
}

/// For each gradient its parameter and 0, or the number of its rows + 1 and the rows.
fn described(gradients: &[(ParameterId, Gradient)]) -> Vec<u32> {
    let mut words = Vec::new();
    for (id, gradient) in gradients {
        words.push(id.index() as u32);
        match gradient {
            Gradient::Dense(_) => words.push(0),
            Gradient::Rows(touched) => {
                words.push(touched.rows.len() as u32 + 1);
                words.extend(&touched.rows);
            }
        }
    }
    words
}

/// Adds what one rank described.
fn note(reached: &mut BTreeMap<usize, Reached>, mut words: &[u32]) {
    while let [id, extent, rest @ ..] = words {
        let (rows, rest) = rest.split_at((*extent as usize).saturating_sub(1));
        let entry = reached.entry(*id as usize).or_insert_with(|| Reached::Rows(BTreeSet::new()));
        match entry {
            Reached::Rows(all) if *extent > 0 => all.extend(rows),
            entry => *entry = Reached::All,
        }
        words = rest;
    }
}

/// A rank's own gradient with zeros where only others reached.
fn of_extent(reached: Reached, own: Option<Gradient>, parameter: &Tensor) -> Result<Gradient> {
    let zeros = match (reached, &own) {
        (Reached::All, Some(Gradient::Dense(_))) => None,
        (Reached::All, _) => Some(Gradient::Dense(Tensor::zeros(parameter.shape()))),
        (Reached::Rows(rows), _) => {
            let (total_rows, width) = parameter.rows_columns();
            let values = Tensor::zeros(&[rows.len(), width]);
            Some(Gradient::Rows(RowGradient { rows: rows.into_iter().collect(), values, total_rows }))
        }
    };
    Ok(match (zeros, own) {
        (Some(zeros), Some(own)) => zeros.plus(own)?,
        (Some(gradient), None) | (None, Some(gradient)) => gradient,
        (None, None) => Gradient::Dense(Tensor::zeros(parameter.shape())),
    })
}
