//! What the operator sees: a progress bar on a terminal, a line of text at the end, one JSON object per event with `--json`.

use crate::pace::PaceStats;
use crate::rate::Cost;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Tells events to people or to scripts.
#[derive(Debug)]
pub struct Report {
    json: bool,
    bar: Option<ProgressBar>,
    started: Instant,
    next_progress: Instant,
    /// Packets of the whole session, when it has an end.
    planned_packets: Option<u64>,
}

impl Report {
    /// Reports as JSON on standard output, or for people on standard error.
    pub fn new(json: bool, planned_packets: Option<u64>) -> Self {
        let now = Instant::now();
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let (bar, template) = match planned_packets {
                Some(packets) => (ProgressBar::new(packets), "{bar:30} {percent} %  {msg}  ETA {eta}"),
                None => (ProgressBar::no_length(), "{spinner} {msg}"),
            };
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { json, bar, started: now, next_progress: now + PROGRESS_INTERVAL, planned_packets }
    }

    /// One event: `fields` for scripts, `text` for people.
    pub fn event(&self, name: &str, fields: Value, text: &str) {
        if self.json {
            let mut event = Map::from_iter([("event".to_owned(), json!(name))]);
            if let Value::Object(fields) = fields {
                event.extend(fields);
            }
            // A reader that went away must not stop a send.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{}", Value::Object(event)).and_then(|()| out.flush());
        } else if let Some(bar) = &self.bar {
            bar.println(text);
        } else {
            eprintln!("{text}");
        }
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
        if let Some(bar) = &self.bar {
            bar.set_position(stats.packets);
            bar.set_message(format!("{:.1} Mbit/s", rate_bps / 1e6));
        } else if self.json {
            let fields = json!({
                "seconds": elapsed.as_secs_f64(), "packets": stats.packets, "planned_packets": self.planned_packets,
                "rate_bps": rate_bps,
            });
            self.event("progress", fields, "");
        }
    }

    /// The last event of a run: how it ended, and how well the schedule was kept.
    pub fn summary(&mut self, result: &str, stats: &PaceStats, cost: &Cost, elapsed: Duration) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let rate_bps = average_rate_bps(stats, cost, elapsed);
        let late = |quantile| stats.lateness_us.value_at_quantile(quantile);
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_s = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let (p50, p99, p999, max) = (late(0.5), late(0.99), late(0.999), stats.lateness_us.max());
        let fields = json!({
            "result": result, "packets": stats.packets, "bytes": frame_bytes(stats, cost),
            "payload_bytes": stats.payload_bytes, "bursts": stats.bursts, "seconds": elapsed.as_secs_f64(),
            "rate_bps": rate_bps, "cpu_s": cpu_s, "slips": stats.slips,
            "slipped_s": stats.slipped.as_secs_f64(), "starved": stats.starved,
            "lateness_us": { "p50": p50, "p99": p99, "p999": p999, "max": max },
        });
        let mut text = format!(
            "{result}: {} packets in {:.2} s at {:.2} Mbit/s; bursts late by p50 {p50} / p99 {p99} / p99.9 {p999} / max {max} µs; \
             {cpu_s:.2} s of CPU",
            stats.packets,
            elapsed.as_secs_f64(),
            rate_bps / 1e6
        );
        if stats.slips > 0 {
            text += &format!(
                "; the schedule slipped {} times, by {:.1} ms in all",
                stats.slips,
                stats.slipped.as_secs_f64() * 1e3
            );
        }
        if stats.starved > 0 {
            text += &format!("; {} bursts waited for packets: more --workers, or a lower --rate", stats.starved);
        }
        self.event("summary", fields, &text);
    }
}

/// Bytes of Ethernet frames without FCS, as interface counters count them.
fn frame_bytes(stats: &PaceStats, cost: &Cost) -> u64 {
    stats.payload_bytes + stats.packets * cost.frame_bytes(0)
}

/// Average rate at the layer that `--rate` counts.
fn average_rate_bps(stats: &PaceStats, cost: &Cost, elapsed: Duration) -> f64 {
    let overhead_bits = cost.overhead_bits();
    (stats.payload_bytes * 8 + stats.packets * overhead_bits) as f64 / elapsed.as_secs_f64().max(1e-9)
}
