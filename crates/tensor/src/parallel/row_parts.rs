//! Parts of rows, for threads to write.

use std::marker::PhantomData;
use std::ops::Range;

/// Rows that several threads write, each its own part.
pub(crate) struct RowParts<'a, T = f32> {
    first: *mut T,
    length: usize,
    columns: usize,
    values: PhantomData<&'a mut [T]>,
}

// SAFETY: it is only a place; whoever asks for a part answers for being alone there.
unsafe impl<T: Send> Sync for RowParts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for RowParts<'_, T> {}

impl<'a, T> RowParts<'a, T> {
    /// Rows of `columns` values each.
    pub(crate) fn new(values: &'a mut [T], columns: usize) -> Self {
        Self { first: values.as_mut_ptr(), length: values.len(), columns, values: PhantomData }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Where a value lies.
    ///
    /// # Safety
    /// Nobody else may read or write what is written there meanwhile.
    pub(crate) unsafe fn pointer(&self, row: usize, column: usize) -> *mut T {
        let place = row * self.columns + column;
        assert!(place < self.length, "a part beyond the rows");
        // SAFETY: within the rows.
        unsafe { self.first.add(place) }
    }

    /// Calls `work(row, values)` for the part of each row that lies in a block.
    ///
    /// # Safety
    /// Nobody else may hold parts of the block meanwhile.
    pub(crate) unsafe fn for_each_row(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        mut work: impl FnMut(usize, &mut [T]),
    ) {
        for row in rows {
            // SAFETY: the caller is alone in the block, whose rows are disjoint.
            work(row, unsafe { self.part(row, columns.clone()) });
        }
    }

    /// Part of a row.
    ///
    /// # Safety
    /// Nobody else may hold the same part meanwhile.
    #[allow(clippy::mut_from_ref, reason = "the parts are disjoint")]
    pub(crate) unsafe fn part(&self, row: usize, columns: Range<usize>) -> &mut [T] {
        let place = row * self.columns + columns.start;
        assert!(
            columns.start <= columns.end
                && columns.end <= self.columns
                && place + columns.len() <= self.length,
            "a part beyond the rows"
        );
        // SAFETY: within the rows, and the caller is alone there.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(place), columns.len()) }
    }
}
