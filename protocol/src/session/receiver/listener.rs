//! Who is listened to: the sessions (TSIs) heard on the channel, and the manifests they repeat.
//!
//! Whoever forges the source address can use any TSI, and can repeat a genuine manifest under any number of them. So
//! everything here is bounded, and what is heard seldom gives way to what is heard often: a session that sends symbols
//! is displaced only by a flood that is [`MAX_BOUND`] times as dense as the session itself.

mod pending;

use crate::wire::{Oti, Packet};
use pending::PendingManifests;

/// Sessions whose symbols are taken; the least recently heard gives way.
const MAX_BOUND: usize = 64;

/// The sessions heard.
#[derive(Debug)]
pub struct Listener {
    only_tsi: Option<u64>,
    /// Sessions whose image symbols belong to the accepted manifest, most recently heard last.
    bound: Vec<u64>,
    pending: PendingManifests,
}

impl Listener {
    /// Listens to every session, or only to `tsi`.
    pub fn new(tsi: Option<u32>) -> Self {
        Self { only_tsi: tsi.map(u64::from), bound: Vec::new(), pending: PendingManifests::default() }
    }

    /// Whether packets of `tsi` are of interest at all.
    pub fn hears(&self, tsi: u64) -> bool {
        self.only_tsi.is_none_or(|only| only == tsi)
    }

    /// Whether symbols of `tsi` belong to the accepted manifest. A session that is asked about was heard.
    pub fn is_bound(&mut self, tsi: u64) -> bool {
        if self.bound.last() == Some(&tsi) {
            return true;
        }
        let Some(index) = self.bound.iter().position(|&bound| bound == tsi) else { return false };
        self.bound[index..].rotate_left(1);
        true
    }

    /// Binds `tsi` to the accepted manifest, beside those that are bound already; false when it was bound.
    pub fn bind(&mut self, tsi: u64) -> bool {
        if self.is_bound(tsi) {
            return false;
        }
        self.bound.push(tsi);
        if self.bound.len() > MAX_BOUND {
            // Taken up again with the next repetition of its manifest.
            let displaced = self.bound.remove(0);
            self.pending.forget(displaced);
        }
        true
    }

    /// Another manifest was accepted: no session is bound to it yet.
    pub fn unbind_all(&mut self) {
        self.bound.clear();
    }

    /// The manifest of `tsi` may have changed: take its next repetition for new.
    ///
    /// It stays bound: what says so can be forged, and symbols of another image fail their block's hash.
    pub fn forget(&mut self, tsi: u64) {
        self.pending.forget(tsi);
    }

    /// What was just put together for `tsi` is no trusted manifest: its next repetition counts.
    pub fn reject(&mut self, tsi: u64) {
        self.pending.reject(tsi);
    }

    /// Takes a packet of a manifest, and returns the manifest's bytes when they are complete and not yet returned.
    pub fn assemble(&mut self, packet: &Packet<'_>) -> Option<Vec<u8>> {
        let Some(Oti::NoCode(oti)) = packet.extensions.fti() else { return None };
        let payload_id = packet.payload_id().ok()?;
        self.pending.push(packet.header.tsi, &oti, payload_id, packet.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_sends_outlives_any_number_of_bound_ones() {
        let mut listener = Listener::new(None);
        listener.unbind_all();
        listener.bind(7);
        for tsi in 1_000..10_000 {
            listener.bind(tsi);
            assert!(listener.is_bound(7), "displaced by {tsi}");
            assert!(listener.bound.len() <= MAX_BOUND);
        }
        // One that says nothing gives way.
        (10_000..10_000 + MAX_BOUND as u64).for_each(|tsi| assert!(listener.bind(tsi)));
        assert!(!listener.is_bound(7));
    }

    #[test]
    fn binding_twice_takes_one_place() {
        let mut listener = Listener::new(None);
        for tsi in [1, 2, 1, 2, 1] {
            listener.bind(tsi);
        }
        assert_eq!(listener.bound, [2, 1]);
        listener.unbind_all();
        listener.bind(3);
        assert_eq!(listener.bound, [3]);
    }
}
