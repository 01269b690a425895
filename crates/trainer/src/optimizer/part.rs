//! A parameter cut into parts of like size, so that one parallel loop goes over the parts of all parameters.

use polytask_tensor::Gradient;

use super::{Optimizer, Update};

/// Values that one thread updates at a time.
pub(super) const VALUES_A_PART: usize = 16 * 1024;

/// Some rows of one parameter and all that is theirs. Of a dense gradient the part is a single row.
pub(super) struct Part<'a> {
    /// The values from the first of the rows to the last.
    values: &'a mut [f32],
    /// What the optimizer keeps for these values.
    slots: Vec<&'a mut [f32]>,
    /// The rows to update, ascending.
    rows: &'a [u32],
    /// Their gradients, one after the other.
    gradient: &'a [f32],
    width: usize,
    update: Update,
}

impl<'a> Part<'a> {
    /// Cuts one parameter; its values, what is kept for them and the gradient must fit each other.
    pub(super) fn cut(
        values: &'a mut [f32],
        slots: Vec<&'a mut [f32]>,
        gradient: &'a Gradient,
        update: Update,
    ) -> Vec<Self> {
        let mut rest = Rest { values, slots, taken: 0 };
        match gradient {
            Gradient::Dense(gradient) => gradient
                .data()
                .chunks(VALUES_A_PART)
                .map(|gradient| rest.take(rest.taken, &[0], gradient, gradient.len(), update))
                .collect(),
            Gradient::Rows(touched) => {
                let (_, width) = touched.values.rows_columns();
                let width = width.max(1);
                let rows = VALUES_A_PART.div_ceil(width);
                let groups = touched.rows.chunks(rows).zip(touched.values.data().chunks(rows * width));
                groups
                    .map(|(rows, gradient)| {
                        rest.take(rows[0] as usize * width, rows, gradient, width, update)
                    })
                    .collect()
            }
        }
    }

    /// Updates the rows.
    pub(super) fn update(&mut self, optimizer: &dyn Optimizer) {
        let first = self.rows[0];
        for (row, gradient) in self.rows.iter().zip(self.gradient.chunks(self.width)) {
            let start = (row - first) as usize * self.width;
            let range = start..start + self.width;
            let mut slots: Vec<&mut [f32]> =
                self.slots.iter_mut().map(|slot| &mut slot[range.clone()]).collect();
            optimizer.update(&mut self.values[range], gradient, &mut slots, self.update);
        }
    }
}

/// What is not cut off yet of one parameter.
struct Rest<'a> {
    values: &'a mut [f32],
    slots: Vec<&'a mut [f32]>,
    /// The values before it.
    taken: usize,
}

impl<'a> Rest<'a> {
    /// Cuts off the part of these rows, the first of which begins at `start`.
    fn take(
        &mut self,
        start: usize,
        rows: &'a [u32],
        gradient: &'a [f32],
        width: usize,
        update: Update,
    ) -> Part<'a> {
        let length = match rows {
            [first, .., last] => (last - first) as usize * width + width,
            _ => width,
        };
        let skipped = start - self.taken;
        self.taken = start + length;
        let cut = |rest: &mut &'a mut [f32]| {
            let cut = rest.split_off_mut(..skipped + length);
            cut.and_then(|cut| cut.get_mut(skipped..)).unwrap_or_default()
        };
        let slots = self.slots.iter_mut().map(cut).collect();
        Part { values: cut(&mut self.values), slots, rows, gradient, width, update }
    }
}
