//! Sums of rows, compiled by destination: what a plan runs on every strip of columns.

use crate::rfc6330::narrow;

/// A list of operations "row = [source symbol +] sum of rows", in the order in which they must run.
///
/// One flat stream of codes: destination, source symbol or [`NO_SOURCE`], number of rows, the rows, that number again (so
/// that it can be read backwards).
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    codes: Vec<u16>,
    /// One above the largest row named. Kernels rely on it.
    rows: usize,
}

const NO_SOURCE: u16 = u16::MAX;

/// One operation of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation<'a> {
    /// The row that is overwritten.
    pub row: u16,
    /// The source symbol that is part of the sum.
    pub source: Option<u16>,
    /// The rows that are part of the sum.
    pub terms: &'a [u16],
}

impl Program {
    /// Appends an operation.
    pub(crate) fn push(&mut self, row: u16, source: Option<u16>, terms: impl IntoIterator<Item = u16>) {
        let head = self.codes.len();
        self.codes.extend([row, source.unwrap_or(NO_SOURCE), 0]);
        self.codes.extend(terms);
        let count = narrow(self.codes.len() - head - 3);
        self.codes[head + 2] = count;
        self.codes.push(count);
        let largest =
            self.codes[head + 3..].iter().take(usize::from(count)).fold(row, |largest, &term| largest.max(term));
        self.rows = self.rows.max(usize::from(largest) + 1);
    }

    /// Gives back memory that was reserved and is not needed.
    pub(crate) fn shrink(&mut self) {
        self.codes.shrink_to_fit();
    }

    /// Rows that a slab must have: one above the largest row that any operation names.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of heap.
    pub(crate) fn heap_len(&self) -> usize {
        self.codes.capacity() * size_of::<u16>()
    }

    /// Terms of all sums, source symbols among them.
    pub(crate) fn additions(&self) -> usize {
        self.operations().map(|operation| operation.terms.len() + usize::from(operation.source.is_some())).sum()
    }

    /// The operations in their order.
    #[inline(always)]
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let mut rest = self.codes.as_slice();
        std::iter::from_fn(move || {
            let [row, source, count, after @ ..] = rest else { return None };
            let (terms, after) = after.split_at_checked(usize::from(*count))?;
            rest = after.get(1..)?;
            Some(Operation { row: *row, source: (*source != NO_SOURCE).then_some(*source), terms })
        })
    }

    /// The operations, last first.
    #[inline(always)]
    pub(crate) fn operations_reversed(&self) -> impl Iterator<Item = Operation<'_>> {
        let mut rest = self.codes.as_slice();
        std::iter::from_fn(move || {
            let [before @ .., count] = rest else { return None };
            let (before, terms) = before.split_at_checked(before.len().checked_sub(usize::from(*count))?)?;
            let [before @ .., row, source, _] = before else { return None };
            rest = before;
            Some(Operation { row: *row, source: (*source != NO_SOURCE).then_some(*source), terms })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_come_back_in_both_directions() {
        let mut program = Program::default();
        let all = [(7, Some(3), vec![1, 2]), (0, None, vec![]), (65_534, None, vec![5, 9, 11])];
        for (row, source, terms) in all.clone() {
            program.push(row, source, terms);
        }
        let forwards: Vec<_> = program.operations().collect();
        let expected: Vec<_> =
            all.iter().map(|(row, source, terms)| Operation { row: *row, source: *source, terms }).collect();
        assert_eq!(forwards, expected);
        let mut backwards: Vec<_> = program.operations_reversed().collect();
        backwards.reverse();
        assert_eq!(backwards, expected);
        assert_eq!(program.rows(), 65_535);
    }
}
