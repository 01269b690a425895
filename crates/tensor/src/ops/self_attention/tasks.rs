//! The heads of the texts as tasks of about the same size: a few texts with all their heads, or some heads of a long one.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Shape;
use super::head::{Head, Scratch};
use super::softmax::{LANES, RowStatistics};
use crate::memory::{self, Values};
use crate::parallel::{RowParts, hand_out};

/// Tasks that the heads are shared out to, where those are large enough and none is too large.
const TASKS: usize = 16;
/// Multiply-adds of a task at least, some 5 µs: to hand out less would cost more.
const SMALLEST_TASK: usize = 120_000;
/// Multiply-adds of a task at most, about.
const LARGEST_TASK: usize = 300_000;

/// The result `[tokens, width]`, and the statistics of the rows of S, `[heads, n, 2]` of each text, text after text.
pub(super) fn forward(shape: &Shape, projections: &[f32]) -> (Values, Values) {
    let tokens = shape.offsets.rows();
    let mut output = memory::overwritable(tokens * shape.width);
    let mut statistics =
        memory::overwritable(tokens * shape.heads * size_of::<RowStatistics>() / size_of::<f32>());
    let results = RowParts::new(&mut output, shape.width);
    let rows = RowParts::new(statistics.as_chunks_mut().0, tokens * shape.heads);
    shape.for_each_task(|heads, scratch| {
        Arch::new().dispatch(Forward {
            shape,
            projections,
            heads,
            scratch,
            output: &results,
            statistics: &rows,
        });
    });
    (output, statistics)
}

/// dQ, dK and dV side by side `[tokens, 3 · width]`, of dO.
pub(super) fn backward(shape: &Shape, projections: &[f32], statistics: &[f32], gradient: &[f32]) -> Values {
    let mut result = memory::overwritable(projections.len());
    let results = RowParts::new(&mut result, 3 * shape.width);
    let (statistics, _) = statistics.as_chunks();
    shape.for_each_task(|heads, scratch| {
        Arch::new().dispatch(Backward {
            shape,
            projections,
            statistics,
            gradient,
            heads,
            scratch,
            gradients: &results,
        });
    });
    result
}

struct Forward<'a> {
    shape: &'a Shape,
    projections: &'a [f32],
    heads: Range<usize>,
    scratch: &'a mut Scratch,
    output: &'a RowParts<'a>,
    statistics: &'a RowParts<'a, RowStatistics>,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for index in self.heads {
            let head = Head::new(self.shape, self.projections, index);
            // SAFETY: each head of each text has statistics and a place in the result of its own, and is in one task.
            unsafe {
                let statistics = self.statistics.part(0, head.statistics());
                head.forward(simd, self.scratch, self.output, statistics);
            }
        }
    }
}

struct Backward<'a> {
    shape: &'a Shape,
    projections: &'a [f32],
    statistics: &'a [RowStatistics],
    gradient: &'a [f32],
    heads: Range<usize>,
    scratch: &'a mut Scratch,
    gradients: &'a RowParts<'a>,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for index in self.heads {
            let head = Head::new(self.shape, self.projections, index);
            let statistics = &self.statistics[head.statistics()];
            // SAFETY: each head of each text has a place in the result of its own, and is in one task.
            unsafe { head.backward(simd, self.scratch, statistics, self.gradient, self.gradients) };
        }
    }
}

impl Shape {
    /// Calls `work(heads, scratch)` for ranges of heads, counted through all texts, which together are all of them.
    fn for_each_task(&self, work: impl Fn(Range<usize>, &mut Scratch) + Sync) {
        let texts = self.offsets.iter();
        let multiply_adds = self.heads * texts.map(|text| self.multiply_adds(text.len())).sum::<usize>();
        let tasks = (multiply_adds / SMALLEST_TASK).min(TASKS).max(multiply_adds / LARGEST_TASK);
        // Even, so that two threads have as much each.
        let least = multiply_adds / (tasks / 2 * 2).max(1);
        hand_out(multiply_adds, self.tasks(least).into_iter(), |heads| {
            let texts = heads.start / self.heads..heads.end.div_ceil(self.heads);
            let longest = texts.map(|text| self.offsets.range(text).len()).max().unwrap_or(0);
            work(heads, &mut Scratch::new(longest, self.head_width()));
        });
    }

    /// Ranges of heads with so many multiply-adds at least; the last takes what is left.
    fn tasks(&self, least: usize) -> Vec<Range<usize>> {
        let (mut tasks, mut first, mut task) = (Vec::new(), 0, 0);
        let heads = self.offsets.segments() * self.heads;
        for head in 0..heads {
            task += self.multiply_adds(self.offsets.range(head / self.heads).len());
            if task >= least {
                tasks.push(first..head + 1);
                (first, task) = (head + 1, 0);
            }
        }
        tasks.extend((first < heads).then_some(first..heads));
        tasks
    }

    /// Multiply-adds of the forward of one head of a text of n tokens.
    fn multiply_adds(&self, n: usize) -> usize {
        let keys = n.min(self.window.saturating_mul(2).saturating_add(1));
        2 * self.head_width() * n * keys.next_multiple_of(LANES)
    }
}
