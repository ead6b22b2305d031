//! One emulated router: the receiver's real session, and what it has come to.

use super::population::Member;
use super::proof::Prover;
use super::result::Kind;
use fleetcast_protocol::manifest::TrustStore;
use fleetcast_protocol::policy::Device;
use fleetcast_protocol::session::receiver::{Action, ReceiverSession, Request, SharedPacket, Stats, SymbolRun};
use std::sync::Arc;
use std::time::Duration;

/// A router.
pub struct Router {
    /// `None` once the image is complete, and at a dead one.
    session: Option<Box<ReceiverSession>>,
    joins_at: Duration,
    joined: bool,
    completed_at: Option<Duration>,
    /// Of a session that has ended.
    stats: Stats,
    pub reports: u64,
}

impl Router {
    pub fn new(member: &Member, trust: &Arc<TrustStore>, device: &Arc<Device>, feedback_seed: u64) -> Self {
        let session = || {
            let session = ReceiverSession::new(Arc::clone(trust), Arc::clone(device), None);
            Box::new(session.with_feedback(feedback_seed))
        };
        Self {
            session: (member.kind != Kind::Dead).then(session),
            joins_at: member.joins_at,
            joined: member.joins_at.is_zero(),
            completed_at: None,
            stats: Stats::default(),
            reports: 0,
        }
    }

    /// When the image was complete.
    pub fn completed_at(&self) -> Option<Duration> {
        self.completed_at
    }

    /// What its session counted.
    pub fn stats(&self) -> Stats {
        self.session.as_ref().map_or(self.stats, |session| *session.stats())
    }

    /// When the session wants to be called next.
    pub fn due(&self) -> Option<Duration> {
        let session = self.session.as_ref()?;
        [session.poll_timeout(), session.next_feedback_at()].into_iter().flatten().min()
    }

    /// Joins, if its time has come: what follows is for it.
    pub fn join_by(&mut self, now: Duration) {
        self.joined |= now >= self.joins_at;
    }

    /// A control packet came.
    pub fn control(&mut self, now: Duration, packet: &SharedPacket, prover: &mut Prover) {
        if let Some(session) = self.session.as_mut().filter(|_| self.joined) {
            session.on_shared_packet(now, packet);
            self.act(now, prover);
        }
    }

    /// A run came, but for the symbols at the indices `lost`.
    pub fn run(&mut self, now: Duration, run: &SymbolRun, lost: &[u32], prover: &mut Prover) {
        if let Some(session) = self.session.as_mut().filter(|_| self.joined) {
            session.on_range_received(now, run, lost);
            self.act(now, prover);
        }
    }

    /// Lives until `now`; returns what it reports, if it does.
    pub fn live(&mut self, now: Duration, prover: &mut Prover) -> Option<Request> {
        let session = self.session.as_mut()?;
        if session.poll_timeout().is_some_and(|at| at <= now) {
            session.on_timeout(now);
            self.act(now, prover);
        }
        let request = self.session.as_mut()?.poll_feedback(now)?;
        self.reports += 1;
        Some(request)
    }

    fn act(&mut self, now: Duration, prover: &mut Prover) {
        let Some(session) = &mut self.session else { return };
        while let Some(action) = session.poll_action() {
            match action {
                Action::Begin { .. } => session.begin(now, []),
                Action::Check(check) => {
                    let outcome = prover.settle(&check);
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
            self.stats = *session.stats();
            self.session = None;
        }
    }
}
