//! A device of a fleet: a receiver, the network to and from it, and what happens to it.

use super::super::{Path, PathConfig, Random, Receiver};
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// A device, and what will happen to it.
#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// What its network does to packets beside taking `delay`.
    pub path: PathConfig,
    /// How long a packet takes, either way.
    pub delay: Duration,
    /// Reports in a thousand that get lost.
    pub feedback_loss_permille: u64,
    /// Whether it reports at all.
    pub reports: bool,
    /// When it begins to listen.
    pub joins_at: Duration,
    /// When nothing gets through, either way.
    pub partitions: Vec<Range<Duration>>,
    /// When it is off; after that it starts again with what lies on its disk.
    pub outages: Vec<Outage>,
}

/// A time in which a device is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// From when to when.
    pub time: Range<Duration>,
    /// Whether the power failed, and not only the process was killed.
    pub is_power: bool,
}

impl DevicePlan {
    /// A device that reports and is there from the start, `delay` away.
    pub fn new(path: PathConfig, delay: Duration) -> Self {
        Self {
            path,
            delay,
            feedback_loss_permille: 0,
            reports: true,
            joins_at: Duration::ZERO,
            partitions: Vec::new(),
            outages: Vec::new(),
        }
    }
}

/// A report that leaves a device.
#[derive(Debug)]
pub struct Leaving {
    /// When it arrives, unless it got lost.
    pub arrives_at: Option<Duration>,
    /// The datagram.
    pub datagram: Vec<u8>,
}

/// A device while it lives.
#[derive(Debug)]
pub struct Device {
    /// The receiver.
    pub receiver: Receiver,
    /// Reports that it has sent.
    pub reports: u64,
    plan: DevicePlan,
    path: Path,
    random: Random,
    outages: VecDeque<Outage>,
}

impl Device {
    /// A device whose whims follow from `random`.
    pub fn new(plan: DevicePlan, mut random: Random) -> Self {
        let receiver = Receiver::default();
        let receiver = if plan.reports { receiver.with_feedback(random.next_u64()) } else { receiver };
        let path = Path::new(plan.path, random.fork());
        Self { receiver, reports: 0, path, random, outages: plan.outages.clone().into(), plan }
    }

    /// The network between here and the sender.
    pub fn delay(&self) -> Duration {
        self.plan.delay
    }

    fn is_cut_off(&self, at: Duration) -> bool {
        self.plan.partitions.iter().any(|time| time.contains(&at))
    }

    /// A packet leaves the sender at `at`.
    pub fn send(&mut self, at: Duration, packet: &[u8]) {
        if !self.is_cut_off(at) {
            self.path.send(at + self.plan.delay, packet);
        }
    }

    /// The device lives until `until`; returns what it reports meanwhile.
    pub fn live(&mut self, until: Duration) -> Vec<Leaving> {
        let mut leaving = Vec::new();
        loop {
            let outage = self.outages.front().map(|outage| outage.time.start);
            let arrival = self.path.next_arrival();
            let speaks = self.receiver.session.next_feedback_at().map(|at| at.max(self.receiver.now()));
            let Some(at) = [outage, arrival, speaks].into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            if outage == Some(at) {
                self.fail();
            } else if arrival == Some(at) {
                let Some((at, packet)) = self.path.arrival(at) else { break };
                if at >= self.plan.joins_at {
                    self.receiver.deliver(at, &packet);
                }
            } else {
                self.receiver.pass_time(at);
                leaving.extend(self.speak(at));
            }
        }
        self.receiver.pass_time(until);
        leaving
    }

    fn speak(&mut self, at: Duration) -> Option<Leaving> {
        let request = self.receiver.session.poll_feedback(at)?;
        self.reports += 1;
        let is_lost = self.random.chance(self.plan.feedback_loss_permille) || self.is_cut_off(at);
        Some(Leaving { arrives_at: (!is_lost).then_some(at + self.plan.delay), datagram: request.datagram })
    }

    /// The next outage: nothing that arrives in it is heard.
    fn fail(&mut self) {
        let Some(outage) = self.outages.pop_front() else { return };
        self.receiver.pass_time(outage.time.start);
        while self.path.arrival(outage.time.end).is_some() {}
        if outage.is_power {
            self.receiver.fail_power(&mut self.random);
        } else {
            self.receiver.restart();
        }
        self.receiver.pass_time(outage.time.end);
    }
}
