//! What the emulator counts of the stream: bytes over time, gaps in the order of the passes, lateness, its own lag.

use super::result::{Pacing, Step};
use fleetcast_protocol::session::{Schedule, SymbolId};
use hdrhistogram::Histogram;
use std::time::Duration;

/// Ethernet, IPv4 and UDP headers.
const HEADERS: u64 = 14 + 20 + 8;
/// The shortest frame without its checksum.
const SHORTEST_FRAME: u64 = 60;
/// What a frame takes of the line beside that.
const LINE_OVERHEAD: u64 = 4 + 20;
/// Steps of the timeline.
const STEP: Duration = Duration::from_millis(500);
/// Repair on request has ESIs from here.
const REQUESTED_FROM: u32 = 1 << 23;
/// A longer silence is a pause of the sender's.
const PAUSE: Duration = Duration::from_millis(50);
/// The largest lateness that is told apart, in µs.
const LATEST_US: u64 = 60_000_000;

/// Bytes of a packet on an interface.
pub fn frame_bytes(payload: usize) -> u64 {
    (HEADERS + payload as u64).max(SHORTEST_FRAME)
}

/// What a packet is, as far as bytes are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Control,
    Symbol { id: SymbolId, k: u32 },
    Report,
}

/// Bytes over time.
#[derive(Debug, Default)]
pub struct Timeline {
    steps: Vec<Step>,
}

impl Timeline {
    /// A packet of so many bytes of UDP payload.
    pub fn add(&mut self, at: Duration, class: Class, payload: usize) {
        let place = usize::try_from(at.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX).min(1 << 20);
        while self.steps.len() <= place {
            let at_s = STEP.as_secs_f64() * self.steps.len() as f64;
            self.steps.push(Step { at_s, ..Step::default() });
        }
        let step = &mut self.steps[place];
        let bytes = match class {
            Class::Control => &mut step.control_bytes,
            Class::Report => &mut step.feedback_bytes,
            Class::Symbol { id, k } if id.esi < k => &mut step.source_bytes,
            Class::Symbol { id, .. } if id.esi < REQUESTED_FROM => &mut step.repair_bytes,
            Class::Symbol { .. } => &mut step.requested_bytes,
        };
        *bytes += frame_bytes(payload);
    }

    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}

/// Symbols that are missing in the order of the passes.
#[derive(Debug, Default)]
pub struct Gaps {
    pass: Option<(Schedule, u32)>,
    next: u64,
    missing: u64,
}

impl Gaps {
    /// The sender announced how it sends, and which pass.
    pub fn announced(&mut self, schedule: Schedule, pass: u32) {
        if self.pass.is_none_or(|known| known != (schedule, pass)) {
            if let Some((old, old_pass)) = self.pass {
                // A first symbol may have overtaken the announcement of its pass; what the old pass lacked at its end was lost.
                self.missing += if old_pass == pass { 0 } else { old.len().saturating_sub(self.next) };
            }
            (self.pass, self.next) = (Some((schedule, pass)), 0);
        }
    }

    /// A symbol came.
    pub fn symbol(&mut self, id: SymbolId) {
        let Some((schedule, pass)) = &self.pass else { return };
        let Some(position) = schedule.position(id, *pass) else { return };
        self.missing += position.saturating_sub(self.next);
        self.next = self.next.max(position + 1);
    }

    /// Symbols missing so far, at the end of the stream.
    pub fn missing(&self) -> u64 {
        self.missing + self.pass.map_or(0, |(schedule, _)| schedule.len().saturating_sub(self.next))
    }
}

/// How late packets are against the rate: behind the earliest that they could have come, all before taken into account.
#[derive(Debug)]
pub struct Lateness {
    rate_bps: u64,
    due: Option<Duration>,
    histogram: Histogram<u64>,
}

impl Lateness {
    pub fn new(rate_bps: u64) -> anyhow::Result<Self> {
        Ok(Self { rate_bps: rate_bps.max(1), due: None, histogram: histogram()? })
    }

    /// A packet of so many bytes of UDP payload came.
    pub fn add(&mut self, at: Duration, payload: usize) {
        let due = self.due.map_or(at, |due| if at > due + PAUSE { at } else { due.min(at) });
        self.histogram.saturating_record(micros(at - due));
        let bits = (frame_bytes(payload) + LINE_OVERHEAD) * 8;
        self.due = Some(due + Duration::from_nanos(bits * 1_000_000_000 / self.rate_bps));
    }

    pub fn into_pacing(self) -> Pacing {
        let bars =
            self.histogram.iter_log(50, 1.5).map(|bar| (bar.value_iterated_to(), bar.count_since_last_iteration()));
        let at = |quantile| self.histogram.value_at_quantile(quantile);
        Pacing { bars: bars.collect(), lateness_us: [at(0.5), at(0.99), at(0.999), self.histogram.max()] }
    }
}

/// An empty histogram of times in µs.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATEST_US, 2)?)
}

/// For histograms.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_protocol::partition::Partition;

    #[test]
    fn bytes_are_told_apart() {
        let mut timeline = Timeline::default();
        let symbol = |esi| Class::Symbol { id: SymbolId { sbn: 0, esi }, k: 10 };
        for (class, payload) in
            [(symbol(9), 1000), (symbol(10), 2000), (symbol(1 << 23), 3000), (Class::Control, 1), (Class::Report, 4000)]
        {
            timeline.add(Duration::from_millis(1200), class, payload);
        }
        let steps = timeline.into_steps();
        let last = steps[2];
        assert_eq!((steps.len(), last.at_s), (3, 1.0));
        assert_eq!((last.source_bytes, last.repair_bytes, last.requested_bytes), (1042, 2042, 3042));
        assert_eq!((last.control_bytes, last.feedback_bytes), (60, 4042));
    }

    #[test]
    fn every_missing_symbol_is_a_gap() {
        let schedule = Schedule::new(Partition::new(8 * 100, 8, 4).unwrap(), 2, 3, 3).with_seed(5);
        let missing = |lost: &[usize]| {
            let mut gaps = Gaps::default();
            for pass in 0..2 {
                gaps.announced(schedule, pass);
                let symbols = schedule.pass(pass).enumerate();
                symbols.filter(|(index, _)| !lost.contains(index)).for_each(|(_, id)| gaps.symbol(id));
            }
            gaps.missing()
        };
        assert_eq!(missing(&[]), 0);
        assert_eq!(missing(&[0, 5, 6, 111]), 8);
    }

    #[test]
    fn lateness_is_behind_the_rate() {
        let mut lateness = Lateness::new(8_000_000).unwrap();
        // A frame of 1,042 bytes takes 1,066 µs of the line.
        for (at_us, _) in [(0, 0), (1_066, 0), (2_632, 500), (3_198, 0), (900_000, 0)] {
            lateness.add(Duration::from_micros(at_us), 1000);
        }
        let pacing = lateness.into_pacing();
        assert!((495..=505).contains(&pacing.lateness_us[3]), "{pacing:?}");
        assert_eq!(pacing.bars.iter().map(|(_, packets)| packets).sum::<u64>(), 5);
    }
}
