//! A sender: the real session, and the packets of its symbols as the sender's workers make them.

use super::release::{NOW_UNIX_S, Release};
use crate::partition::BlockRange;
use crate::session::sender::{Outgoing, Poll, SenderConfig, SenderSession};
use crate::session::{Profile, RepairShare, SymbolId};
use fleetcast_fec::{Codec, RepairRow};
use std::collections::HashMap;
use std::time::Duration;

/// A session of `passes` passes with windows of three blocks and 20 % repair.
///
/// The rate is high, so that control packets repeat every second whatever the packets' true distance.
pub fn sender_config(tsi: u32, passes: Option<u32>) -> SenderConfig {
    SenderConfig {
        profile: Profile::Fleetcast,
        tsi,
        passes,
        window_blocks: 3,
        repair: RepairShare::from_permyriad(2000),
        rate_bps: 1_000_000_000,
        start_unix_s: NOW_UNIX_S,
    }
}

/// Gives the packets of a session with the times at which they leave.
#[derive(Debug)]
pub struct Transmission<'r> {
    release: &'r Release,
    session: SenderSession,
    codec: Codec,
    /// The latest repair symbols of each block: its first ESI, and the rows.
    repair: HashMap<u8, (u32, Vec<u8>)>,
    now: Duration,
    tick: Duration,
}

impl<'r> Transmission<'r> {
    /// Starts to send `release` at time zero of the session, one packet every `tick`.
    ///
    /// # Panics
    ///
    /// When `config` does not go with the release.
    pub fn new(config: &SenderConfig, release: &'r Release, tick: Duration) -> Self {
        let session = SenderSession::new(config, &release.manifest).expect("a configuration that can be sent");
        Self { release, session, codec: Codec::new(), repair: HashMap::new(), now: Duration::ZERO, tick }
    }

    /// The pass that is being sent, counted from 0.
    pub fn pass(&self) -> u32 {
        self.session.pass()
    }

    fn symbol(&mut self, id: SymbolId, close_object: bool) -> Vec<u8> {
        let writer = self.session.writer();
        let range = self.release.partition().block(id.sbn).expect("a block of the partition");
        let mut packet = vec![0; writer.packet_len(id)];
        if id.esi < range.shape.k() {
            let block = block_of(self.release, &range);
            writer.write_source(id, close_object, block, &mut packet).expect("a packet of its length");
        } else {
            let out = writer.write_head(id, close_object, &mut packet).expect("a packet of its length");
            out.copy_from_slice(self.repair_symbol(&range, id));
        }
        packet
    }

    /// One repair symbol; those of a block and pass are encoded together, as that costs no more than one.
    fn repair_symbol(&mut self, range: &BlockRange, id: SymbolId) -> &[u8] {
        let symbol_size = range.shape.symbol_size();
        let first = self.session.schedule().first_repair_esi(id.sbn, self.session.pass()).expect("a block");
        let (have, rows) = self.repair.entry(id.sbn).or_default();
        if *have != first || rows.is_empty() {
            let (large, small) = self.session.schedule().repair_symbols();
            let count = if u16::from(id.sbn) < self.release.partition().large_blocks() { large } else { small };
            *have = first;
            *rows = vec![0; count as usize * symbol_size];
            let mut wanted: Vec<RepairRow<'_>> =
                (first..).zip(rows.chunks_mut(symbol_size)).map(|(esi, out)| RepairRow { esi, out }).collect();
            self.codec.encode(range.shape, block_of(self.release, range), &mut wanted).expect("repair symbols");
        }
        &rows[(id.esi - first) as usize * symbol_size..][..symbol_size]
    }
}

impl Iterator for Transmission<'_> {
    type Item = (Duration, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let packet = match self.session.poll(self.now).expect("control packets that fit") {
                Poll::Packet(Outgoing::Control(packet)) => packet,
                Poll::Packet(Outgoing::Symbol { id, close_object }) => self.symbol(id, close_object),
                Poll::Wait(until) => {
                    self.now = until;
                    continue;
                }
                Poll::Done => return None,
            };
            let at = self.now;
            self.now += self.tick;
            return Some((at, packet));
        }
    }
}

fn block_of<'r>(release: &'r Release, range: &BlockRange) -> &'r [u8] {
    let offset = usize::try_from(range.offset).expect("an image in memory");
    &release.image[offset..][..range.len]
}
