//! Decoding many losses: elimination of what was received (RFC 6330 §5.4.2).

use super::{Singular, Task};
use crate::codec::scratch::Lease;
use crate::codec::strips::{strips, width};
use crate::codec::symbol_rows::{SymbolRows, repair_isi};
use crate::gf256::{Source, ZERO_ROW};
use crate::plan::{Elimination, Plan};
use crate::rfc6330::Parameters;

/// Repair symbols that go into the elimination at once, beyond as many as are missing: a few more make it easier.
const SPARE: usize = 8;

/// Decodes any sufficient set.
pub(super) fn decode(task: Task<'_>, scratch: &mut Lease<'_>, block: &mut [u8]) -> Result<(), Singular> {
    let code = Parameters::for_k(task.shape.rows());
    let (plan, row_of) = plan(task, code)?;
    let symbols = SymbolRows::new(&code, task.missing.iter().copied());

    let symbol_size = task.shape.symbol_size();
    let width = width(plan.rows(), symbol_size);
    let slab = scratch.get(plan.rows() * width);
    for strip in strips(symbol_size, width) {
        let slab = &mut slab[..plan.rows() * strip.len()];
        let source = Source { bytes: block, tail: &[], stride: symbol_size, offset: strip.start, row_of: &row_of };
        plan.run(task.kernels, &source, slab, strip.len());
        for (&row, terms) in task.missing.iter().zip(symbols.iter()) {
            let start = row as usize * symbol_size;
            task.kernels.sum(&mut block[start + strip.start..start + strip.end], slab, terms);
        }
    }
    Ok(())
}

/// The plan of what was received, and the row in which each of its symbols lies.
fn plan(task: Task<'_>, code: Parameters) -> Result<(Plan, Vec<u32>), Singular> {
    let k = task.shape.k();
    let padding = (k..).take(code.k_prime - task.shape.rows());
    let (first, rest) = task.parked.split_at(task.parked.len().min(task.missing.len() + SPARE));
    let isi = |esi| repair_isi(&code, k, esi);

    let isis: Vec<u32> =
        task.received.iter().chain(padding.clone()).chain(first.iter().map(|symbol| isi(symbol.esi))).collect();
    let mut row_of: Vec<u32> = task.received.iter().chain(padding.map(|_| ZERO_ROW)).collect();
    row_of.extend(first.iter().map(|symbol| symbol.row));

    let mut elimination = Elimination::new(code, &isis);
    let mut rest = rest.iter();
    loop {
        if let Some(plan) = Plan::new(&mut elimination) {
            return Ok((plan, row_of));
        }
        // One that depends on those before does not help; any other raises the rank by one.
        let helpful = rest.find(|symbol| elimination.add_symbol(isi(symbol.esi)));
        row_of.push(helpful.ok_or(Singular)?.row);
    }
}
