//! The second ring of repair: in a feedback round the receiver tells the sender how many symbols its blocks lack, after a
//! back-off, unless what others asked for covers it.
//!
//! Announcements are not signed, so whoever forges one can open rounds at will: what a receiver sends is bounded in time,
//! small, and goes to the address of the session's source only.

use super::block::{Block, BlockState};
use super::{ReceiverSession, Upgrade};
use crate::announcement::Announcement;
use crate::feedback::{Deficits, Feedback, digest_prefix, truncated_exponential};
use crate::random::Random;
use crate::session::budget::Budget;
use std::time::Duration;

/// Reports in a round: one, and repeats where the sender does not confirm it.
const MAX_REPORTS_A_ROUND: u32 = 3;
/// Reports in a period, whatever is announced.
const REPORTS_PER_PERIOD: u32 = 32;
/// The period.
const REPORT_PERIOD: Duration = Duration::from_secs(10);
/// While more passes come, a block that lacks more than one part in this many of K waits for them: a late joiner is
/// what they are for.
const PATIENT_PARTS: u32 = 4;
/// Where the announcement does not say: a round trip of a continent.
const DEFAULT_RTT: Duration = Duration::from_millis(100);
/// The back-off in round trips, where the announcement does not say.
const DEFAULT_BACKOFF_RTTS: u32 = 6;
/// The group, where the announcement does not say.
const DEFAULT_GROUP_SIZE: u32 = 10_000;

/// A report to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The session that it belongs to: it goes to the address that this one is received from, and nowhere else.
    pub tsi: u64,
    /// UDP port there.
    pub port: u16,
    /// The datagram.
    pub datagram: Vec<u8>,
}

/// What is known for reporting.
#[derive(Debug)]
pub struct Reporting {
    random: Random,
    budget: Budget,
    round: Option<Round>,
    /// Blocks that wait for the next pass, and of which session and pass: what repair brings them meanwhile changes nothing.
    patient: (Option<(u64, u32)>, Vec<u8>),
}

/// The round that was announced last.
#[derive(Debug)]
struct Round {
    tsi: u64,
    number: u32,
    port: u16,
    rtt: Duration,
    covered: Deficits,
    /// The pass that it follows, and whether no other comes.
    pass: u32,
    is_last_pass: bool,
    /// When to look whether there is something to say; `None` when everything is said.
    due: Option<Duration>,
    reports: u32,
}

impl Reporting {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            budget: Budget::new(REPORTS_PER_PERIOD, REPORT_PERIOD),
            round: None,
            patient: (None, Vec::new()),
        }
    }

    /// An announcement of a session that carries the upgrade. Whether it opens a round.
    pub(super) fn on_announcement(&mut self, now: Duration, tsi: u64, announcement: &Announcement) -> bool {
        let (Some(number), Some(port)) = (announcement.round, announcement.feedback_port) else { return false };
        if let Some(round) = self.round.as_mut().filter(|round| round.tsi == tsi && number <= round.number) {
            if number == round.number {
                round.covered.raise_to(&announcement.covered);
            }
            return false;
        }
        let ms = |ms: u32| Duration::from_millis(u64::from(ms));
        let rtt = announcement.rtt_ms.map_or(DEFAULT_RTT, ms);
        let longest = announcement.backoff_ms.map_or(rtt * DEFAULT_BACKOFF_RTTS, ms);
        let group_size = announcement.group_size.unwrap_or(DEFAULT_GROUP_SIZE);
        self.round = Some(Round {
            tsi,
            number,
            port,
            rtt,
            covered: announcement.covered.clone(),
            pass: announcement.pass,
            is_last_pass: announcement.passes.is_some_and(|passes| announcement.pass.saturating_add(1) >= passes),
            due: Some(now + truncated_exponential(&mut self.random, longest, group_size)),
            reports: 0,
        });
        true
    }

    /// Another upgrade begins.
    pub(super) fn restart(&mut self) {
        self.round = None;
        self.patient = (None, Vec::new());
    }

    /// What is lacking, not covered, and worth asking for in the open round.
    fn uncovered(&mut self, blocks: &[Block]) -> Deficits {
        let Some(round) = &self.round else { return Deficits::default() };
        let pass = Some((round.tsi, round.pass));
        if self.patient.0 != pass {
            self.patient = (pass, Vec::new());
        }
        let patient = &mut self.patient.1;
        Deficits::from_counts((0..=u8::MAX).zip(blocks).map(|(sbn, block)| {
            let need = block.needed();
            if !round.is_last_pass && need > block.k() / PATIENT_PARTS && !patient.contains(&sbn) {
                patient.push(sbn);
            }
            let waits = !round.is_last_pass && patient.contains(&sbn);
            if need > round.covered.of(sbn) && !waits { need } else { 0 }
        }))
    }
}

impl ReceiverSession {
    /// Tells the sender what is lacking, when it asks. Random times follow from `seed`.
    #[must_use]
    pub fn with_feedback(mut self, seed: u64) -> Self {
        self.reporting = Some(Reporting::new(seed));
        self
    }

    /// When [`poll_feedback`](Self::poll_feedback) wants to be called next, if at all.
    pub fn next_feedback_at(&self) -> Option<Duration> {
        self.reporting.as_ref()?.round.as_ref()?.due
    }

    /// The report to send now, if there is one.
    pub fn poll_feedback(&mut self, now: Duration) -> Option<Request> {
        let loss_ppm = self.loss().map(|(_, loss)| ppm(loss));
        let Upgrade { blocks, delivery, .. } = self.upgrade.as_ref()?;
        let reporting = self.reporting.as_mut()?;
        reporting.round.as_ref()?.due.filter(|due| *due <= now)?;
        let deficits = reporting.uncovered(blocks);
        let Reporting { budget, round, .. } = reporting;
        let round = round.as_mut()?;
        // What is being checked may turn out to lack a symbol.
        let is_checking = blocks.iter().any(|block| block.state() == BlockState::Checking);
        let speaks = !deficits.is_empty() && round.reports < MAX_REPORTS_A_ROUND && budget.spend(now);
        round.due = (speaks || is_checking).then(|| now + round.rtt * 2);
        if !speaks {
            return None;
        }
        round.reports += 1;
        let digest_prefix = digest_prefix(&delivery.digest());
        let tsi = u32::try_from(round.tsi).ok()?;
        let datagram = Feedback { digest_prefix, tsi, round: round.number, deficits, loss_ppm }.to_cbor();
        self.stats.feedback_reports += 1;
        self.stats.feedback_bytes += datagram.len() as u64;
        Some(Request { tsi: round.tsi, port: round.port, datagram })
    }

    /// The sender listens: whatever has enough symbols to be tried is tried now, as no more come before it has heard.
    pub(super) fn on_round(&mut self) {
        let Some(upgrade) = &self.upgrade else { return };
        let blocks = (0..=u8::MAX).zip(&upgrade.blocks);
        let sbns: Vec<u8> = blocks.filter(|(_, block)| block.waits_for_quiet()).map(|(sbn, _)| sbn).collect();
        sbns.into_iter().for_each(|sbn| self.check(sbn));
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share from 0 to 1")]
fn ppm(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * 1e6).round() as u32
}
