//! The first phase of elimination (RFC 6330 §5.4.2.2): which row determines which column, and which columns are left over.
//!
//! No row operation is made. A row that has one undetermined column determines it (its *pivot*) out of columns determined
//! before and of inactive ones; when there is no such row, a column is made inactive. What remains is a small dense system in
//! the inactive columns.

use super::sparse::{Columns, SparseRows};
use crate::rfc6330::{Parameters, narrow};

/// What became of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing yet.
    Open,
    /// The pivot of this number determines it.
    Pivot(u16),
    /// It is the inactive column of this number.
    Inactive(u16),
}

/// A row and the column that it determines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pivot {
    pub row: u32,
    pub column: u16,
}

/// The outcome: every column is a pivot's or inactive.
#[derive(Debug)]
pub(super) struct Peeled {
    pub rows: SparseRows,
    /// In an order in which each depends on earlier ones only.
    pub pivots: Vec<Pivot>,
    /// PI columns first.
    pub inactive: Vec<u16>,
    /// Of every column.
    pub roles: Vec<Role>,
    /// Rows that are no pivot's.
    pub rest: Vec<u32>,
}

/// Rows with fewer ones make shorter programs, so they are preferred; above this it does not matter.
const LENGTH_CLASSES: usize = 16;

struct Peeling {
    rows: SparseRows,
    columns: Columns,
    roles: Vec<Role>,
    /// Open columns of each row that is not used.
    open: Vec<u16>,
    used: Vec<bool>,
    pivots: Vec<Pivot>,
    inactive: Vec<u16>,
    /// Rows that have had one open column, by length.
    ones: [Vec<u32>; LENGTH_CLASSES],
    /// Rows that have had two.
    twos: Vec<u32>,
}

/// Peels the system of the LDPC rows and the symbols `isis`.
pub(super) fn peel(code: &Parameters, isis: &[u32]) -> Peeled {
    let mut peeling = Peeling::new(code, isis);
    while peeling.pivots.len() + peeling.inactive.len() < code.l {
        if let Some(row) = peeling.pop_one() {
            peeling.pivot(row);
        } else {
            let column = peeling.column_to_inactivate(code);
            peeling.inactivate(column);
        }
    }
    let rest = (0..).zip(&peeling.used).filter(|&(_, used)| !used).map(|(row, _)| row).collect();
    let Peeling { rows, pivots, inactive, roles, .. } = peeling;
    Peeled { rows, pivots, inactive, roles, rest }
}

impl Peeling {
    fn new(code: &Parameters, isis: &[u32]) -> Self {
        let rows = SparseRows::new(code, isis);
        let columns = rows.transposed_lt(code.w);
        let open: Vec<u16> = (0..rows.len()).map(|row| narrow(rows.lt(row).len())).collect();
        let mut peeling = Self {
            roles: vec![Role::Open; code.l],
            used: vec![false; rows.len()],
            pivots: Vec::with_capacity(code.l),
            inactive: Vec::with_capacity(2 * code.p),
            ones: Default::default(),
            twos: Vec::new(),
            rows,
            columns,
            open,
        };
        for column in code.w..code.l {
            peeling.roles[column] = Role::Inactive(narrow(peeling.inactive.len()));
            peeling.inactive.push(narrow(column));
        }
        for row in 0..peeling.open.len() {
            peeling.note(row);
        }
        peeling
    }

    /// Remembers row `row` when few of its columns are open.
    fn note(&mut self, row: usize) {
        let number = u32::try_from(row).unwrap_or(u32::MAX);
        match self.open[row] {
            1 => self.ones[self.rows.all(row).len().min(LENGTH_CLASSES - 1)].push(number),
            2 => self.twos.push(number),
            _ => {}
        }
    }

    /// A row with one open column.
    fn pop_one(&mut self) -> Option<usize> {
        for class in &mut self.ones {
            while let Some(row) = class.pop() {
                let row = row as usize;
                if !self.used[row] && self.open[row] == 1 {
                    return Some(row);
                }
            }
        }
        None
    }

    /// Lets `row` determine its one open column.
    fn pivot(&mut self, row: usize) {
        let is_open = |column: &&u16| self.roles[usize::from(**column)] == Role::Open;
        let Some(&column) = self.rows.lt(row).iter().find(is_open) else { return };
        self.used[row] = true;
        self.roles[usize::from(column)] = Role::Pivot(narrow(self.pivots.len()));
        self.pivots.push(Pivot { row: u32::try_from(row).unwrap_or(u32::MAX), column });
        self.close(column);
    }

    fn inactivate(&mut self, column: u16) {
        self.roles[usize::from(column)] = Role::Inactive(narrow(self.inactive.len()));
        self.inactive.push(column);
        self.close(column);
    }

    /// Takes a column that is not open any more off its rows.
    fn close(&mut self, column: u16) {
        for index in 0..self.columns.rows(column).len() {
            let row = self.columns.rows(column)[index] as usize;
            self.open[row] -= 1;
            if !self.used[row] {
                self.note(row);
            }
        }
    }

    /// The column whose loss frees most: it is in the largest component of the graph whose edges are the rows with two open
    /// columns (all of that component is determined then); without such rows, in a row with the fewest open columns.
    fn column_to_inactivate(&mut self, code: &Parameters) -> u16 {
        let (used, open) = (&self.used, &self.open);
        self.twos.retain(|&row| !used[row as usize] && open[row as usize] == 2);
        let shortest = if self.twos.is_empty() { self.shortest_row() } else { None };
        let rows = if let Some(row) = &shortest { std::slice::from_ref(row) } else { self.twos.as_slice() };
        let mut components = Components::new(code.w);
        for &row in rows {
            let mut ends = self.open_columns(row);
            if let Some(first) = ends.next() {
                ends.for_each(|other| components.join(first, other));
            }
        }
        let members = rows.iter().filter(|&&row| {
            self.open_columns(row).next().is_some_and(|column| components.root(column) == components.largest)
        });
        let longest =
            members.flat_map(|&row| self.open_columns(row)).max_by_key(|&column| self.columns.rows(column).len());
        let any_open = || (0..code.w).find(|&column| self.roles[column] == Role::Open).map(narrow);
        longest.or_else(any_open).unwrap_or_default()
    }

    fn open_columns(&self, row: u32) -> impl Iterator<Item = u16> {
        self.rows.lt(row as usize).iter().copied().filter(|&column| self.roles[usize::from(column)] == Role::Open)
    }

    /// A row with the fewest open columns.
    fn shortest_row(&self) -> Option<u32> {
        let rows = (0..).zip(self.used.iter().zip(&self.open)).filter(|&(_, (&used, &open))| !used && open > 0);
        rows.min_by_key(|&(_, (_, &open))| open).map(|(row, _)| row)
    }
}

/// Disjoint sets of columns.
struct Components {
    parents: Vec<u16>,
    sizes: Vec<u16>,
    /// The root of the largest one.
    largest: u16,
}

impl Components {
    fn new(columns: usize) -> Self {
        Self { parents: (0..columns).map(narrow).collect(), sizes: vec![1; columns], largest: 0 }
    }

    fn root(&mut self, mut column: u16) -> u16 {
        loop {
            let parent = self.parents[usize::from(column)];
            if parent == column {
                return column;
            }
            let above = self.parents[usize::from(parent)];
            self.parents[usize::from(column)] = above;
            column = above;
        }
    }

    fn size(&self, root: u16) -> u16 {
        self.sizes[usize::from(root)]
    }

    fn join(&mut self, one: u16, other: u16) {
        let (one, other) = (self.root(one), self.root(other));
        if one != other {
            let (small, large) = if self.size(one) < self.size(other) { (one, other) } else { (other, one) };
            self.parents[usize::from(small)] = large;
            self.sizes[usize::from(large)] += self.sizes[usize::from(small)];
            if self.size(large) > self.size(self.largest) || self.parents[usize::from(self.largest)] != self.largest {
                self.largest = large;
            }
        }
    }
}
