//! A number of symbols for each block: what is lacking, or what will be repaired.

use crate::cbor::{FieldError, FieldProblem, array, uint};
use crate::partition::MAX_BLOCKS;
use ciborium::Value;

/// Most symbols that can be named for a block: no block has more (RFC 6330 §4.4.1.2 allows 56,403).
pub const MAX_DEFICIT: u32 = 0xFFFF;

/// Symbols by block. On the wire: an array by SBN, cut after the last block that has any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deficits(Vec<u16>);

impl Deficits {
    /// The counts by SBN; those past [`MAX_DEFICIT`] count as that, and blocks that cannot be are left out.
    pub fn from_counts(counts: impl IntoIterator<Item = u32>) -> Self {
        let clamp = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        let mut counts: Vec<u16> = counts.into_iter().take(usize::from(MAX_BLOCKS)).map(clamp).collect();
        counts.truncate(counts.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1));
        Self(counts)
    }

    /// Symbols of block `sbn`.
    pub fn of(&self, sbn: u8) -> u32 {
        self.0.get(usize::from(sbn)).copied().map_or(0, u32::from)
    }

    /// Whether no block has any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The blocks that have any, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        (0..=u8::MAX).zip(&self.0).filter(|(_, count)| **count > 0).map(|(sbn, count)| (sbn, u32::from(*count)))
    }

    /// The largest count.
    pub fn largest(&self) -> u32 {
        self.0.iter().copied().max().map_or(0, u32::from)
    }

    /// Raises every count to that of `other`; whether one rose.
    pub fn raise_to(&mut self, other: &Self) -> bool {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        let mut has_risen = false;
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            has_risen |= *other > *own;
            *own = (*own).max(*other);
        }
        has_risen
    }

    pub(crate) fn to_value(&self) -> Value {
        Value::Array(self.0.iter().map(|&count| Value::from(count)).collect())
    }

    pub(crate) fn from_value(value: Value, field: &'static str) -> Result<Self, FieldError> {
        let values = array(value, field)?;
        let (len, max) = (values.len(), usize::from(MAX_BLOCKS));
        if len > max {
            return Err(FieldProblem::Length { len, min: 0, max }.of(field));
        }
        let counts: Result<Vec<u32>, FieldError> =
            values.into_iter().map(|count| Ok(u32::try_from(uint(count, field)?).unwrap_or(u32::MAX))).collect();
        Ok(Self::from_counts(counts?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_rise_and_are_cut_after_the_last() {
        let mut all = Deficits::from_counts([0, 3, 0]);
        assert_eq!(all, Deficits::from_counts([0, 3]));
        assert!(!all.raise_to(&Deficits::from_counts([0, 2])));
        assert!(all.raise_to(&Deficits::from_counts([0, 2, 0, 9])));
        assert_eq!(all.iter().collect::<Vec<_>>(), [(1, 3), (3, 9)]);
        assert_eq!((all.of(1), all.of(2), all.of(200), all.largest()), (3, 0, 0, 9));
        assert!(Deficits::from_counts([0, 0]).is_empty());
    }
}
