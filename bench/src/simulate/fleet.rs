//! All receivers, divided among threads: what a receiver does depends on nothing but what it hears, so the result does not
//! depend on how they are divided.

use super::member::{Event, Member, Outbox, Report, Shared};
use fleetcast_protocol::random::mix;
use fleetcast_protocol::simulation::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::thread;
use std::time::Duration;

/// The fleet.
pub struct Fleet {
    shared: Shared,
    members: Vec<Member>,
    /// When each member wants to be called next; apart from the members, so that looking through all is cheap.
    dues: Vec<Duration>,
    threads: usize,
    arriving: BinaryHeap<Reverse<Report>>,
    pub reports: u64,
    pub report_bytes: u64,
}

/// Part of the fleet that one thread works on.
struct Shard<'f> {
    first: u32,
    members: &'f mut [Member],
    dues: &'f mut [Duration],
}

impl Fleet {
    pub fn new(shared: Shared, receivers: u32, seed: u64, threads: usize) -> Self {
        let members: Vec<Member> =
            (0..receivers).map(|index| Member::new(&shared, Random::new(mix(seed ^ mix(u64::from(index)))))).collect();
        Self {
            shared,
            dues: vec![Duration::MAX; members.len()],
            members,
            threads,
            arriving: BinaryHeap::new(),
            reports: 0,
            report_bytes: 0,
        }
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Everybody hears these, one after the other.
    pub fn hear(&mut self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        self.each(|index, member, due, shared, outbox, lost| {
            for event in events {
                member.hear(index, event, shared, outbox, lost);
            }
            *due = member.due().unwrap_or(Duration::MAX);
        });
    }

    /// Everybody lives so long that all reports that arrive by `until` have been sent.
    pub fn live(&mut self, until: Duration) {
        self.each(|index, member, due, shared, outbox, _| {
            let until = until.saturating_sub(member.delay());
            if *due <= until {
                member.live(index, until, shared, outbox);
                *due = member.due().unwrap_or(Duration::MAX);
            }
        });
    }

    /// The next report that arrives by `until`.
    pub fn report_by(&mut self, until: Duration) -> Option<Report> {
        self.arriving.peek().filter(|Reverse(report)| report.arrives_at <= until)?;
        self.arriving.pop().map(|Reverse(report)| report)
    }

    /// Somebody else reports.
    pub fn intrude(&mut self, report: Report) {
        self.reports += 1;
        self.report_bytes += report.datagram.len() as u64;
        self.arriving.push(Reverse(report));
    }

    fn each(&mut self, work: impl Fn(u32, &mut Member, &mut Duration, &Shared, &mut Outbox, &mut Vec<u32>) + Sync) {
        let size = self.members.len().div_ceil(self.threads).max(1);
        let shards = (0u32..).zip(self.members.chunks_mut(size).zip(self.dues.chunks_mut(size)));
        let shared = &self.shared;
        let run = |shard: Shard<'_>| {
            let (mut outbox, mut lost) = (Outbox::default(), Vec::new());
            for (index, (member, due)) in (shard.first..).zip(shard.members.iter_mut().zip(shard.dues)) {
                work(index, member, due, shared, &mut outbox, &mut lost);
            }
            outbox
        };
        let outboxes: Vec<Outbox> = thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = shards
                .map(|(number, (members, dues))| {
                    let first = number * u32::try_from(size).unwrap_or(u32::MAX);
                    scope.spawn(move || run(Shard { first, members, dues }))
                })
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Outbox>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        for outbox in outboxes {
            self.reports += outbox.reports;
            self.report_bytes += outbox.report_bytes;
            self.arriving.extend(outbox.arriving.into_iter().map(Reverse));
        }
    }
}
