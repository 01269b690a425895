//! Integer tensors: row numbers, and the offsets that cut packed rows into texts.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::cuda::{Argument, Gpu, Memory};
use crate::{Error, Result};

/// Numbers, and their copy on a GPU once an operation there has read them.
struct Numbers {
    numbers: Box<[u32]>,
    on_gpu: OnceLock<Memory>,
}

impl Numbers {
    fn shared(numbers: impl Into<Box<[u32]>>) -> Arc<Self> {
        Arc::new(Self { numbers: numbers.into(), on_gpu: OnceLock::new() })
    }

    fn on(&self, gpu: &'static Gpu) -> Result<Argument> {
        if let Some(memory) = self.on_gpu.get() {
            return Ok(gpu.same(memory)?.into());
        }
        let memory = gpu.upload(&self.numbers)?;
        Ok(gpu.same(self.on_gpu.get_or_init(|| memory))?.into())
    }
}

/// Row numbers or class numbers, one after another; cloning shares them.
#[derive(Clone)]
pub struct Ids(Arc<Numbers>);

impl Ids {
    /// The ids in their order.
    pub fn as_slice(&self) -> &[u32] {
        &self.0.numbers
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.numbers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.numbers.is_empty()
    }

    /// Checks that every id is below `bound`.
    ///
    /// # Errors
    /// Names the operation, the first id that is not, and where it stands.
    pub fn check_below(&self, bound: usize, operation: &'static str) -> Result<()> {
        match self.0.numbers.iter().position(|&id| id as usize >= bound) {
            None => Ok(()),
            Some(position) => {
                let id = self.0.numbers[position];
                Err(Error::shape(operation, format!("id {id} at position {position} is not below {bound}")))
            }
        }
    }
}

impl From<Vec<u32>> for Ids {
    fn from(ids: Vec<u32>) -> Self {
        Self(Numbers::shared(ids))
    }
}

impl From<&[u32]> for Ids {
    fn from(ids: &[u32]) -> Self {
        Self(Numbers::shared(ids))
    }
}

/// Where each segment (a text, a word) of packed rows begins and ends: `[segments + 1]` numbers from 0 on, never
/// decreasing; segment `s` is rows `offsets[s]..offsets[s + 1]`. Cloning shares them.
#[derive(Clone)]
pub struct Offsets(Arc<Numbers>);

macro_rules! compared_and_shown_as_numbers {
    ($($name:ident),*) => {$(
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.numbers == other.0.numbers
            }
        }

        impl Eq for $name {}

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0.numbers).finish()
            }
        }

        impl $name {
            /// Where the numbers lie on a GPU, copied there at the first call.
            pub(crate) fn on(&self, gpu: &'static Gpu) -> Result<Argument> {
                self.0.on(gpu)
            }
        }
    )*};
}

compared_and_shown_as_numbers!(Ids, Offsets);

impl Offsets {
    /// Offsets as they stand in a packed batch.
    ///
    /// # Errors
    /// They do not start at 0, or decrease somewhere.
    pub fn new(offsets: &[u32]) -> Result<Self> {
        match offsets.first() {
            Some(0) => {}
            first => return Err(Error::Offsets { position: 0, found: first.copied().unwrap_or(u32::MAX) }),
        }
        match offsets.windows(2).position(|pair| pair[1] < pair[0]) {
            Some(i) => Err(Error::Offsets { position: i + 1, found: offsets[i + 1] }),
            None => Ok(Self(Numbers::shared(offsets))),
        }
    }

    /// Offsets of segments of the given lengths. Beyond 2³² − 1 rows, more than offsets can tell, all further segments
    /// are empty: [`check_rows`](Self::check_rows) then refuses them.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0u32];
        let mut end = 0u32;
        for length in lengths {
            end = end.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
            offsets.push(end);
        }
        Self(Numbers::shared(offsets))
    }

    /// The number of segments.
    pub fn segments(&self) -> usize {
        self.0.numbers.len() - 1
    }

    /// The number of rows of all segments together.
    pub fn rows(&self) -> usize {
        self.0.numbers[self.0.numbers.len() - 1] as usize
    }

    /// The rows of one segment.
    pub fn range(&self, segment: usize) -> Range<usize> {
        self.0.numbers[segment] as usize..self.0.numbers[segment + 1] as usize
    }

    /// The rows of each segment in turn.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.0.numbers.windows(2).map(|pair| pair[0] as usize..pair[1] as usize)
    }

    /// The rows of the longest segment.
    pub fn longest(&self) -> usize {
        self.iter().map(|range| range.len()).max().unwrap_or(0)
    }

    /// Checks that the segments cover exactly `rows` rows.
    ///
    /// # Errors
    /// Names the operation, the rows covered and the rows there are.
    pub fn check_rows(&self, rows: usize, operation: &'static str) -> Result<()> {
        if self.rows() == rows {
            return Ok(());
        }
        Err(Error::shape(operation, format!("the offsets cover {} rows, the input has {rows}", self.rows())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_must_start_at_zero_and_never_decrease() {
        assert!(Offsets::new(&[]).is_err());
        assert!(Offsets::new(&[1, 2]).is_err());
        let error = Offsets::new(&[0, 3, 2]).unwrap_err().to_string();
        assert!(error.contains("found 2 at position 2"), "{error}");
        let offsets = Offsets::new(&[0, 3, 3, 5]).unwrap();
        assert_eq!(offsets, Offsets::from_lengths([3, 0, 2]));
        assert_eq!((offsets.segments(), offsets.rows(), offsets.longest()), (3, 5, 3));
        assert_eq!(offsets.iter().collect::<Vec<_>>(), [0..3, 3..3, 3..5]);
    }

    #[test]
    fn more_rows_than_offsets_can_tell_are_refused() {
        for lengths in [[u32::MAX as usize, 7], [1 << 32, 7]] {
            let offsets = Offsets::from_lengths(lengths);
            assert_eq!(offsets.iter().last(), Some(u32::MAX as usize..u32::MAX as usize));
            assert!(offsets.check_rows(lengths.iter().sum(), "linear").is_err());
        }
    }

    #[test]
    fn ids_out_of_bounds_are_named() {
        let error = Ids::from(vec![0, 7, 2]).check_below(5, "embedding").unwrap_err().to_string();
        assert_eq!(error, "embedding: id 7 at position 1 is not below 5");
    }
}
