//! What the operator sees of a send: how it started, how far it is, how well the schedule was kept.

use crate::pace::PaceStats;
use crate::rate::Cost;
use fleetcast_cli::events::{Events, PROGRESS_INTERVAL};
use fleetcast_cli::usage;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Reports one send.
#[derive(Debug)]
pub struct Report {
    events: Events,
    started: Instant,
    next_progress: Instant,
    /// Packets of the whole session, when it has an end.
    planned_packets: Option<u64>,
}

impl Report {
    /// Reports as JSON or for people a session of `planned_packets`, if it has an end.
    pub fn new(json: bool, planned_packets: Option<u64>) -> Self {
        let now = Instant::now();
        Self { events: Events::new(json), started: now, next_progress: now + PROGRESS_INTERVAL, planned_packets }
    }

    /// Sending starts.
    pub fn start(&mut self, fields: Value, text: &str) {
        self.events.tell("started", fields, text);
        let template = match self.planned_packets {
            Some(_) => "{bar:30} {percent} %  {msg}  ETA {eta}",
            None => "{spinner} {msg}",
        };
        self.events.start_bar(self.planned_packets, template);
        self.started = Instant::now();
    }

    /// Progress, at most once a second: called before every burst, so it is cheap when nothing is due.
    pub fn progress(&mut self, stats: &PaceStats, cost: &Cost) {
        let now = Instant::now();
        if now < self.next_progress {
            return;
        }
        self.next_progress = now + PROGRESS_INTERVAL;
        let elapsed = now - self.started;
        let rate_bps = average_rate_bps(stats, cost, elapsed);
        self.events.move_bar(stats.packets, format!("{:.1} Mbit/s", rate_bps / 1e6));
        if self.events.is_json() {
            let fields = json!({
                "seconds": elapsed.as_secs_f64(), "packets": stats.packets, "planned_packets": self.planned_packets,
                "rate_bps": rate_bps,
            });
            self.events.tell("progress", fields, "");
        }
    }

    /// The last event of a run: how it ended, and how well the schedule was kept.
    pub fn summary(&mut self, result: &str, stats: &PaceStats, cost: &Cost) {
        self.events.end_bar();
        let elapsed = self.started.elapsed();
        let rate_bps = average_rate_bps(stats, cost, elapsed);
        let late = |quantile| stats.lateness_us.value_at_quantile(quantile);
        let (p50, p99, p999, max) = (late(0.5), late(0.99), late(0.999), stats.lateness_us.max());
        let cpu_s = usage::cpu_s();
        let fields = json!({
            "result": result, "packets": stats.packets, "bytes": frame_bytes(stats, cost),
            "payload_bytes": stats.payload_bytes, "bursts": stats.bursts, "seconds": elapsed.as_secs_f64(),
            "rate_bps": rate_bps, "cpu_s": cpu_s, "peak_rss_bytes": usage::peak_rss_bytes(), "slips": stats.slips,
            "slipped_s": stats.slipped.as_secs_f64(), "starved": stats.starved,
            "lateness_us": { "p50": p50, "p99": p99, "p999": p999, "max": max },
        });
        let mut text = format!(
            "{result}: {} packets in {:.2} s at {:.2} Mbit/s; bursts late by p50 {p50} / p99 {p99} / p99.9 {p999} / \
             max {max} µs; {cpu_s:.2} s of CPU",
            stats.packets,
            elapsed.as_secs_f64(),
            rate_bps / 1e6
        );
        if stats.slips > 0 {
            let slipped_ms = stats.slipped.as_secs_f64() * 1e3;
            text += &format!("; the schedule slipped {} times, by {slipped_ms:.1} ms in all", stats.slips);
        }
        if stats.starved > 0 {
            text += &format!("; {} bursts waited for packets: more --workers, or a lower --rate", stats.starved);
        }
        self.events.tell("summary", fields, &text);
    }
}

/// Bytes of Ethernet frames without FCS, as interface counters count them.
fn frame_bytes(stats: &PaceStats, cost: &Cost) -> u64 {
    stats.payload_bytes + stats.packets * cost.frame_bytes(0)
}

/// Average rate at the layer that `--rate` counts.
fn average_rate_bps(stats: &PaceStats, cost: &Cost, elapsed: Duration) -> f64 {
    let bits = stats.payload_bytes * 8 + stats.packets * cost.overhead_bits();
    bits as f64 / elapsed.as_secs_f64().max(1e-9)
}
