//! Sending threads over a backend that only looks on.

use super::*;
use crate::precompute::Filled;
use crate::transmit::Slot;
use crossbeam_channel::{Receiver, bounded};
use std::sync::Mutex;

/// Notes when each slot was posted; keeps `lent` slots as the kernel would.
#[derive(Debug)]
struct Recorder {
    posted: Arc<Mutex<Vec<(Duration, u64, u64)>>>,
    keep: usize,
    lent: VecDeque<Slot>,
    stall: Option<(u64, Duration)>,
}

impl Transmit for Recorder {
    fn post(&mut self, slots: &mut VecDeque<Slot>, free: &mut Vec<Slot>) -> io::Result<()> {
        let now = monotonic_now();
        for slot in slots.drain(..) {
            self.posted.lock().unwrap().push((now, slot.mark.bits, slot.bits));
            if let Some((_, stall)) = self.stall.take_if(|(bits, _)| slot.mark.bits >= *bits) {
                std::thread::sleep(stall);
            }
            self.lent.push_back(slot);
        }
        while self.lent.len() > self.keep {
            free.extend(self.lent.pop_front());
        }
        Ok(())
    }

    fn reclaim(&mut self, free: &mut Vec<Slot>) -> io::Result<usize> {
        free.extend(self.lent.pop_front());
        Ok(self.lent.len())
    }

    fn finish(&mut self, free: &mut Vec<Slot>) -> io::Result<()> {
        free.extend(self.lent.drain(..));
        Ok(())
    }

    fn findings(&self) -> Option<String> {
        None
    }
}

struct Bench {
    pace: Arc<Pace>,
    filled: Sender<(u64, Filled)>,
    ordered: Ordered,
    free_in: Sender<Vec<Slot>>,
    free: Receiver<Vec<Slot>>,
    posted: Arc<Mutex<Vec<(Duration, u64, u64)>>>,
}

const PACKET_BITS: u64 = 10_000;

fn bench(rate_bps: u64) -> Bench {
    let pace = Arc::new(Pace {
        timeline: Timeline::new(rate_bps),
        burst: Burst::Packets(2),
        packet_bits: PACKET_BITS,
        kernel: None,
        progress: Progress::default(),
        stop: Arc::new(AtomicBool::new(false)),
    });
    let (filled, incoming) = bounded(1000);
    let (free_in, free) = bounded(1000);
    Bench { pace, filled, ordered: Ordered::new(incoming, 100), free_in, free, posted: Arc::default() }
}

impl Bench {
    /// Job `sequence` with `slots` slots of a packet each.
    fn job(&self, sequence: u64, slots: u64) {
        // With room to spare, as the planner's have.
        let mut job_slots = Vec::with_capacity(64);
        job_slots.extend((0..slots).map(|index| {
            let mut slot = Slot::with_capacity(64);
            slot.push(1).unwrap();
            slot.mark = Mark { bits: (sequence * slots + index) * PACKET_BITS, pauses: Duration::ZERO };
            slot.bits = PACKET_BITS;
            slot
        }));
        let job = Job { sequence, first_slot: 0, slots: job_slots, packets: Vec::new(), new_blocks: Vec::new() };
        self.filled.send((sequence, Ok(job))).unwrap();
    }

    fn run(self, keep: usize, stall: Option<(u64, Duration)>, meanwhile: impl FnOnce(&Pace)) -> Ran {
        let recorder = Recorder { posted: Arc::clone(&self.posted), keep, lent: VecDeque::new(), stall };
        let pace = Arc::clone(&self.pace);
        drop(self.filled);
        let thread = SendingThread::new(self.pace, self.ordered, self.free_in, Box::new(recorder), 100);
        let thread = std::thread::spawn(move || thread.run());
        meanwhile(&pace);
        let (result, stats, _) = thread.join().unwrap();
        result.unwrap();
        let posted = std::mem::take(&mut *self.posted.lock().unwrap());
        Ran { stats, plan: pace.timeline.plan(), posted, freed: self.free.iter().map(|slots| slots.len()).sum() }
    }
}

struct Ran {
    stats: PaceStats,
    plan: Plan,
    posted: Vec<(Duration, u64, u64)>,
    freed: usize,
}

#[test]
fn nothing_leaves_before_its_date_and_every_slot_comes_back() {
    for keep in [0, 3] {
        let bench = bench(10_000_000);
        for sequence in 0..10 {
            bench.job(sequence, 5);
        }
        let ran = bench.run(keep, None, |_| ());
        assert_eq!(ran.posted.len(), 50);
        for (at, bits, _) in &ran.posted {
            // Dates as they were at first: slips of a busy host only move them on. The first packet's own date, not the time
            // at which it was posted, since the thread may have been put to sleep in between.
            let due = ran.plan.due(Mark { bits: *bits, pauses: Duration::ZERO }).unwrap() - ran.plan.slipped;
            // A burst of two packets leaves when its first is due.
            assert!(*at + time_of(PACKET_BITS, 10_000_000) >= due);
        }
        assert_eq!((ran.freed, ran.stats.bits), (50, 50 * PACKET_BITS));
    }
}

#[test]
fn a_stall_is_made_up_for_by_one_burst_and_the_rest_slips() {
    let bench = bench(10_000_000);
    for sequence in 0..8 {
        bench.job(sequence, 5);
    }
    let ran = bench.run(0, Some((10 * PACKET_BITS, Duration::from_millis(60))), |_| ());
    assert!(ran.plan.slips >= 1, "{:?}", ran.plan);
    let slipped = ran.plan.slipped;
    assert!(slipped >= Duration::from_millis(55) && slipped < Duration::from_millis(500), "{slipped:?}");
    // In any 1 ms after the stall no more than what was made up for, a burst, and the one under way.
    for (index, (at, ..)) in ran.posted.iter().enumerate() {
        let window = ran.posted[index..].iter().take_while(|(other, ..)| *other < *at + Duration::from_millis(1));
        assert!(window.map(|(.., bits)| bits).sum::<u64>() <= 6 * PACKET_BITS);
    }
}

#[test]
fn a_change_of_rate_holds_for_packets_that_wait_already() {
    // At 100 kbit/s the 40 packets would take 4 s.
    let bench = bench(100_000);
    for sequence in 0..8 {
        bench.job(sequence, 5);
    }
    let started = std::time::Instant::now();
    let ran = bench.run(0, None, |pace| {
        std::thread::sleep(Duration::from_millis(30));
        pace.timeline.set_rate_bps(100_000_000);
    });
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!((ran.posted.len(), ran.plan.rate_bps), (40, 100_000_000));
}

#[test]
fn a_stop_does_not_wait_for_the_next_date() {
    let bench = bench(1_000);
    for sequence in 0..4 {
        bench.job(sequence, 5);
    }
    let started = std::time::Instant::now();
    bench.run(0, None, |pace| pace.stop.store(true, Ordering::Relaxed));
    assert!(started.elapsed() < Duration::from_secs(5));
}
