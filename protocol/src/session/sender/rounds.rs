//! Feedback rounds: after a pass receivers are asked what they lack, and the most that any of them lacks is sent to all.
//!
//! ```text
//! pass ends ──► round 1 open ──► requested repair ──► round 2 open ──► … ──► two rounds in a row are quiet
//!                 │  ▲                                                       (or a limit is reached)
//!     announced, again with every change of what is covered
//!                 ▼  │
//!              receivers: back-off, then a report unless covered
//! ```
//!
//! Reports are not authenticated, so everything they cause is bounded: reports taken a second and a reporter, reporters
//! remembered, rounds after a pass, and symbols sent on request after a pass.

use super::requested::{MARGIN, Requested};
use crate::feedback::{DIGEST_PREFIX_LEN, Deficits, Feedback, digest_prefix};
use crate::session::budget::Budget;
use crate::session::schedule::Schedule;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Receivers back off for up to this many round trips (RFC 5401 §3.2.2: more where the word of one reaches others only
/// through the sender).
const BACKOFF_RTTS: u32 = 6;
/// A round is open for so many round trips more, so that the latest reports arrive.
const ANSWER_RTTS: u32 = 2;
/// And so long more, for hosts that are slow to wake.
const SLACK: Duration = Duration::from_millis(20);
/// So many rounds in a row must bring nothing before the sender believes it: a receiver may miss one.
const QUIET_ROUNDS: u32 = 2;
/// Rounds after a pass, at most.
pub const MAX_ROUNDS: u32 = 16;
/// Reports of one reporter that count in a round.
const MAX_REPORTS_EACH: u8 = 3;
/// Reporters that count in a round.
const MAX_REPORTERS: usize = 8192;
/// Reports that are looked at in a second.
const MAX_REPORTS_PER_SECOND: u32 = 20_000;
/// What is covered is announced anew after so much of a round trip at the earliest.
const ECHO_PARTS: u32 = 8;

/// How the sender asks receivers for what they lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedbackConfig {
    /// UDP port at the source that takes reports.
    pub port: u16,
    /// Estimate of the number of receivers: of many, few speak early.
    pub group_size: u32,
    /// The longest round-trip time to a receiver.
    pub rtt: Duration,
    /// Symbols sent on request after a pass at most, in ten thousandths of the pass.
    pub budget_permyriad: u32,
}

impl FeedbackConfig {
    /// The longest back-off of a receiver.
    pub fn backoff(&self) -> Duration {
        self.rtt * BACKOFF_RTTS
    }

    /// How long a round is open.
    pub fn round_time(&self) -> Duration {
        self.backoff() + self.rtt * ANSWER_RTTS + SLACK
    }
}

/// What came of feedback so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedbackStats {
    /// Rounds opened.
    pub rounds: u64,
    /// Reports that counted.
    pub reports: u64,
    /// Bytes of their UDP payloads.
    pub report_bytes: u64,
    /// Datagrams that are no report of this session and round, or exceed a limit.
    pub ignored: u64,
    /// Symbols sent on request.
    pub requested_symbols: u64,
    /// Passes after which a limit, and not quiet, ended the rounds.
    pub limited: u64,
    /// The largest loss that was reported, in millionths.
    pub largest_loss_ppm: u32,
    /// Repair symbols that the pass plans, of a block of the larger K.
    pub planned_repair_symbols: u32,
}

/// What the session does next about the open round.
#[derive(Debug)]
pub(super) enum Step {
    /// Announce it, with what is covered.
    Announce,
    /// Nothing before this time, unless a report comes.
    Listen(Duration),
    /// The round is over: send this.
    Repair(Requested),
    /// The round is over: open the next one.
    Next,
    /// All rounds after this pass are over.
    Finished,
}

/// The rounds of a session.
#[derive(Debug)]
pub(super) struct Rounds {
    config: FeedbackConfig,
    digest_prefix: [u8; DIGEST_PREFIX_LEN],
    tsi: u32,
    number: u32,
    /// The most that any report of the open round asks for.
    asked: Deficits,
    reporters: HashMap<SocketAddr, u8>,
    looked_at: Budget,
    ends: Duration,
    announced_at: Option<Duration>,
    has_changed: bool,
    quiet: u32,
    rounds_of_pass: u32,
    spent_symbols: u64,
    /// Symbols of each block that were sent on request: the next one is fresh.
    sent: Vec<u32>,
    stats: FeedbackStats,
}

impl Rounds {
    pub(super) fn new(config: FeedbackConfig, digest: &[u8; 32], tsi: u32, blocks: u16) -> Self {
        Self {
            config,
            digest_prefix: digest_prefix(digest),
            tsi,
            number: 0,
            asked: Deficits::default(),
            reporters: HashMap::new(),
            looked_at: Budget::new(MAX_REPORTS_PER_SECOND, Duration::from_secs(1)),
            ends: Duration::ZERO,
            announced_at: None,
            has_changed: false,
            quiet: 0,
            rounds_of_pass: 0,
            spent_symbols: 0,
            sent: vec![0; usize::from(blocks)],
            stats: FeedbackStats::default(),
        }
    }

    pub(super) fn stats(&self) -> FeedbackStats {
        self.stats
    }

    /// The open round's number, and what is covered in it: for announcements. The symbol more that is sent in any case counts,
    /// as most who lack just that one more than others get it: so about half as many have to speak.
    pub(super) fn announced(&self) -> (u32, Deficits) {
        let sent = |sbn| match self.asked.of(sbn) {
            0 => 0,
            asked => asked + MARGIN,
        };
        (self.number, Deficits::from_counts((0..=u8::MAX).take(self.sent.len()).map(sent)))
    }

    /// A pass ended: its limits count from here.
    pub(super) fn start_pass(&mut self, now: Duration) {
        (self.quiet, self.rounds_of_pass, self.spent_symbols) = (0, 0, 0);
        self.open(now);
    }

    /// Opens the next round.
    pub(super) fn open(&mut self, now: Duration) {
        self.number += 1;
        self.rounds_of_pass += 1;
        self.stats.rounds += 1;
        self.asked = Deficits::default();
        self.reporters.clear();
        self.ends = now + self.config.round_time();
        self.announced_at = None;
        self.has_changed = false;
    }

    /// A datagram came from `from`.
    pub(super) fn on_feedback(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]) {
        match self.report(now, from, bytes) {
            Some(report) => {
                self.stats.reports += 1;
                self.stats.report_bytes += bytes.len() as u64;
                self.stats.largest_loss_ppm = self.stats.largest_loss_ppm.max(report.loss_ppm.unwrap_or(0));
                let blocks = self.sent.len();
                let known = (0..=u8::MAX).take(blocks).map(|sbn| report.deficits.of(sbn));
                self.has_changed |= self.asked.raise_to(&Deficits::from_counts(known));
            }
            None => self.stats.ignored += 1,
        }
    }

    /// The report in a datagram, if it counts.
    fn report(&mut self, now: Duration, from: SocketAddr, bytes: &[u8]) -> Option<Feedback> {
        if now > self.ends || !self.looked_at.spend(now) {
            return None;
        }
        let is_known = self.reporters.contains_key(&from);
        if !is_known && self.reporters.len() >= MAX_REPORTERS {
            return None;
        }
        let report = Feedback::from_cbor(bytes).ok()?;
        let is_ours =
            report.digest_prefix == self.digest_prefix && report.tsi == self.tsi && report.round == self.number;
        if !is_ours || report.deficits.is_empty() {
            return None;
        }
        let reports = self.reporters.entry(from).or_default();
        *reports = reports.saturating_add(1);
        (*reports <= MAX_REPORTS_EACH).then_some(report)
    }

    /// What to do at `now` in the open round of a pass in the order of `schedule`.
    pub(super) fn step(&mut self, now: Duration, schedule: &Schedule) -> Step {
        if now >= self.ends {
            return self.close(schedule);
        }
        let next = self.announced_at.map_or(now, |at| {
            let wait = if self.has_changed { self.config.rtt / ECHO_PARTS } else { self.config.rtt };
            at + wait.max(Duration::from_millis(1))
        });
        if now >= next {
            (self.announced_at, self.has_changed) = (Some(now), false);
            return Step::Announce;
        }
        Step::Listen(next.min(self.ends))
    }

    fn close(&mut self, schedule: &Schedule) -> Step {
        let asked = std::mem::take(&mut self.asked);
        self.quiet = if asked.is_empty() { self.quiet + 1 } else { 0 };
        if self.quiet >= QUIET_ROUNDS {
            return Step::Finished;
        }
        let budget = schedule.len() * u64::from(self.config.budget_permyriad) / 10_000;
        let left = budget.saturating_sub(self.spent_symbols);
        if self.rounds_of_pass >= MAX_ROUNDS || (left == 0 && !asked.is_empty()) {
            self.stats.limited += 1;
            return Step::Finished;
        }
        if asked.is_empty() {
            return Step::Next;
        }
        let requested = Requested::new(schedule, &asked, &mut self.sent, left, self.tsi);
        self.spent_symbols += requested.left();
        self.stats.requested_symbols += requested.left();
        Step::Repair(requested)
    }
}

#[cfg(test)]
mod tests;
