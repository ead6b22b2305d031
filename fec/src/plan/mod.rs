//! Plans: how intermediate symbols follow from a set of symbols (RFC 6330 §5.4.2), computed once, run on every strip.
//!
//! A plan depends on which symbols there are and not on their bytes. It is a few programs over the rows of a *slab*, whose
//! first L rows become the intermediate symbols of one strip of columns. Strips are narrow, so that a slab stays in a
//! second-level cache.

mod binary;
mod cache;
mod compile;
mod dense;
mod layout;
mod octets;
mod peel;
mod sparse;
#[cfg(test)]
mod tests;

use crate::gf256::{Factors, Horner, Kernels, Program, Rows, Source};
use crate::rfc6330::Parameters;
pub(crate) use cache::PlanCache;
use compile::Programs;
pub(crate) use dense::Elimination;
use layout::Layout;

/// How to compute the intermediate symbols from the symbols of one elimination.
#[derive(Debug)]
pub(crate) struct Plan {
    code: Parameters,
    layout: Layout,
    programs: Programs,
    /// Absent when binary rows determine everything.
    hdpc: Option<Hdpc>,
}

/// The part that needs GF(256).
#[derive(Debug)]
struct Hdpc {
    horner: Horner,
    /// Unknowns from known rows: column by column.
    factors: Vec<u8>,
}

impl Plan {
    /// The plan for encoding: its symbols are 0..K', source and padding.
    pub(crate) fn for_encoding(code: Parameters) -> Self {
        let isis: Vec<u32> = (0..).take(code.k_prime).collect();
        match Self::new(&mut Elimination::new(code, &isis)) {
            Some(plan) => plan,
            None => unreachable!("RFC 6330 §5.6: the systematic index makes A invertible for every K'"),
        }
    }

    /// The plan for the symbols of `elimination`, or `None` when they do not determine the intermediate symbols.
    pub(crate) fn new(elimination: &mut Elimination) -> Option<Self> {
        let solution = elimination.solve()?;
        let code = *elimination.code();
        let layout = Layout::new(&code, elimination.system.rank(), solution.unknown.len());
        let programs = Programs::compile(elimination, &solution, &layout);
        let hdpc = (!solution.unknown.is_empty()).then(|| Hdpc {
            horner: Horner::new(code.h, (0..code.k_prime + code.s - 1).map(|column| code.hdpc_pair(column)).collect()),
            factors: solution.factors,
        });
        Some(Self { code, layout, programs, hdpc })
    }

    /// The parameters of its code.
    pub(crate) fn code(&self) -> &Parameters {
        &self.code
    }

    /// Rows of a slab.
    pub(crate) fn rows(&self) -> usize {
        self.layout.rows()
    }

    /// Bytes of heap that the plan occupies.
    pub(crate) fn heap_len(&self) -> usize {
        let programs = &self.programs;
        let hdpc = self.hdpc.as_ref().map_or(0, |hdpc| 2 * hdpc.horner.pairs().len() + hdpc.factors.len());
        programs.forward.heap_len() + programs.combine.heap_len() + programs.back.heap_len() + hdpc
    }

    /// Rows that are added to others, or moved, in a strip.
    pub(crate) fn additions(&self) -> usize {
        let programs = &self.programs;
        let of_programs = [&programs.forward, &programs.combine, &programs.back].map(Program::additions);
        // The scheme of Horner adds each column to a running sum, and that to two sums.
        let hdpc = self.hdpc.as_ref().map_or(0, |hdpc| 3 * hdpc.horner.columns() + hdpc.factors.len());
        of_programs.iter().sum::<usize>() + hdpc
    }

    /// Makes the first L rows of `slab`, `width` bytes each, the intermediate symbols of one strip.
    pub(crate) fn run(&self, kernels: Kernels, source: &Source<'_>, slab: &mut [u8], width: usize) {
        kernels.run(&self.programs.forward, source, slab, width);
        if let Some(hdpc) = &self.hdpc {
            let (columns, sums) = slab.split_at_mut(self.layout.known().start * width);
            kernels.horner(&hdpc.horner, columns, sums, width);
        }
        kernels.run(&self.programs.combine, source, slab, width);
        if let Some(hdpc) = &self.hdpc {
            let (known, unknown) = self.known_and_unknown(slab, width);
            unknown.fill(0);
            let factors = Factors::new(&hdpc.factors, self.layout.unknowns().len(), self.layout.unknowns().len());
            kernels.multiply(unknown, &factors, &Rows::packed(known, width));
        }
        kernels.run(&self.programs.back, source, slab, width);
    }

    /// The transpose of [`run`](Self::run): takes in the first L rows of `slab` what each intermediate symbol contributes to
    /// some results, and adds to row `i` of `sources` what symbol `i` of the elimination contributes to them. A row has
    /// `width` bytes, one a result. All rows of the slab after the first L must be zero.
    pub(crate) fn run_transposed(&self, kernels: Kernels, slab: &mut [u8], sources: &mut [u8], width: usize) {
        kernels.run_transposed(&self.programs.back, slab, sources, width);
        if let Some(hdpc) = &self.hdpc {
            let unknowns = self.layout.unknowns().len();
            let (known, unknown) = self.known_and_unknown(slab, width);
            let transposed: Vec<u8> =
                (0..unknowns).flat_map(|row| hdpc.factors.iter().skip(row).step_by(unknowns).copied()).collect();
            let known_rows = self.layout.known().len();
            kernels.multiply(known, &Factors::new(&transposed, known_rows, known_rows), &Rows::packed(unknown, width));
        }
        kernels.run_transposed(&self.programs.combine, slab, sources, width);
        if let Some(hdpc) = &self.hdpc {
            let (columns, sums) = slab.split_at_mut(self.layout.known().start * width);
            kernels.horner_transposed(&hdpc.horner, columns, sums, width);
        }
        kernels.run_transposed(&self.programs.forward, slab, sources, width);
    }

    /// The rows that the product reads, and those that it writes.
    fn known_and_unknown<'a>(&self, slab: &'a mut [u8], width: usize) -> (&'a mut [u8], &'a mut [u8]) {
        let (before, unknown) = slab.split_at_mut(self.layout.unknowns().start * width);
        (&mut before[self.layout.known().start * width..], &mut unknown[..self.layout.unknowns().len() * width])
    }
}
