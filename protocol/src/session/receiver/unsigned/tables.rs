//! FDTs in the making, without FEC or coded with RaptorQ.

use crate::fdt::MAX_FDT_LEN;
use crate::object::{CodedAssembler, ObjectAssembler, Recent};
use crate::wire::{Oti, Packet};

/// Sessions whose FDTs are put together at the same time; the least recently heard gives way.
const MAX_SESSIONS: usize = 4;

/// The FDTs of the sessions heard.
#[derive(Debug)]
pub struct FdtTables {
    sessions: Recent<u64, Session>,
}

#[derive(Debug)]
struct Session {
    plain: ObjectAssembler,
    coded: CodedAssembler,
}

impl Default for FdtTables {
    fn default() -> Self {
        Self { sessions: Recent::new(MAX_SESSIONS) }
    }
}

impl FdtTables {
    /// Takes a packet of TOI 0, and returns the XML of an FDT instance when it is complete for the first time.
    pub fn push(&mut self, packet: &Packet<'_>) -> Option<Vec<u8>> {
        let (instance_id, id) = (packet.extensions.fdt()?, packet.payload_id().ok()?);
        let oti = packet.extensions.fti()?;
        let session = self.session(packet.header.tsi);
        match oti {
            Oti::NoCode(oti) => session.plain.push(Some(instance_id), &oti, id, packet.payload),
            Oti::RaptorQ(oti) => session.coded.push(Some(instance_id), &oti, id, packet.payload),
        }
    }

    /// What [`push`](Self::push) just returned for `tsi` is no FDT: its next repetition counts.
    pub fn reject(&mut self, tsi: u64) {
        let session = self.session(tsi);
        session.plain.reject();
        session.coded.reject();
    }

    fn session(&mut self, tsi: u64) -> &mut Session {
        self.sessions.touch(tsi, || Session {
            plain: ObjectAssembler::new(MAX_FDT_LEN),
            coded: CodedAssembler::new(MAX_FDT_LEN as u64),
        })
    }
}
