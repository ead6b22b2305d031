//! The journal of received symbols: which symbol lies where in staging, so that a receiver that was killed keeps it.
//!
//! A record names a symbol, its row, and a check over both *and the symbol's bytes*. So a record proves itself against
//! what staging holds: one that is torn, stale, or of a row that was since overwritten does not match and is passed over.
//! Nothing depends on the order in which staging and journal reach the medium. The check is a CRC: it finds accidents. A
//! forged journal makes a wrong block, which its SHA-256 finds, as it does any forged symbol.
//!
//! | bytes | header |
//! |---|---|
//! | 8 | `FCjrnl1\n` |
//! | 32 | digest of the manifest that staging is for |
//!
//! | bytes | record of a symbol | of a forgotten block | of a bound session |
//! |---|---|---|---|
//! | 1 | SBN | SBN | 255 |
//! | 3 | ESI | 0 | TSI, 56 bits |
//! | 4 | row | 2³² − 1 | … |
//! | 4 | CRC-32 of the 8 bytes before and the symbol, padded to T | of the 8 bytes | of the 8 bytes |
//!
//! All numbers are big-endian. Records are appended; the last word on a row or a symbol counts.

use super::action::Held;
use super::layout::SPILL_ROWS;
use crate::partition::BlockRange;
use crate::session::schedule::SymbolId;
use std::collections::BTreeMap;

/// Bytes of a record.
pub const RECORD_LEN: usize = 12;
/// Bytes of the header.
pub const HEADER_LEN: usize = 40;
const MAGIC: [u8; 8] = *b"FCjrnl1\n";
/// Not an SBN: Z is at most 255 (RFC 6330 §4.4.1.2), so they end at 254.
const SESSION_MARK: u8 = 255;
/// Not a row: a block has at most 56,407.
const FORGOTTEN_MARK: u32 = u32::MAX;
/// Sessions that are remembered, the latest ones.
const MAX_SESSIONS: usize = 4;
/// A TSI has at most 48 bits (RFC 5651 §5.1); a record has room for 56.
const TSI_MASK: u64 = (1 << 56) - 1;

/// The header of a journal for the manifest with `digest`.
pub fn header(digest: &[u8; 32]) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(digest);
    bytes
}

/// The record of symbol `id` of T = `symbol_size` bytes in `row`; what `symbol` lacks to T counts as zeros.
pub fn symbol_record(id: SymbolId, row: u32, symbol: &[u8], symbol_size: usize) -> [u8; RECORD_LEN] {
    let [_, esi @ ..] = id.esi.to_be_bytes();
    let [a, b, c, d] = row.to_be_bytes();
    record([id.sbn, esi[0], esi[1], esi[2], a, b, c, d], symbol, symbol_size)
}

/// The record that the symbols of block `sbn` were worthless.
pub fn forgotten_record(sbn: u8) -> [u8; RECORD_LEN] {
    let [a, b, c, d] = FORGOTTEN_MARK.to_be_bytes();
    record([sbn, 0, 0, 0, a, b, c, d], &[], 0)
}

/// The record that the session `tsi` is bound to the manifest.
pub fn session_record(tsi: u64) -> [u8; RECORD_LEN] {
    let mut named = (tsi & TSI_MASK).to_be_bytes();
    named[0] = SESSION_MARK;
    record(named, &[], 0)
}

fn record(named: [u8; 8], symbol: &[u8], symbol_size: usize) -> [u8; RECORD_LEN] {
    let mut bytes = [0; RECORD_LEN];
    bytes[..8].copy_from_slice(&named);
    bytes[8..].copy_from_slice(&check(named, symbol, symbol_size).to_be_bytes());
    bytes
}

fn check(named: [u8; 8], symbol: &[u8], symbol_size: usize) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&named);
    crc.update(symbol);
    const ZEROS: [u8; 64] = [0; 64];
    let mut padding = symbol_size.saturating_sub(symbol.len());
    while padding > 0 {
        let step = padding.min(ZEROS.len());
        crc.update(&ZEROS[..step]);
        padding -= step;
    }
    crc.finalize()
}

/// What a record says of one symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    esi: u32,
    row: u32,
    check: u32,
}

/// A journal that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    sessions: Vec<u64>,
    claims: BTreeMap<u8, Vec<Claim>>,
}

impl Journal {
    /// Reads a journal for the manifest with `digest`; `None` when it is none, or is for another manifest.
    ///
    /// Records that make no sense are passed over, and so is an incomplete one at the end.
    pub fn parse(bytes: &[u8], digest: &[u8; 32]) -> Option<Self> {
        let records = bytes.strip_prefix(&header(digest))?;
        let mut journal = Self::default();
        for record in records.chunks_exact(RECORD_LEN) {
            journal.take(record);
        }
        Some(journal)
    }

    fn take(&mut self, record: &[u8]) {
        let Some((&named, check_bytes)) = record.split_first_chunk::<8>() else { return };
        let Ok(found) = <[u8; 4]>::try_from(check_bytes).map(u32::from_be_bytes) else { return };
        let [sbn, esi @ .., a, b, c, d] = named;
        let row = u32::from_be_bytes([a, b, c, d]);
        if sbn != SESSION_MARK && row != FORGOTTEN_MARK {
            let [x, y, z] = esi;
            let claim = Claim { esi: u32::from_be_bytes([0, x, y, z]), row, check: found };
            self.claims.entry(sbn).or_default().push(claim);
        } else if found == check(named, &[], 0) {
            if sbn == SESSION_MARK {
                self.remember_session(u64::from_be_bytes(named) & TSI_MASK);
            } else {
                self.claims.remove(&sbn);
            }
        }
    }

    fn remember_session(&mut self, tsi: u64) {
        self.sessions.retain(|known| *known != tsi);
        self.sessions.push(tsi);
        if self.sessions.len() > MAX_SESSIONS {
            self.sessions.remove(0);
        }
    }

    /// Sessions that were bound to the manifest, the latest last.
    pub fn sessions(&self) -> &[u64] {
        &self.sessions
    }

    /// The symbols of `block` that its rows in staging, K + [`SPILL_ROWS`] of them, really hold; no two share a row.
    pub fn held(&self, block: &BlockRange, rows: &[u8]) -> Vec<Held> {
        let mut row_of_symbol = BTreeMap::new();
        let mut symbol_of_row = BTreeMap::new();
        for claim in self.claims.get(&block.sbn).into_iter().flatten() {
            if !is_there(claim, block, rows) {
                continue;
            }
            if let Some(before) = row_of_symbol.insert(claim.esi, claim.row) {
                symbol_of_row.remove(&before);
            }
            if let Some(before) = symbol_of_row.insert(claim.row, claim.esi)
                && before != claim.esi
            {
                row_of_symbol.remove(&before);
            }
        }
        row_of_symbol.into_iter().map(|(esi, row)| Held { esi, row }).collect()
    }
}

/// Whether the row of `claim` holds its symbol.
fn is_there(claim: &Claim, block: &BlockRange, rows: &[u8]) -> bool {
    let (k, symbol_size) = (block.shape.k(), block.shape.symbol_size());
    let may_lie_there = if claim.esi < k { claim.row == claim.esi } else { claim.row < k + SPILL_ROWS };
    let Some(start) = usize::try_from(claim.row).ok().and_then(|row| row.checked_mul(symbol_size)) else {
        return false;
    };
    let Some(symbol) = rows.get(start..).and_then(|rest| rest.get(..symbol_size)) else { return false };
    let id = SymbolId { sbn: block.sbn, esi: claim.esi };
    may_lie_there && symbol_record(id, claim.row, symbol, symbol_size)[8..] == claim.check.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partition;
    use proptest::prelude::*;

    const T: usize = 16;
    const DIGEST: [u8; 32] = [3; 32];

    fn block() -> BlockRange {
        Partition::new(10 * 16, 16, 1).unwrap().block(0).unwrap()
    }

    fn rows() -> Vec<u8> {
        (0..14u8).flat_map(|row| [row + 1; T]).collect()
    }

    fn id(esi: u32) -> SymbolId {
        SymbolId { sbn: 0, esi }
    }

    fn journal(records: &[[u8; RECORD_LEN]]) -> Vec<u8> {
        [&header(&DIGEST)[..], records.as_flattened()].concat()
    }

    fn held(records: &[[u8; RECORD_LEN]], rows: &[u8]) -> Vec<(u32, u32)> {
        let journal = Journal::parse(&journal(records), &DIGEST).unwrap();
        journal.held(&block(), rows).into_iter().map(|held| (held.esi, held.row)).collect()
    }

    #[test]
    fn finds_what_lies_in_its_row_and_nothing_else() {
        let records = [
            symbol_record(id(2), 2, &[3; T], T),
            symbol_record(id(77), 9, &[10; T], T),
            // Overwritten since, in a row of another source symbol, and outside the block.
            symbol_record(id(3), 3, &[99; T], T),
            symbol_record(id(4), 5, &[6; T], T),
            symbol_record(id(78), 14, &[0; T], T),
            symbol_record(SymbolId { sbn: 1, esi: 5 }, 5, &[6; T], T),
        ];
        assert_eq!(held(&records, &rows()), [(2, 2), (77, 9)]);
        assert_eq!(held(&records, &rows()[..3 * T]), [(2, 2)]);
    }

    #[test]
    fn a_short_last_symbol_is_checked_with_its_padding() {
        let mut rows = rows();
        rows[9 * T..10 * T].fill(0);
        rows[9 * T..9 * T + 5].fill(8);
        assert_eq!(held(&[symbol_record(id(9), 9, &[8; 5], T)], &rows), [(9, 9)]);
    }

    #[test]
    fn a_moved_symbol_counts_once_and_in_its_last_row() {
        let mut rows = rows();
        let moved = rows[9 * T..10 * T].to_vec();
        rows[7 * T..8 * T].copy_from_slice(&moved);
        let records = [symbol_record(id(77), 9, &moved, T), symbol_record(id(77), 7, &moved, T)];
        assert_eq!(held(&records, &rows), [(77, 7)]);
        // The move itself was lost: it lies where it was.
        assert_eq!(held(&records[..1], &rows), [(77, 9)]);
    }

    #[test]
    fn a_forgotten_block_starts_over() {
        let records = [
            symbol_record(id(1), 1, &[2; T], T),
            forgotten_record(0),
            symbol_record(id(2), 2, &[3; T], T),
            forgotten_record(1),
        ];
        assert_eq!(held(&records, &rows()), [(2, 2)]);
    }

    #[test]
    fn remembers_the_latest_sessions() {
        let records: Vec<_> = [1, 2, 3, 2, (1 << 48) - 1, 9].map(session_record).into();
        let journal = Journal::parse(&journal(&records), &DIGEST).unwrap();
        assert_eq!(journal.sessions(), [3, 2, (1 << 48) - 1, 9]);
    }

    #[test]
    fn another_manifest_or_another_format_is_no_journal() {
        let bytes = journal(&[session_record(1)]);
        assert!(Journal::parse(&bytes, &[4; 32]).is_none());
        assert!(Journal::parse(&bytes[..HEADER_LEN - 1], &DIGEST).is_none());
        let mut other = bytes.clone();
        other[6] = b'2';
        assert!(Journal::parse(&other, &DIGEST).is_none());
        assert_eq!(Journal::parse(&bytes[..bytes.len() - 1], &DIGEST).unwrap(), Journal::default());
    }

    proptest! {
        /// Any bytes after the header: never a panic, and what is found lies inside the block, row by row different.
        #[test]
        fn any_bytes_are_read_without_harm(tail in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let bytes = [&header(&DIGEST)[..], &tail].concat();
            let journal = Journal::parse(&bytes, &DIGEST).unwrap();
            let rows = rows();
            let found = journal.held(&block(), &rows[..cut.min(rows.len())]);
            let mut seen = std::collections::BTreeSet::new();
            for held in found {
                prop_assert!(held.row < 10 + SPILL_ROWS && seen.insert(held.row));
            }
        }

        /// One changed bit in a record, and it proves nothing any more.
        #[test]
        fn a_damaged_record_does_not_match(esi in 0u32..1 << 24, bit in 0usize..8 * RECORD_LEN) {
            let row = if esi < 10 { esi } else { 11 };
            let symbol = &rows()[row as usize * T..][..T];
            let mut record = symbol_record(id(esi), row, symbol, T);
            prop_assert_eq!(held(&[record], &rows()), [(esi, row)]);
            record[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(held(&[record], &rows()), []);
        }
    }
}
