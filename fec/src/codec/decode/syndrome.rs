//! Decoding few losses: what the repair symbols say beyond what is there.
//!
//! The code is systematic: repair symbol i is a linear function of the K source symbols, sum of M\[i, j\] · source j. With the
//! missing ones set apart, repair i + sum over received j of M\[i, j\] · source j (the *syndrome*) = sum over missing j of
//! M\[i, j\] · source j. So r missing symbols are r unknowns, whose matrix N is part of M.
//!
//! N has full rank exactly if the symbols have it in the sense of RFC 6330 §5.4.2, where the unknowns are all L intermediate
//! symbols: A is the invertible L × L matrix that maps intermediate symbols to (zeros, K' extended source symbols), so
//! writing intermediate symbols as A⁻¹ times these changes the basis and no rank. In that basis pre-coding rows, padding
//! symbols and received source symbols are unit rows, all different; taking their columns away leaves the rows of repair
//! symbols in the columns of missing symbols, which is N.

use super::inverse::Inverse;
use super::{Singular, Task};
use crate::Parked;
use crate::codec::scratch::Lease;
use crate::codec::strips::{strips, width};
use crate::codec::symbol_rows::{SymbolRows, repair_isi};
use crate::gf256::{Factors, Rows, Source, ZERO_ROW};
use crate::plan::Plan;
use std::ops::Range;

/// Repair symbols that are tried beyond as many as are missing before looking whether more are needed: one set in 256 needs
/// one more, one in 65,536 two.
const SPARE: usize = 2;

/// Source rows that a product takes at a time: the block is read once from front to back, and the two registers' width of
/// these rows that the product is at stays in a first-level cache.
const ROWS_AT_A_TIME: usize = 32;

impl Task<'_> {
    /// The symbols that make up `parked`.
    fn repair_rows<'a>(&self, plan: &Plan, parked: impl IntoIterator<Item = &'a Parked>) -> SymbolRows {
        let k = self.shape.k();
        SymbolRows::new(plan.code(), parked.into_iter().map(|symbol| repair_isi(plan.code(), k, symbol.esi)))
    }
}

/// Decodes with M as a matrix: best while it is so flat that reading the block is what takes the time.
pub(super) fn by_matrix(
    task: Task<'_>,
    plan: &Plan,
    scratch: &mut Lease<'_>,
    block: &mut [u8],
) -> Result<(), Singular> {
    let mut inverse = Inverse::new(task.kernels, task.missing.len());
    let mut chosen: Vec<Parked> = Vec::with_capacity(task.missing.len());
    let mut matrix = Vec::new();
    let mut is_matrix_of_chosen = true;
    let mut rest = task.parked;
    while !inverse.is_full() {
        let (batch, after) = rest.split_at(rest.len().min(task.missing.len() - chosen.len() + SPARE));
        if batch.is_empty() {
            return Err(Singular);
        }
        is_matrix_of_chosen = chosen.is_empty();
        rest = after;
        matrix = repair_matrix(task, plan, scratch, batch);
        let stride = matrix_stride(task, batch.len());
        for (number, parked) in batch.iter().enumerate() {
            if inverse.is_full() {
                break;
            }
            if inverse.take(task.missing.iter().map(|&symbol| matrix[symbol as usize * stride + number])) {
                chosen.push(*parked);
                is_matrix_of_chosen &= chosen.len() == number + 1;
            }
        }
    }
    let mut stride = matrix.len() / task.shape.rows();
    if !is_matrix_of_chosen {
        matrix = repair_matrix(task, plan, scratch, &chosen);
        stride = matrix_stride(task, chosen.len());
    }
    // What lies in the rows of missing symbols is not them.
    for &symbol in task.missing {
        matrix[symbol as usize * stride..][..stride].fill(0);
    }

    let count = chosen.len();
    let solution = Solution { task, chosen, inverse: inverse.into_columns() };
    let symbol_size = task.shape.symbol_size();
    let (whole, buffer) = (0..symbol_size, scratch.get(2 * count * symbol_size));
    let (syndromes, solved) = solution.buffers(buffer, symbol_size);
    solution.load_repair(block, &whole, syndromes);
    let source = block[..task.shape.len()].chunks(ROWS_AT_A_TIME * symbol_size);
    for (rows, factors) in source.zip(matrix.chunks(ROWS_AT_A_TIME * stride)) {
        task.kernels.multiply(syndromes, &Factors::new(factors, count, stride), &Rows::packed(rows, symbol_size));
    }
    solution.solve(block, &whole, syndromes, solved);
    Ok(())
}

/// Bytes of a column of M for `rows` repair symbols: whole registers.
pub(super) fn matrix_stride(task: Task<'_>, rows: usize) -> usize {
    rows.next_multiple_of(task.kernels.register_len())
}

/// M for the repair symbols `parked`, column by column: what each source symbol contributes to each of them.
///
/// That is the transpose of the encoding plan: rows of intermediate symbols, of source symbols in the end, whose "bytes" are
/// coefficients of the repair symbols.
pub(super) fn repair_matrix(task: Task<'_>, plan: &Plan, scratch: &mut Lease<'_>, parked: &[Parked]) -> Vec<u8> {
    let stride = matrix_stride(task, parked.len());
    let slab = scratch.zeroed(plan.rows() * stride);
    for (number, columns) in task.repair_rows(plan, parked).iter().enumerate() {
        for &column in columns {
            slab[usize::from(column) * stride + number] = 1;
        }
    }
    let mut matrix = vec![0; task.shape.rows() * stride];
    plan.run_transposed(task.kernels, slab, &mut matrix, stride);
    matrix
}

/// Decodes with the encoding plan in place of M: best when M would be large.
pub(super) fn by_plan(task: Task<'_>, plan: &Plan, scratch: &mut Lease<'_>, block: &mut [u8]) -> Result<(), Singular> {
    let mut row_of: Vec<u32> = vec![ZERO_ROW; task.shape.rows()];
    for (number, &symbol) in (0..).zip(task.missing) {
        row_of[symbol as usize] = number;
    }
    let (chosen, inverse) = choose(task, plan, scratch, &row_of)?;
    for (row, symbol) in row_of.iter_mut().zip(0..) {
        *row = if task.received.contains(symbol) { symbol } else { ZERO_ROW };
    }

    let symbols = task.repair_rows(plan, &chosen);
    let solution = Solution { task, chosen, inverse };
    let (symbol_size, count) = (task.shape.symbol_size(), solution.chosen.len());
    let width = width(plan.rows() + 2 * count, symbol_size);
    let buffer = scratch.get((plan.rows() + 2 * count) * width);
    for strip in strips(symbol_size, width) {
        let (slab, buffer) = buffer.split_at_mut(plan.rows() * strip.len());
        let source = Source { bytes: block, tail: &[], stride: symbol_size, offset: strip.start, row_of: &row_of };
        plan.run(task.kernels, &source, slab, strip.len());
        let (syndromes, solved) = solution.buffers(buffer, strip.len());
        for (syndrome, terms) in syndromes.chunks_exact_mut(strip.len()).zip(symbols.iter()) {
            task.kernels.sum(syndrome, slab, terms);
        }
        solution.add_repair(block, &strip, syndromes);
        solution.solve(block, &strip, syndromes, solved);
    }
    Ok(())
}

/// The first parked symbols that determine the missing ones, and the inverse of N.
///
/// N is what the encoding plan makes of a unit matrix: missing symbol j is the unit row j.
fn choose(
    task: Task<'_>,
    plan: &Plan,
    scratch: &mut Lease<'_>,
    row_of: &[u32],
) -> Result<(Vec<Parked>, Vec<u8>), Singular> {
    let size = task.missing.len();
    let width = size.next_multiple_of(task.kernels.register_len());
    let mut unit = vec![0; size * width];
    unit.iter_mut().step_by(width + 1).for_each(|one| *one = 1);
    let slab = scratch.get(plan.rows() * width);
    let source = Source { bytes: &unit, tail: &[], stride: width, offset: 0, row_of };
    plan.run(task.kernels, &source, slab, width);

    let mut inverse = Inverse::new(task.kernels, size);
    let mut chosen = Vec::with_capacity(size);
    let mut coefficients = vec![0; width];
    for (parked, columns) in task.parked.iter().zip(task.repair_rows(plan, task.parked).iter()) {
        if inverse.is_full() {
            break;
        }
        task.kernels.sum(&mut coefficients, slab, columns);
        if inverse.take(coefficients.iter().copied()) {
            chosen.push(*parked);
        }
    }
    if inverse.is_full() { Ok((chosen, inverse.into_columns())) } else { Err(Singular) }
}

/// Which repair symbols determine the missing symbols, and how.
struct Solution<'a> {
    task: Task<'a>,
    chosen: Vec<Parked>,
    /// The inverse of N, column by column.
    inverse: Vec<u8>,
}

impl Solution<'_> {
    /// Rows for syndromes, and for solved symbols.
    fn buffers<'b>(&self, buffer: &'b mut [u8], width: usize) -> (&'b mut [u8], &'b mut [u8]) {
        let len = self.chosen.len() * width;
        buffer[..2 * len].split_at_mut(len)
    }

    fn parked_strips<'b>(&self, block: &'b [u8], strip: &Range<usize>) -> impl Iterator<Item = &'b [u8]> {
        let (symbol_size, strip) = (self.task.shape.symbol_size(), strip.clone());
        self.chosen.iter().map(move |parked| {
            let start = parked.row as usize * symbol_size;
            &block[start + strip.start..start + strip.end]
        })
    }

    fn load_repair(&self, block: &[u8], strip: &Range<usize>, syndromes: &mut [u8]) {
        for (syndrome, symbol) in syndromes.chunks_exact_mut(strip.len()).zip(self.parked_strips(block, strip)) {
            syndrome.copy_from_slice(symbol);
        }
    }

    fn add_repair(&self, block: &[u8], strip: &Range<usize>, syndromes: &mut [u8]) {
        for (syndrome, symbol) in syndromes.chunks_exact_mut(strip.len()).zip(self.parked_strips(block, strip)) {
            self.task.kernels.add_scaled(syndrome, 1, symbol);
        }
    }

    /// Writes the missing symbols of a strip to their rows.
    fn solve(&self, block: &mut [u8], strip: &Range<usize>, syndromes: &[u8], solved: &mut [u8]) {
        let (symbol_size, count) = (self.task.shape.symbol_size(), self.chosen.len());
        solved.fill(0);
        let factors = Factors::new(&self.inverse, count, count);
        self.task.kernels.multiply(solved, &factors, &Rows::packed(syndromes, strip.len()));
        for (symbol, &row) in solved.chunks_exact(strip.len()).zip(self.task.missing) {
            let start = row as usize * symbol_size;
            block[start + strip.start..start + strip.end].copy_from_slice(symbol);
        }
    }
}
