//! The heads of the texts as tasks of about the same size: a few texts with all their heads, or some heads of a long one.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Shape;
use super::head::{Head, Scratch};
use super::softmax::{LANES, RowStatistics};
use crate::matrix::RowParts;
use crate::memory::{self, Values};
use crate::parallel::for_each;

/// Multiply-adds of a forward that the calling thread does alone: some 50 µs, what handing out and waiting may cost.
const SMALL: usize = 1_500_000;
/// Multiply-adds of one task, some 10 µs.
const TASK: usize = 300_000;

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
        let tasks = self.tasks();
        for_each(tasks, |heads| {
            let texts = heads.start / self.heads..heads.end.div_ceil(self.heads);
            let longest = texts.map(|text| self.offsets.range(text).len()).max().unwrap_or(0);
            work(heads, &mut Scratch::new(longest, self.head_width()));
        });
    }

    fn tasks(&self) -> Vec<Range<usize>> {
        let multiply_adds = |n: usize| {
            let keys = n.min(self.window.saturating_mul(2).saturating_add(1));
            2 * self.head_width() * n * keys.next_multiple_of(LANES)
        };
        let heads = 0..self.offsets.segments() * self.heads;
        let all = self.heads * self.offsets.iter().map(|text| multiply_adds(text.len())).sum::<usize>();
        if all < SMALL {
            return vec![heads];
        }
        let (mut tasks, mut first, mut task) = (Vec::new(), 0, 0);
        for head in heads.clone() {
            task += multiply_adds(self.offsets.range(head / self.heads).len());
            if task >= TASK {
                tasks.push(first..head + 1);
                (first, task) = (head + 1, 0);
            }
        }
        tasks.push(first..heads.end);
        tasks
    }
}
