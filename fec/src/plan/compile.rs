//! From an elimination to programs: what is done to the symbols themselves, by destination.
//!
//! 1. `forward`: e\[j\] of every pivot, and of the binary rows taken; zeros for inactive columns.
//! 2. HDPC sums of all columns, by the scheme of Horner (not a program).
//! 3. `combine`: the sums of binary rows, brought to echelon form.
//! 4. The unknown inactive columns: one small product (not a program).
//! 5. `back`: the other inactive columns, then C\[j\] of every pivot, in terms of its own row again. That is cheaper than from
//!    e\[j\] and the dense expression E\[j\].

use super::Elimination;
use super::layout::Layout;
use super::octets::Solution;
use super::peel::Role;
use crate::gf256::Program;
use crate::rfc6330::narrow;

/// The programs of a plan.
#[derive(Debug)]
pub(super) struct Programs {
    pub forward: Program,
    pub combine: Program,
    pub back: Program,
}

impl Programs {
    pub(super) fn compile(elimination: &Elimination, solution: &Solution, layout: &Layout) -> Self {
        let compiler = Compiler { elimination, solution, layout };
        let mut programs = Self { forward: compiler.forward(), combine: compiler.combine(), back: compiler.back() };
        programs.forward.shrink();
        programs.combine.shrink();
        programs.back.shrink();
        programs
    }
}

struct Compiler<'a> {
    elimination: &'a Elimination,
    solution: &'a Solution,
    layout: &'a Layout,
}

impl Compiler<'_> {
    fn role(&self, column: u16) -> Role {
        self.elimination.peeled.roles[usize::from(column)]
    }

    /// The columns of `row` that pivots determine, without `own`.
    fn pivot_columns(&self, row: u32, own: Option<u16>) -> impl Iterator<Item = u16> {
        let columns = self.elimination.peeled.rows.lt(row as usize).iter().copied();
        columns.filter(move |&column| Some(column) != own && matches!(self.role(column), Role::Pivot(_)))
    }

    fn symbol(&self, row: u32) -> Option<u16> {
        self.elimination.symbol_of(row).map(narrow)
    }

    fn forward(&self) -> Program {
        let mut program = Program::default();
        for &column in &self.elimination.peeled.inactive {
            program.push(column, None, []);
        }
        for pivot in &self.elimination.peeled.pivots {
            program.push(pivot.column, self.symbol(pivot.row), self.pivot_columns(pivot.row, Some(pivot.column)));
        }
        for (number, &row) in self.elimination.taken.iter().enumerate() {
            program.push(self.layout.taken(number), self.symbol(row), self.pivot_columns(row, None));
        }
        program
    }

    /// Multiplies the taken rows by a dense binary matrix: sums of a few neighbours are made once, all that occur, and then
    /// each row is a sum of such sums (the method of the four Russians).
    fn combine(&self) -> Program {
        let (system, group) = (&self.elimination.system, self.layout.group());
        let rank = system.rank();
        let mut program = Program::default();
        let pattern = |row: usize, first: usize| {
            (0..group.min(rank - first))
                .fold(0, |pattern, n| pattern | usize::from(system.made_of(row, first + n)) << n)
        };
        for first in (0..rank).step_by(group) {
            let mut wanted = vec![false; 1 << group];
            (0..rank).for_each(|row| wanted[pattern(row, first)] = true);
            // A sum is made of one term and a smaller sum, which is then wanted too.
            for pattern in (1..wanted.len()).rev().filter(|pattern| !pattern.is_power_of_two()) {
                wanted[pattern & (pattern - 1)] |= wanted[pattern];
            }
            for pattern in (1..wanted.len()).filter(|pattern| !pattern.is_power_of_two()) {
                if wanted[pattern] {
                    let (rest, low) = (pattern & (pattern - 1), pattern & pattern.wrapping_neg());
                    let terms = [self.layout.combination(first, rest), self.layout.combination(first, low)];
                    program.push(self.layout.combination(first, pattern), None, terms);
                }
            }
        }
        for row in 0..rank {
            let terms = (0..rank).step_by(group).map(|first| (first, pattern(row, first)));
            let terms = terms.filter(|&(_, pattern)| pattern != 0);
            program.push(
                self.layout.reduced(row),
                None,
                terms.map(|(first, pattern)| self.layout.combination(first, pattern)),
            );
        }
        program
    }

    fn back(&self) -> Program {
        let Elimination { system, peeled, .. } = self.elimination;
        let mut program = Program::default();
        for (number, &unknown) in self.solution.unknown.iter().enumerate() {
            program.push(peeled.inactive[unknown], None, [self.layout.unknown(number)]);
        }
        for (number, &pivot) in system.pivots().iter().enumerate() {
            let unknowns = self.solution.unknown.iter().enumerate().filter(|&(_, &column)| system.has(number, column));
            let terms = unknowns.map(|(unknown, _)| self.layout.unknown(unknown));
            program.push(peeled.inactive[pivot], None, std::iter::once(self.layout.reduced(number)).chain(terms));
        }
        for pivot in &peeled.pivots {
            let others = peeled.rows.all(pivot.row as usize).iter().copied().filter(|&column| column != pivot.column);
            program.push(pivot.column, self.symbol(pivot.row), others);
        }
        program
    }
}
