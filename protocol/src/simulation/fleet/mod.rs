//! A fleet in a simulated world: one sender after the other, many devices, and the network between them in both directions,
//! packet by packet with real decoding. Everything follows from a seed.
//!
//! Time passes in one place: before a packet leaves the sender, every device lives until then. While the sender listens,
//! devices live as far ahead as nothing that it may say meanwhile can reach them.

mod device;

pub use device::{Device, DevicePlan, Leaving, Outage};

use super::{Random, Release, Sent, Transmission};
use crate::session::sender::{FeedbackConfig, FeedbackStats, SenderConfig, SenderSession};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

/// Reports on their way: when one arrives, from which device, and the datagram.
type Reports = BinaryHeap<Reverse<(Duration, usize, Vec<u8>)>>;

/// One run of a sender.
#[derive(Debug, Clone)]
pub struct SenderPlan {
    /// What it sends, and how.
    pub config: SenderConfig,
    /// How it asks, if it does.
    pub feedback: Option<FeedbackConfig>,
    /// When it is killed, unless it ends before.
    pub killed_at: Option<Duration>,
}

/// What one run of a sender came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// What came of feedback.
    pub feedback: FeedbackStats,
    /// Packets that were sent.
    pub packets: u64,
    /// Whether it ended by itself.
    pub is_over: bool,
}

/// The world.
#[derive(Debug)]
pub struct World<'r> {
    release: &'r Release,
    /// One packet leaves in so much time.
    tick: Duration,
    /// The devices.
    pub devices: Vec<Device>,
    reports: Reports,
    now: Duration,
}

impl<'r> World<'r> {
    /// A world in which `release` is sent to devices with these plans.
    pub fn new(release: &'r Release, tick: Duration, plans: Vec<DevicePlan>, random: &mut Random) -> Self {
        let devices = plans.into_iter().map(|plan| Device::new(plan, random.fork())).collect();
        Self { release, tick, devices, reports: Reports::new(), now: Duration::ZERO }
    }

    /// The address that device `index` reports from.
    ///
    /// # Panics
    /// When the fleet is larger than there are ports.
    pub fn address(index: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], u16::try_from(1024 + index).expect("a small fleet")))
    }

    /// Whether every device holds the image, verified.
    pub fn all_complete(&self) -> bool {
        self.devices.iter().all(|device| device.receiver.session.is_complete())
    }

    /// Time until which the world has lived.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Runs a sender to its end, until it is killed, or until `done` says that it may end. `intrude` is asked, whenever the sender
    /// listens, what others say to it.
    ///
    /// # Panics
    /// When the plan does not go with the release.
    pub fn run(
        &mut self,
        plan: &SenderPlan,
        mut intrude: impl FnMut(&SenderSession) -> Vec<(SocketAddr, Vec<u8>)>,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Run {
        let session = SenderSession::new(&plan.config, &self.release.manifest).expect("a legal plan");
        let session = match plan.feedback {
            Some(feedback) => session.with_feedback(feedback).expect("a legal plan"),
            None => session,
        };
        let (mut sender, started) = (Transmission::of(session, self.release, self.tick), self.now);
        let mut packets = 0;
        let is_over = loop {
            if plan.killed_at.is_some_and(|at| self.now >= at) || done(self) {
                break false;
            }
            match sender.step() {
                Sent::Packet(at, packet) => {
                    self.live(started + at);
                    packets += 1;
                    // Reports that come while it does not listen are in vain.
                    while self.report_by(self.now).is_some() {}
                    self.devices.iter_mut().for_each(|device| device.send(self.now, &packet));
                }
                Sent::Listens(until) => {
                    for (from, datagram) in intrude(sender.session()) {
                        sender.feedback(from, &datagram);
                    }
                    self.listen(&mut sender, started, started + until);
                }
                Sent::Done => break true,
            }
        };
        // What is under way arrives, and quiet blocks are tried.
        self.live(self.now + Duration::from_secs(1));
        Run { feedback: sender.session().feedback_stats().unwrap_or_default(), packets, is_over }
    }

    /// All devices live until `until`.
    fn live(&mut self, until: Duration) {
        for (index, device) in self.devices.iter_mut().enumerate() {
            for report in device.live(until) {
                self.reports.extend(report.arrives_at.map(|at| Reverse((at, index, report.datagram))));
            }
        }
        self.now = until;
    }

    /// The next report that arrives by `at`.
    fn report_by(&mut self, at: Duration) -> Option<(Duration, usize, Vec<u8>)> {
        self.reports.peek().filter(|Reverse((arrives_at, ..))| *arrives_at <= at)?;
        self.reports.pop().map(|Reverse(report)| report)
    }

    /// The sender listens until `until`, or until the next report.
    fn listen(&mut self, sender: &mut Transmission<'_>, started: Duration, until: Duration) {
        let nearest = self.devices.iter().map(Device::delay).min().unwrap_or(Duration::MAX);
        let horizon = until.min(self.now + nearest.max(Duration::from_micros(1)));
        self.live(horizon);
        match self.report_by(horizon) {
            Some((at, index, datagram)) => {
                sender.listened(at.saturating_sub(started));
                sender.feedback(Self::address(index), &datagram);
            }
            None => sender.listened(horizon - started),
        }
    }
}
