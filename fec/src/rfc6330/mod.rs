//! What RFC 6330 prescribes: tables, generators, and the rows of the constraint matrix A.

mod parameters;
mod random_tables;
mod systematic_table;
mod tuple;

pub(crate) use parameters::Parameters;

/// An index of a column or row as it is stored.
///
/// All such indices fit: L is at most 57,326 (§5.6), and plans keep their own rows below 2^16.
#[expect(clippy::cast_possible_truncation, reason = "documented above, and asserted in debug builds")]
pub(crate) fn narrow(index: usize) -> u16 {
    debug_assert!(u16::try_from(index).is_ok());
    index as u16
}
