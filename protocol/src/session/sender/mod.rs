//! The sender session: a pure state machine that says which packet comes next.
//!
//! The caller polls it with the time at which the next packet will leave, and sends what it returns. It does no I/O,
//! reads no clock and touches no image byte: a symbol is named by its [`SymbolId`], and whoever holds the image writes
//! the packet with a [`SymbolWriter`]. So the binaries, the simulation and the tests run the same code.
//!
//! A session is lead-in → passes → tail: the lead-in repeats FDT, manifest and announcement so often that a receiver
//! at 2 % loss misses a packet of them about once in 10^13; the tail tells receivers that nothing more will come. With
//! feedback, rounds in which receivers ask for what they lack follow each pass.

mod asking;
mod control;
mod requested;
mod rounds;
mod writer;

pub use control::{CONTROL_SHARE, Control};
pub use requested::Requested;
pub use rounds::{FeedbackConfig, FeedbackStats, MAX_ROUNDS};
pub use writer::{SymbolWriter, WriterError};

use super::profile::{FLUTE_CACHE_LEN, Profile, largest_block_len};
use super::repair::RepairShare;
use super::schedule::{Pass, Schedule, SymbolId};
use crate::manifest::UnverifiedManifest;
use rounds::Rounds;
use std::collections::VecDeque;
use std::time::Duration;
use thiserror::Error;

/// Rounds of FDT, manifest and announcement before the first symbol.
pub const LEAD_IN_ROUNDS: u32 = 8;
/// Rounds of control packets with flag A after the last symbol.
pub const TAIL_ROUNDS: u32 = 3;
/// Time between two of those rounds, so that one short outage does not take them all.
pub const ROUND_GAP: Duration = Duration::from_millis(10);
/// Announcements at the start of each pass.
const PASS_START_ANNOUNCEMENTS: u32 = 2;

/// What the operator decides about a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SenderConfig {
    /// Dialect.
    pub profile: Profile,
    /// Transport session id; the profiles with 16-bit ids use its low 16 bits.
    pub tsi: u32,
    /// Passes over the image; `None` for a carousel without end.
    pub passes: Option<u32>,
    /// W, blocks interleaved in a window; clamped to what the profile's receivers bear.
    pub window_blocks: u16,
    /// Planned repair.
    pub repair: RepairShare,
    /// Rate in bits a second, by which the share of control packets is bounded.
    pub rate_bps: u64,
    /// Wall clock at time zero of the session, in seconds since 1970: the FDT's expiry counts from it.
    pub start_unix_s: u64,
}

/// Why a session cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SenderError {
    /// The no-code scheme numbers 65,535 symbols a block.
    #[error("profile no-code numbers at most 65535 symbols a block, this image has {0}; seal it with smaller blocks")]
    BlockTooLarge(u32),
    /// Not even one block fits what the profile's receivers hold.
    #[error(
        "profile flute's receivers hold {FLUTE_CACHE_LEN} bytes of unfinished blocks, and a block of this image has {0}; \
         seal it with fewer symbols a block, or use profile fleetcast"
    )]
    BlockTooLong(u64),
    /// Repair symbols do not exist without FEC.
    #[error("profile no-code has no repair symbols; use --repair 0% and more passes")]
    RepairWithoutFec,
    /// Feedback asks for repair symbols.
    #[error("feedback is for profile fleetcast; other receivers send none")]
    FeedbackProfile,
    /// A packet of the session could not be written.
    #[error("a control packet cannot be written: {0}")]
    Control(String),
}

/// What to send next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// Send this packet now.
    Packet(Outgoing),
    /// Send nothing before this time.
    Wait(Duration),
    /// Send nothing before this time unless feedback comes: wait until then for [`SenderSession::on_feedback`], and poll again
    /// with the time that it is.
    Listen(Duration),
    /// The session is over.
    Done,
}

/// One packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A symbol of the image, to be written by a [`SymbolWriter`].
    Symbol {
        /// Which symbol.
        id: SymbolId,
        /// Flag B: this is the last symbol of the last pass.
        close_object: bool,
    },
    /// A whole packet of the FDT, the manifest or the announcement.
    Control(Vec<u8>),
}

#[derive(Debug)]
enum State {
    LeadIn {
        round: u32,
        at: Duration,
    },
    Pass(std::iter::Peekable<Pass>),
    /// A feedback round is open.
    Listen,
    /// What receivers asked for is sent, not before `at`.
    Requested {
        symbols: Requested,
        at: Duration,
    },
    Tail {
        round: u32,
        at: Duration,
    },
    Done,
}

/// The sender's half of a session.
#[derive(Debug)]
pub struct SenderSession {
    profile: Profile,
    schedule: Schedule,
    writer: SymbolWriter,
    control: Control,
    passes: Option<u32>,
    pass: u32,
    repair_sets: u32,
    state: State,
    queue: VecDeque<Vec<u8>>,
    next_control_at: Duration,
    rounds: Option<Rounds>,
    /// Whether later passes plan what reported losses take.
    is_sized: bool,
}

impl SenderSession {
    /// Starts a session that distributes `manifest`'s image.
    pub fn new(config: &SenderConfig, manifest: &UnverifiedManifest) -> Result<Self, SenderError> {
        let partition = manifest.manifest().partition;
        let (largest_k, smallest_k) = (partition.largest_k(), partition.smallest_k());
        if config.profile == Profile::NoCode {
            if largest_k > u32::from(u16::MAX) {
                return Err(SenderError::BlockTooLarge(largest_k));
            }
            if config.repair != RepairShare::NONE {
                return Err(SenderError::RepairWithoutFec);
            }
        }
        let window_blocks = config.window_blocks.min(config.profile.max_window_blocks(&partition));
        if window_blocks == 0 && config.window_blocks > 0 {
            return Err(SenderError::BlockTooLong(largest_block_len(&partition)));
        }
        let repair = (config.repair.symbols(largest_k), config.repair.symbols(smallest_k));
        let tsi = config.profile.tsi(config.tsi);
        let schedule = Schedule::new(partition, window_blocks, repair.0, repair.1).with_seed(tsi);
        Ok(Self {
            profile: config.profile,
            schedule,
            writer: SymbolWriter::new(config.profile, config.tsi, partition),
            control: Control::new(config, manifest, &schedule)?,
            passes: config.passes,
            pass: 0,
            repair_sets: u32::MAX,
            state: State::LeadIn { round: 0, at: Duration::ZERO },
            queue: VecDeque::new(),
            next_control_at: Duration::ZERO,
            rounds: None,
            is_sized: false,
        })
    }

    /// Announces where the image lies on web servers.
    ///
    /// # Errors
    /// When a URL cannot be announced, or they are too many.
    pub fn with_repair_urls(mut self, urls: Vec<String>) -> Result<Self, SenderError> {
        self.control.announce_repair_urls(urls)?;
        Ok(self)
    }

    /// Repeats the repair symbols of the first `sets` passes, at least one, instead of fresh ones in every pass: whoever keeps
    /// packets ready can send the same again. Announcements count passes modulo `sets`, so that receivers measure loss by the
    /// symbols that a pass really has.
    pub fn with_repair_sets(mut self, sets: u32) -> Self {
        self.repair_sets = sets.max(1);
        self
    }

    /// The pass as it is numbered on the wire.
    fn wire_pass(&self) -> u32 {
        self.pass % self.repair_sets
    }

    /// The order in which symbols are sent.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Writes the packets of the symbols that [`poll`](Self::poll) names.
    pub fn writer(&self) -> SymbolWriter {
        self.writer
    }

    /// The rate changed: repeats of control packets keep to their share of the new one, from now on.
    pub fn set_rate_bps(&mut self, rate_bps: u64) {
        let before = self.control.interval();
        self.control.set_rate_bps(rate_bps);
        // What was due by the old interval is due by the new one.
        self.next_control_at = self.next_control_at.saturating_sub(before) + self.control.interval();
    }

    /// The pass that is being sent, counted from 0.
    pub fn pass(&self) -> u32 {
        self.pass
    }

    /// What to send at `now`, the time since the session's start at which the packet will leave.
    ///
    /// Returns one packet at a time. Repeats of control packets are due by time, so `now` must not run backwards.
    pub fn poll(&mut self, now: Duration) -> Result<Poll, SenderError> {
        loop {
            if let Some(packet) = self.queue.pop_front() {
                return Ok(Poll::Packet(Outgoing::Control(packet)));
            }
            if let Some(poll) = self.step(now)? {
                return Ok(poll);
            }
        }
    }

    /// One step of the state machine: something to return, or `None` when it queued packets or changed state.
    fn step(&mut self, now: Duration) -> Result<Option<Poll>, SenderError> {
        match &mut self.state {
            State::LeadIn { at, .. } | State::Tail { at, .. } if now < *at => return Ok(Some(Poll::Wait(*at))),
            State::LeadIn { round, at } if *round < LEAD_IN_ROUNDS => {
                (*round, *at) = (*round + 1, now + ROUND_GAP);
                self.queue_control(now, false, false)?;
            }
            State::LeadIn { .. } => self.start_pass(0)?,
            State::Pass(_) if now >= self.next_control_at => self.queue_control(now, false, false)?,
            State::Pass(symbols) => {
                let Some(id) = symbols.next() else {
                    self.end_pass(now)?;
                    return Ok(None);
                };
                let last_pass = self.passes.is_some_and(|passes| self.pass + 1 >= passes);
                // With feedback nobody knows which symbol is the last.
                let close_object = last_pass && self.rounds.is_none() && symbols.peek().is_none();
                return Ok(Some(Poll::Packet(Outgoing::Symbol { id, close_object })));
            }
            State::Listen | State::Requested { .. } if now >= self.next_control_at => {
                self.queue_control(now, true, false)?;
            }
            State::Listen => return self.listen(now),
            State::Requested { at, .. } if now < *at => return Ok(Some(Poll::Wait(*at))),
            State::Requested { symbols, .. } => match symbols.next() {
                Some(id) => return Ok(Some(Poll::Packet(Outgoing::Symbol { id, close_object: false }))),
                None => self.open_round(now),
            },
            State::Tail { round, at } if *round < TAIL_ROUNDS => {
                (*round, *at) = (*round + 1, now + ROUND_GAP);
                self.queue_control(now, true, true)?;
            }
            State::Tail { .. } => self.state = State::Done,
            State::Done => return Ok(Some(Poll::Done)),
        }
        Ok(None)
    }

    /// Queues one round of FDT, manifest and announcement, and dates the next.
    fn queue_control(&mut self, now: Duration, pass_ended: bool, close_session: bool) -> Result<(), SenderError> {
        let round = self.control.round(now, self.wire_pass(), pass_ended, close_session)?;
        self.queue.extend(round);
        self.next_control_at = now + self.control.interval();
        Ok(())
    }

    fn start_pass(&mut self, pass: u32) -> Result<(), SenderError> {
        self.pass = pass;
        let pass = self.wire_pass();
        self.state = State::Pass(self.schedule.pass(pass).peekable());
        for _ in 0..PASS_START_ANNOUNCEMENTS {
            self.queue.push_back(self.control.announcement(pass, false, false)?);
        }
        Ok(())
    }

    fn end_pass(&mut self, now: Duration) -> Result<(), SenderError> {
        if let Some(rounds) = &mut self.rounds {
            rounds.start_pass(now);
            self.state = State::Listen;
            return Ok(());
        }
        self.go_on(now)
    }

    /// Everything about the pass is done: the next one, or the tail.
    fn go_on(&mut self, now: Duration) -> Result<(), SenderError> {
        self.size_repair();
        let next = self.pass.saturating_add(1);
        if self.passes.is_some_and(|passes| next >= passes) {
            self.state = State::Tail { round: 0, at: now };
            return Ok(());
        }
        self.queue.push_back(self.control.announcement(self.wire_pass(), true, false)?);
        self.start_pass(next)
    }
}

#[cfg(test)]
mod tests;
