//! A sender: the real session, and the packets of its symbols as the sender's workers make them.

use super::release::{NOW_UNIX_S, Release};
use crate::partition::BlockRange;
use crate::session::sender::{Outgoing, Poll, SenderConfig, SenderSession};
use crate::session::{Profile, RepairShare, SymbolId};
use fleetcast_fec::{Codec, MAX_ESI, RepairRow};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Repair symbols that are encoded together.
const ENCODED_TOGETHER: u32 = 32;

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
    /// Repair symbols of each block that were encoded last: the first's ESI, and the rows.
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
        Self::of(session, release, tick)
    }

    /// Starts to send `release` by `session`.
    pub fn of(session: SenderSession, release: &'r Release, tick: Duration) -> Self {
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

    /// One repair symbol; some of a block that follow each other are encoded together, as that costs no more than one.
    fn repair_symbol(&mut self, range: &BlockRange, id: SymbolId) -> &[u8] {
        let symbol_size = range.shape.symbol_size();
        let (first, rows) = self.repair.entry(id.sbn).or_default();
        let end = *first + u32::try_from(rows.len() / symbol_size).expect("rows in memory");
        if !(*first..end).contains(&id.esi) {
            *first = id.esi;
            *rows = vec![0; ENCODED_TOGETHER.min(MAX_ESI - id.esi + 1) as usize * symbol_size];
            let mut wanted: Vec<RepairRow<'_>> =
                (*first..).zip(rows.chunks_mut(symbol_size)).map(|(esi, out)| RepairRow { esi, out }).collect();
            self.codec.encode(range.shape, block_of(self.release, range), &mut wanted).expect("repair symbols");
        }
        &rows[(id.esi - *first) as usize * symbol_size..][..symbol_size]
    }
}

/// What a sender does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// A packet left at this time.
    Packet(Duration, Vec<u8>),
    /// Nothing leaves before this time unless feedback comes: see [`Transmission::listened`].
    Listens(Duration),
    /// The session is over.
    Done,
}

impl Transmission<'_> {
    /// What happens next.
    ///
    /// # Panics
    ///
    /// When the session cannot write a packet.
    pub fn step(&mut self) -> Sent {
        loop {
            let packet = match self.session.poll(self.now).expect("control packets that fit") {
                Poll::Packet(Outgoing::Control(packet)) => packet,
                Poll::Packet(Outgoing::Symbol { id, close_object }) => self.symbol(id, close_object),
                Poll::Wait(until) => {
                    self.now = until;
                    continue;
                }
                Poll::Listen(until) => return Sent::Listens(until),
                Poll::Done => return Sent::Done,
            };
            let at = self.now;
            self.now += self.tick;
            return Sent::Packet(at, packet);
        }
    }

    /// The sender has listened until `now`.
    pub fn listened(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// Feedback comes while the sender listens, at the time until which it has.
    pub fn feedback(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.session.on_feedback(self.now, from, datagram);
    }

    /// The session.
    pub fn session(&self) -> &SenderSession {
        &self.session
    }
}

impl Iterator for Transmission<'_> {
    type Item = (Duration, Vec<u8>);

    /// The next packet, where no feedback comes.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Sent::Packet(at, packet) => return Some((at, packet)),
                Sent::Listens(until) => self.listened(until),
                Sent::Done => return None,
            }
        }
    }
}

fn block_of<'r>(release: &'r Release, range: &BlockRange) -> &'r [u8] {
    let offset = usize::try_from(range.offset).expect("an image in memory");
    &release.image[offset..][..range.len]
}
