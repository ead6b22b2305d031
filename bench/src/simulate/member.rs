//! One simulated receiver: the real session, the path to it, and what it has come to.

use super::losses::{LossModel, Losses};
use fleetcast_protocol::manifest::TrustStore;
use fleetcast_protocol::policy::Device;
use fleetcast_protocol::session::receiver::{
    Action, BlockCheck, BlockOutcome, ReceiverSession, SharedPacket, SymbolRun,
};
use fleetcast_protocol::simulation::Random;
use std::sync::Arc;
use std::time::Duration;

/// RaptorQ fails with exactly K symbols less than once in so many times, and with each one more a hundredth as often.
const FAILS_AT_K: u64 = 100;
const FAILS_LESS: u64 = 100;

/// What leaves the sender.
#[derive(Debug)]
pub enum Event {
    /// A control packet.
    Control {
        /// When it leaves.
        at: Duration,
        /// As many packets could have left since the one before.
        idle: u64,
        packet: SharedPacket,
    },
    /// Symbols, one every `tick`.
    Run {
        /// When the first one leaves.
        at: Duration,
        /// As many packets could have left since the one before.
        idle: u64,
        tick: Duration,
        run: SymbolRun,
        len: u32,
    },
}

/// A report on its way; the earliest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    pub arrives_at: Duration,
    pub from: u32,
    pub datagram: Vec<u8>,
}

/// What is the same for all receivers.
#[derive(Debug)]
pub struct Shared {
    pub trust: Arc<TrustStore>,
    pub device: Arc<Device>,
    pub loss: LossModel,
    /// Probability that a report gets lost.
    pub feedback_loss: f64,
    /// The shortest and the longest delay of a path.
    pub delays: (Duration, Duration),
    /// The share of receivers that join late, in ten thousandths, and until when.
    pub late: (u32, Duration),
}

/// What a receiver sent, whether it arrived or not.
#[derive(Debug, Default)]
pub struct Outbox {
    pub arriving: Vec<Report>,
    pub reports: u64,
    pub report_bytes: u64,
}

/// A receiver.
#[derive(Debug)]
pub struct Member {
    /// `None` once the image is complete.
    session: Option<Box<ReceiverSession>>,
    random: Random,
    losses: Losses,
    delay: Duration,
    joins_at: Duration,
    completed_at: Option<Duration>,
}

impl Member {
    pub fn new(shared: &Shared, mut random: Random) -> Self {
        let session = ReceiverSession::new(Arc::clone(&shared.trust), Arc::clone(&shared.device), None)
            .with_feedback(random.next_u64());
        let is_late = random.below(10_000) < u64::from(shared.late.0);
        Self {
            session: Some(Box::new(session)),
            losses: Losses::new(&shared.loss, &mut random),
            delay: shared.delays.0 + random.time_below(shared.delays.1 - shared.delays.0),
            joins_at: if is_late { random.time_below(shared.late.1) } else { Duration::ZERO },
            completed_at: None,
            random,
        }
    }

    /// When the image was complete.
    pub fn completed_at(&self) -> Option<Duration> {
        self.completed_at
    }

    /// How long a packet takes to it, and a report from it.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// When the session wants to be called next.
    pub fn due(&self) -> Option<Duration> {
        let session = self.session.as_ref()?;
        [session.poll_timeout(), session.next_feedback_at()].into_iter().flatten().min()
    }

    /// Lives until `until`.
    pub fn live(&mut self, index: u32, until: Duration, shared: &Shared, outbox: &mut Outbox) {
        while let Some(due) = self.due().filter(|due| *due <= until) {
            let Some(session) = &mut self.session else { return };
            if session.poll_timeout().is_some_and(|at| at <= due) {
                session.on_timeout(due);
                self.act(due);
            } else if let Some(request) = session.poll_feedback(due) {
                outbox.reports += 1;
                outbox.report_bytes += request.datagram.len() as u64;
                if !happens(shared.feedback_loss, &mut self.random) {
                    let arrives_at = due + self.delay;
                    outbox.arriving.push(Report { arrives_at, from: index, datagram: request.datagram });
                }
            }
        }
    }

    /// Something leaves the sender.
    pub fn hear(&mut self, index: u32, event: &Event, shared: &Shared, outbox: &mut Outbox, lost: &mut Vec<u32>) {
        if self.session.is_none() {
            return;
        }
        match event {
            Event::Control { at, idle, packet } => {
                let now = *at + self.delay;
                self.live(index, now, shared, outbox);
                self.losses.idle(&shared.loss, &mut self.random, *idle);
                let is_lost = self.losses.loses(&shared.loss, &mut self.random) || now < self.joins_at;
                if let Some(session) = self.session.as_mut().filter(|_| !is_lost) {
                    session.on_shared_packet(now, packet);
                    self.act(now);
                }
            }
            Event::Run { at, idle, tick, run, len } => {
                let begins = *at + self.delay;
                let now = begins + *tick * (len - 1);
                self.live(index, now, shared, outbox);
                lost.clear();
                self.losses.idle(&shared.loss, &mut self.random, *idle);
                self.losses.draw(&shared.loss, &mut self.random, *len, lost);
                self.miss_before_join(begins, *tick, *len, lost);
                if let Some(session) = &mut self.session {
                    session.on_range_received(now, run, lost);
                    self.act(now);
                }
            }
        }
    }

    /// What leaves before the receiver joins is lost to it.
    fn miss_before_join(&self, begins: Duration, tick: Duration, len: u32, lost: &mut Vec<u32>) {
        let Some(early) = self.joins_at.checked_sub(begins).filter(|early| !early.is_zero()) else { return };
        let missed = early.as_nanos().div_ceil(tick.as_nanos().max(1)).min(u128::from(len));
        let missed = u32::try_from(missed).unwrap_or(len);
        let rest: Vec<u32> = lost.iter().copied().filter(|index| *index >= missed).collect();
        lost.clear();
        lost.extend(0..missed);
        lost.extend(rest);
    }

    fn act(&mut self, now: Duration) {
        let Some(session) = &mut self.session else { return };
        while let Some(action) = session.poll_action() {
            match action {
                Action::Begin { .. } => session.begin(now, []),
                Action::Check(check) => {
                    let outcome = decoded(&check, &mut self.random);
                    session.on_block(now, check.generation, check.range.sbn, outcome);
                }
                Action::Complete => self.completed_at = Some(now),
                Action::BeginUnsigned { .. }
                | Action::AlreadyInstalled { .. }
                | Action::Refused { .. }
                | Action::Bound { .. }
                | Action::Forgotten { .. } => {}
            }
        }
        if self.completed_at.is_some() {
            // It has what it wants, and leaves.
            self.session = None;
        }
    }
}

/// How a check ends, by the law of the code: there are no symbols to decode.
fn decoded(check: &BlockCheck, random: &mut Random) -> BlockOutcome {
    if check.received.is_full() {
        return BlockOutcome::Verified { decoded: false, forged_symbols: 0 };
    }
    let have = u64::from(check.received.count()) + check.parked.len() as u64;
    let Some(overhead) = have.checked_sub(u64::from(check.range.shape.k())) else { return BlockOutcome::Singular };
    let rare = (0..overhead.min(4)).fold(FAILS_AT_K, |rare, _| rare * FAILS_LESS);
    if random.below(rare) == 0 {
        return BlockOutcome::Singular;
    }
    BlockOutcome::Verified { decoded: true, forged_symbols: 0 }
}

/// True with the given probability.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn happens(probability: f64, random: &mut Random) -> bool {
    ((random.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
}
