//! Who is listened to: the sessions (TSIs) heard on the channel, and the manifests they repeat.

use crate::manifest::MAX_MANIFEST_LEN;
use crate::object::ObjectAssembler;
use crate::wire::{Oti, Packet};

/// Sessions whose manifests are put together at the same time; the least recently heard gives way.
const MAX_SESSIONS: usize = 4;

/// One session heard on the channel.
#[derive(Debug)]
struct Heard {
    tsi: u64,
    /// Its image symbols belong to the accepted manifest.
    bound: bool,
    assembler: ObjectAssembler,
}

/// The sessions heard, most recently heard last.
#[derive(Debug)]
pub struct Listener {
    only_tsi: Option<u64>,
    heard: Vec<Heard>,
}

impl Listener {
    /// Listens to every session, or only to `tsi`.
    pub fn new(tsi: Option<u32>) -> Self {
        Self { only_tsi: tsi.map(u64::from), heard: Vec::with_capacity(MAX_SESSIONS) }
    }

    /// Whether packets of `tsi` are of interest at all.
    pub fn hears(&self, tsi: u64) -> bool {
        self.only_tsi.is_none_or(|only| only == tsi)
    }

    /// Whether symbols of `tsi` belong to the accepted manifest.
    pub fn is_bound(&self, tsi: u64) -> bool {
        self.heard.iter().any(|heard| heard.bound && heard.tsi == tsi)
    }

    /// Binds `tsi` to the accepted manifest, beside those that are bound already.
    pub fn bind(&mut self, tsi: u64) {
        self.entry(tsi).bound = true;
    }

    /// Binds `tsi` to a manifest just accepted, and no other.
    pub fn bind_only(&mut self, tsi: u64) {
        self.heard.iter_mut().for_each(|heard| heard.bound = false);
        self.bind(tsi);
    }

    /// The manifest of `tsi` may have changed: put it together afresh.
    ///
    /// It stays bound: what says so can be forged, and symbols of another image fail their block's hash.
    pub fn forget(&mut self, tsi: u64) {
        if let Some(heard) = self.heard.iter_mut().find(|heard| heard.tsi == tsi) {
            heard.assembler.reset();
        }
    }

    /// What was just put together for `tsi` is no trusted manifest: its next repetition counts.
    pub fn reject(&mut self, tsi: u64) {
        if let Some(heard) = self.heard.iter_mut().find(|heard| heard.tsi == tsi) {
            heard.assembler.reject();
        }
    }

    /// Takes a packet of a manifest, and returns the manifest's bytes when they are complete and not yet returned.
    pub fn assemble(&mut self, packet: &Packet<'_>) -> Option<Vec<u8>> {
        let Some(Oti::NoCode(oti)) = packet.extensions.fti() else { return None };
        let payload_id = packet.payload_id().ok()?;
        self.entry(packet.header.tsi).assembler.push(None, &oti, payload_id, packet.payload)
    }

    /// The entry of `tsi`, made when there is none; a bound session gives way only when all are bound.
    fn entry(&mut self, tsi: u64) -> &mut Heard {
        let entry = match self.heard.iter().position(|heard| heard.tsi == tsi) {
            Some(index) => self.heard.remove(index),
            None => {
                if self.heard.len() >= MAX_SESSIONS {
                    let index = self.heard.iter().position(|heard| !heard.bound).unwrap_or(0);
                    self.heard.remove(index);
                }
                Heard { tsi, bound: false, assembler: ObjectAssembler::new(MAX_MANIFEST_LEN) }
            }
        };
        self.heard.push(entry);
        let last = self.heard.len() - 1;
        &mut self.heard[last]
    }
}
