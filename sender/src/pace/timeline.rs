//! The one schedule that all sending threads and the planner keep to.
//!
//! Slots carry no dates but [`Mark`]s: bits and pauses before them. A mark becomes a date only when its slot is about to
//! leave, so a change of rate and a slip hold at once, also for packets that were planned long before.

use crate::rate::time_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A place in the session, counted from its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// Bits that are sent before.
    pub bits: u64,
    /// Pauses that the session wants before, in all.
    pub pauses: Duration,
}

/// Dates for marks: one place has a date, every other one follows from the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    generation: u64,
    anchor: Mark,
    /// The anchor's date on the monotonic clock; `None` until the first burst leaves.
    anchor_at: Option<Duration>,
    /// Bits a second.
    pub rate_bps: u64,
    /// Times that the schedule slipped.
    pub slips: u64,
    /// By how much in all.
    pub slipped: Duration,
}

impl Plan {
    /// When `mark` is due on the monotonic clock: exact to the nanosecond, with no sum of roundings. `None` before the start.
    pub fn due(&self, mark: Mark) -> Option<Duration> {
        let at = self.anchor_at?;
        let later = mark.pauses.saturating_sub(self.anchor.pauses)
            + time_of(mark.bits.saturating_sub(self.anchor.bits), self.rate_bps);
        let earlier = self.anchor.pauses.saturating_sub(mark.pauses)
            + time_of(self.anchor.bits.saturating_sub(mark.bits), self.rate_bps);
        Some((at + later).saturating_sub(earlier))
    }
}

/// The plan, shared. Threads keep a copy and take the lock only when [`is_current`](Self::is_current) says that it changed.
#[derive(Debug)]
pub struct Timeline {
    generation: AtomicU64,
    rate_bps: AtomicU64,
    plan: Mutex<Plan>,
}

impl Timeline {
    /// A timeline at `rate_bps` that starts with the first burst.
    pub fn new(rate_bps: u64) -> Self {
        let (anchor, anchor_at) = (Mark::default(), None);
        let plan = Plan { generation: 0, anchor, anchor_at, rate_bps, slips: 0, slipped: Duration::ZERO };
        Self { generation: AtomicU64::new(0), rate_bps: AtomicU64::new(rate_bps), plan: Mutex::new(plan) }
    }

    /// The rate that is wanted from now on, in bits a second.
    pub fn rate_bps(&self) -> u64 {
        self.rate_bps.load(Ordering::Relaxed)
    }

    /// Asks for another rate: it holds from the next burst of any thread on.
    pub fn set_rate_bps(&self, rate_bps: u64) {
        // Under the lock, so that no slip takes this change for its own.
        let _plan = self.lock();
        self.rate_bps.store(rate_bps, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The plan as it is.
    pub fn plan(&self) -> Plan {
        *self.lock()
    }

    /// Whether `plan` still holds.
    pub fn is_current(&self, plan: &Plan) -> bool {
        self.generation.load(Ordering::Acquire) == plan.generation
    }

    /// The plan to keep to for a burst at `next`, at `now`: starts the clock with the first one, and takes up a change of rate.
    ///
    /// From a change on, `next` follows `last`, the mark of the thread's burst before it, at the new rate: what the old rate
    /// made it wait already counts, and nothing is late because the rate rose.
    pub fn refresh(&self, last: Option<Mark>, next: Mark, now: Duration) -> Plan {
        let mut plan = self.lock();
        plan.generation = self.generation.load(Ordering::Acquire);
        let rate_bps = self.rate_bps();
        let dated = last.and_then(|last| Some((last, plan.due(last)?)));
        if plan.anchor_at.is_none() {
            (plan.anchor, plan.anchor_at, plan.rate_bps) = (next, Some(now), rate_bps);
        } else if plan.rate_bps != rate_bps {
            let wait = |last: Mark| {
                time_of(next.bits.saturating_sub(last.bits), rate_bps) + next.pauses.saturating_sub(last.pauses)
            };
            let due = dated.map_or(now, |(last, at)| now.max(at + wait(last)));
            (plan.anchor, plan.anchor_at, plan.rate_bps) = (next, Some(due), rate_bps);
        }
        *plan
    }

    /// Moves everything that is still to come by `by`, unless the plan has changed since `seen`; returns the plan that holds.
    pub fn slip(&self, seen: &Plan, by: Duration) -> Plan {
        let mut plan = self.lock();
        if self.is_current(seen) {
            plan.anchor_at = plan.anchor_at.map(|at| at + by);
            plan.slips += 1;
            plan.slipped += by;
            plan.generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        }
        *plan
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn mark(bits: u64) -> Mark {
        Mark { bits, pauses: Duration::ZERO }
    }

    #[test]
    fn dates_follow_from_bits_and_pauses() {
        let timeline = Timeline::new(1_000_000);
        assert_eq!(timeline.plan().due(mark(0)), None);
        let plan = timeline.refresh(None, mark(0), 7 * MS);
        assert_eq!(plan.due(mark(5000)), Some(12 * MS));
        assert_eq!(plan.due(Mark { bits: 5000, pauses: 3 * MS }), Some(15 * MS));
    }

    #[test]
    fn a_new_rate_holds_for_what_is_planned_already() {
        let timeline = Timeline::new(1_000_000);
        let plan = timeline.refresh(None, mark(0), 100 * MS);
        timeline.set_rate_bps(10_000_000);
        assert!(!timeline.is_current(&plan));
        // 1,000 bits later: due 1 ms later before, now 100 µs later; and 10,000 bits more take 1 ms.
        let plan = timeline.refresh(Some(mark(0)), mark(1000), 100 * MS);
        assert!(timeline.is_current(&plan));
        assert_eq!(plan.due(mark(1000)), Some(100 * MS + MS / 10));
        assert_eq!(plan.due(mark(11_000)), Some(101 * MS + MS / 10));
        // Down again, while waiting: what was waited counts.
        timeline.set_rate_bps(100_000);
        let plan = timeline.refresh(Some(mark(1000)), mark(2000), 100 * MS + MS / 10 + MS / 20);
        assert_eq!(plan.due(mark(2000)), Some(110 * MS + MS / 10));
        // Up after a long wait: due now, not in the past.
        timeline.set_rate_bps(1_000_000_000);
        let plan = timeline.refresh(Some(mark(2000)), mark(3000), 119 * MS);
        assert_eq!(plan.due(mark(3000)), Some(119 * MS));
        assert_eq!((plan.slips, plan.rate_bps), (0, 1_000_000_000));
    }

    #[test]
    fn two_threads_that_saw_the_same_stall_slip_once() {
        let timeline = Timeline::new(1_000_000);
        let seen = timeline.refresh(None, mark(0), MS);
        let first = timeline.slip(&seen, 5 * MS);
        assert_eq!(first.due(mark(0)), Some(6 * MS));
        assert_eq!(timeline.slip(&seen, 5 * MS), first);
        assert_eq!((first.slips, first.slipped), (1, 5 * MS));
    }

    proptest! {
        #[test]
        fn dates_rise_with_marks_whatever_happens(
            steps in prop::collection::vec((1u64..20_000, 0u64..3, prop::option::of(1_000u64..1_000_000_000)), 1..60),
        ) {
            let timeline = Timeline::new(1_000_000);
            let (mut last, mut at, mut now) = (None, Mark::default(), MS);
            for (bits, pause_ms, rate) in steps {
                if let Some(rate_bps) = rate {
                    timeline.set_rate_bps(rate_bps);
                }
                let plan = timeline.refresh(last, at, now);
                let due = plan.due(at).unwrap();
                prop_assert!(due + Duration::from_nanos(1) >= now);
                now = due;
                last = Some(at);
                at = Mark { bits: at.bits + bits, pauses: at.pauses + Duration::from_millis(pause_ms) };
                let step = plan.due(at).unwrap() - due;
                // Each date is rounded down to a nanosecond.
                let expected = time_of(bits, plan.rate_bps) + Duration::from_millis(pause_ms);
                prop_assert!(step.abs_diff(expected) <= Duration::from_nanos(1));
            }
        }
    }
}
