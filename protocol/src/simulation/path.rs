//! The network between one sender and one receiver: it loses, delays, repeats and damages packets.

use super::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Each with the same probability, whatever happened before.
    Independent {
        /// In a thousand.
        permille: u64,
    },
    /// In bursts (Gilbert–Elliott with all lost in the bad state).
    Bursts {
        /// Chance, in a thousand, that a burst begins with a packet.
        begin_permille: u64,
        /// Chance, in a thousand, that it ends with one.
        end_permille: u64,
    },
}

/// What a path does to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathConfig {
    /// Loss.
    pub loss: Loss,
    /// Packets in a thousand that arrive twice.
    pub duplicate_permille: u64,
    /// Largest extra delay of a packet: those sent closer together than this may arrive in another order.
    pub jitter: Duration,
    /// Packets in a thousand of which one to four bytes are changed.
    pub corrupt_permille: u64,
    /// Packets in a thousand that are cut short.
    pub truncate_permille: u64,
}

impl PathConfig {
    /// A path that delivers everything at once, in order.
    pub const PERFECT: Self = Self {
        loss: Loss::Independent { permille: 0 },
        duplicate_permille: 0,
        jitter: Duration::ZERO,
        corrupt_permille: 0,
        truncate_permille: 0,
    };
}

/// A packet on its way; the earliest first, those of one time in the order in which they were sent.
type InFlight = Reverse<(Duration, u64, Vec<u8>)>;

/// One path.
#[derive(Debug)]
pub struct Path {
    config: PathConfig,
    random: Random,
    in_burst: bool,
    sent: u64,
    in_flight: BinaryHeap<InFlight>,
}

impl Path {
    /// A path whose whims follow from `random`.
    pub fn new(config: PathConfig, random: Random) -> Self {
        Self { config, random, in_burst: false, sent: 0, in_flight: BinaryHeap::new() }
    }

    /// Takes a packet that is sent at `at`.
    pub fn send(&mut self, at: Duration, packet: &[u8]) {
        if self.loses() {
            return;
        }
        let copies = 1 + u32::from(self.random.chance(self.config.duplicate_permille));
        for _ in 0..copies {
            let jitter_ns = self.random.below(nanoseconds(self.config.jitter) + 1);
            let damaged = self.damage(packet.to_vec());
            self.sent += 1;
            self.in_flight.push(Reverse((at + Duration::from_nanos(jitter_ns), self.sent, damaged)));
        }
    }

    /// When the next packet arrives, of those that have been sent.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.in_flight.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next packet that has arrived by `now`, and when it did.
    pub fn arrival(&mut self, now: Duration) -> Option<(Duration, Vec<u8>)> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.in_flight.pop().map(|Reverse((at, _, packet))| (at, packet))
    }

    fn loses(&mut self) -> bool {
        match self.config.loss {
            Loss::Independent { permille } => self.random.chance(permille),
            Loss::Bursts { begin_permille, end_permille } => {
                let flip = if self.in_burst { end_permille } else { begin_permille };
                self.in_burst ^= self.random.chance(flip);
                self.in_burst
            }
        }
    }

    fn damage(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        if !packet.is_empty() && self.random.chance(self.config.corrupt_permille) {
            for _ in 0..self.random.within(1..=4) {
                let at = self.random.index(packet.len());
                packet[at] ^= self.random.byte();
            }
        }
        if self.random.chance(self.config.truncate_permille) {
            packet.truncate(self.random.index(packet.len()));
        }
        packet
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1)
}
