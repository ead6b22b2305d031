//! What an earlier run left in staging. The hash decides for whole blocks, and the journal's checks for single symbols;
//! nothing is believed that staging does not prove.

use crate::journal::JournalFile;
use crate::receive::ReceiveError;
use crate::staging::Staging;
use fleetcast_protocol::manifest::Manifest;
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::receiver::Restored;
use fleetcast_protocol::session::receiver::journal::Journal;

/// Looks through `staging`, and notes in the new journal what of the old one holds.
pub fn restore(
    staging: &Staging,
    manifest: &Manifest,
    old: &Journal,
    journal: &mut JournalFile,
) -> Result<Vec<(u8, Restored)>, ReceiveError> {
    let mut rows = Vec::new();
    let mut found = Vec::new();
    for range in manifest.partition.iter() {
        staging.read_rows(&range, &mut rows)?;
        if manifest.block_matches(range.sbn, &rows[..range.len]) {
            found.push((range.sbn, Restored::Whole));
            continue;
        }
        let held = old.held(&range, &rows);
        for symbol in &held {
            let start = symbol.row as usize * range.shape.symbol_size();
            let id = SymbolId { sbn: range.sbn, esi: symbol.esi };
            journal.symbol(id, symbol.row, &rows[start..start + range.shape.symbol_size()]);
        }
        journal.flush()?;
        if !held.is_empty() {
            found.push((range.sbn, Restored::Symbols(held)));
        }
    }
    Ok(found)
}
