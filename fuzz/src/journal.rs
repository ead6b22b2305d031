//! The journal of received symbols, and staging that may hold something else.

use crate::input::Input;
use crate::memory::Meter;
use fleetcast_protocol::partition::Partition;
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::receiver::SPILL_ROWS;
use fleetcast_protocol::session::receiver::journal::{Journal, RECORD_LEN, header, session_record, symbol_record};
use std::collections::BTreeSet;

const DIGEST: [u8; 32] = [5; 32];
/// T of the block.
pub const SYMBOL_SIZE: usize = 8;
const K: u32 = 10;
const MAX_SESSIONS: usize = 4;

/// Reads a journal of up to 255 records, and what rows of a block hold; what is found is proved by the rows, and when it
/// is noted anew it is found again.
pub fn run(bytes: &[u8]) {
    let _ = Journal::parse(bytes, &DIGEST);
    let mut input = Input::new(bytes);
    let len = usize::from(input.u8()) * RECORD_LEN + 5;
    let records = input.bytes(len);
    let rows = input.bytes(SYMBOL_SIZE * (K + SPILL_ROWS) as usize);
    let partition = Partition::new(u64::from(K) * SYMBOL_SIZE as u64, 8, 1).expect("a legal partition");
    let block = partition.block(0).expect("the only block");

    let meter = Meter::start();
    let journal = Journal::parse(&[&header(&DIGEST), records].concat(), &DIGEST).expect("a journal with this header");
    assert!(journal.sessions().len() <= MAX_SESSIONS);
    assert!(meter.held() <= 16 * 1024 + 16 * records.len(), "{} bytes are held", meter.held());

    let held = journal.held(&block, rows);
    let mut anew = header(&DIGEST).to_vec();
    let (mut taken_rows, mut esis) = (BTreeSet::new(), BTreeSet::new());
    for symbol in &held {
        assert!(taken_rows.insert(symbol.row) && esis.insert(symbol.esi), "one row or one symbol twice");
        assert!(symbol.row < K + SPILL_ROWS && (symbol.esi >= K || symbol.esi == symbol.row));
        let bytes = &rows[symbol.row as usize * SYMBOL_SIZE..][..SYMBOL_SIZE];
        anew.extend(symbol_record(SymbolId { sbn: 0, esi: symbol.esi }, symbol.row, bytes, SYMBOL_SIZE));
    }
    journal.sessions().iter().for_each(|tsi| anew.extend(session_record(*tsi)));
    let again = Journal::parse(&anew, &DIGEST).expect("a journal with this header");
    assert_eq!((again.held(&block, rows), again.sessions()), (held, journal.sessions()));
}
