//! What the operator sees of a send: how it started, how far it is, how well the schedule was kept.

use crate::feedback::FeedbackSocket;
#[cfg(feature = "serve")]
use crate::fleet_report::Sizing;
use crate::pace::{Outcome, Pace, Progress};
use crate::rate::Cost;
use crate::transmit::Pages;
use fleetcast_cli::events::{Events, PROGRESS_INTERVAL};
use fleetcast_cli::usage;
#[cfg(feature = "serve")]
use fleetcast_protocol::fleet::Tally;
use fleetcast_protocol::session::sender::FeedbackStats;
#[cfg(feature = "serve")]
use serde_json::Map;
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
    /// The rate that was wanted when this was last looked at.
    wanted_bps: u64,
    /// What of feedback was told already.
    feedback: FeedbackStats,
}

impl Report {
    /// Reports as JSON or for people a session of `planned_packets`, if it has an end, that starts at `rate_bps`.
    pub fn new(json: bool, planned_packets: Option<u64>, rate_bps: u64) -> Self {
        let now = Instant::now();
        Self {
            events: Events::new(json),
            started: now,
            next_progress: now + PROGRESS_INTERVAL,
            planned_packets,
            wanted_bps: rate_bps,
            feedback: FeedbackStats::default(),
        }
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

    /// A pass stays in `bytes` bytes of memory.
    pub fn resident(&self, bytes: usize, pages: Pages) {
        let (name, text) = match pages {
            Pages::Huge => ("huge", "in huge pages"),
            Pages::Ordinary => {
                ("ordinary", "in ordinary pages, as no huge ones are free (`sysctl vm.nr_hugepages` sets them aside)")
            }
        };
        let text = format!("the packets of a pass stay in {} MiB of memory, {text}", bytes >> 20);
        self.events.tell("resident", json!({ "bytes": bytes, "pages": name }), &text);
    }

    /// Progress, at most once a second: to be called more often than that. A change of rate is told at once.
    pub fn progress(&mut self, pace: &Pace, cost: &Cost) {
        let (now, progress, wanted_bps) = (Instant::now(), &pace.progress, pace.timeline.rate_bps());
        if wanted_bps != self.wanted_bps {
            self.wanted_bps = wanted_bps;
            let text = format!("the rate is {} Mbit/s from now on", wanted_bps as f64 / 1e6);
            self.events.tell("rate", json!({ "rate_bps": wanted_bps }), &text);
        }
        if now < self.next_progress {
            return;
        }
        self.next_progress = now + PROGRESS_INTERVAL;
        let elapsed = now - self.started;
        let rate_bps = average_rate_bps(progress, cost, elapsed);
        self.events.move_bar(progress.packets(), format!("{:.1} Mbit/s", rate_bps / 1e6));
        if self.events.is_json() {
            let fields = json!({
                "seconds": elapsed.as_secs_f64(), "packets": progress.packets(), "planned_packets": self.planned_packets,
                "rate_bps": rate_bps,
            });
            self.events.tell("progress", fields, "");
        }
    }

    /// What came of asking receivers, whenever a round was opened since: to be called more often than rounds are.
    pub fn feedback(&mut self, socket: Option<&FeedbackSocket>) {
        let Some(stats) = socket.map(FeedbackSocket::stats) else { return };
        self.resized(&stats);
        if stats.rounds == self.feedback.rounds {
            return;
        }
        let (reports, symbols) =
            (stats.reports - self.feedback.reports, stats.requested_symbols - self.feedback.requested_symbols);
        self.feedback = stats;
        if reports > 0 || symbols > 0 {
            let fields = json!({ "rounds": stats.rounds, "reports": reports, "requested_symbols": symbols });
            let text = format!("{reports} reports of what is lacking: {symbols} symbols more for all");
            self.events.tell("round", fields, &text);
        }
    }

    /// Further passes plan other repair than those before.
    fn resized(&mut self, stats: &FeedbackStats) {
        let before = std::mem::replace(&mut self.feedback.planned_repair_symbols, stats.planned_repair_symbols);
        if stats.reports > 0 && stats.planned_repair_symbols != before {
            let loss = f64::from(stats.largest_loss_ppm) / 1e4;
            let text = format!(
                "{} repair symbols a block from now on, for a loss of {loss} % that was reported",
                stats.planned_repair_symbols
            );
            let fields = json!({ "repair_symbols": stats.planned_repair_symbols, "loss_ppm": stats.largest_loss_ppm });
            self.events.tell("repair_sized", fields, &text);
        }
    }

    /// All is sent, and the repair server goes on.
    #[cfg(feature = "serve")]
    pub fn serving(&self, url: &str, linger: Duration) {
        let seconds = linger.as_secs_f64();
        let text = format!("serving {url} until nothing is asked for {seconds} s");
        self.events.tell("serving", json!({ "url": url, "linger_s": seconds }), &text);
    }

    /// The repair server ends.
    #[cfg(feature = "serve")]
    pub fn served(&self, bytes: u64, ranges: u64) {
        let text = format!("served {ranges} ranges, {bytes} bytes");
        self.events.tell("served", json!({ "bytes": bytes, "ranges": ranges }), &text);
    }

    /// Where the fleet stands at the end.
    #[cfg(feature = "serve")]
    pub fn fleet(&self, tally: &Tally) {
        let counts = tally.counts();
        let words: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let text = format!("of {} devices: {}", tally.total(), words.join(", "));
        let mut fields = Map::from_iter(counts.map(|(word, count)| (word.to_owned(), json!(count))));
        fields.insert("total".into(), json!(tally.total()));
        fields.insert("done".into(), json!(tally.done()));
        self.events.tell("fleet", Value::Object(fields), &text);
    }

    /// Repair follows the last report, or there was none.
    #[cfg(feature = "serve")]
    pub fn sized(&self, sizing: Option<Sizing>) {
        let (fields, text) = match sizing {
            Some(Sizing { loss_ppm, permyriad }) => (
                json!({ "loss_ppm": loss_ppm, "repair_permyriad": permyriad }),
                format!(
                    "repair {} % for a loss of {} %, which 95 % of the last send's devices did not exceed",
                    f64::from(permyriad) / 1e2,
                    f64::from(loss_ppm) / 1e4
                ),
            ),
            None => (json!({}), "no report of an earlier send with losses: repair as without auto".to_owned()),
        };
        self.events.tell("repair_sized", fields, &text);
    }

    /// The last event of sending: how it ended, and how well the schedule was kept.
    pub fn summary(&mut self, result: &str, pace: &Pace, outcome: &Outcome, cost: &Cost) {
        self.events.end_bar();
        let elapsed = self.started.elapsed();
        let (progress, stats, plan) = (&pace.progress, &outcome.stats, pace.timeline.plan());
        let rate_bps = average_rate_bps(progress, cost, elapsed);
        let kept_bps = stats.rate_bps();
        let late = |quantile| stats.lateness_us.value_at_quantile(quantile);
        let (p50, p99, p999, max) = (late(0.5), late(0.99), late(0.999), stats.lateness_us.max());
        let cpu_s = usage::cpu_s();
        let fields = json!({
            "result": result, "packets": progress.packets(), "bytes": frame_bytes(progress, cost),
            "payload_bytes": progress.payload_bytes(), "bursts": stats.bursts, "seconds": elapsed.as_secs_f64(),
            "rate_bps": rate_bps, "paced_rate_bps": kept_bps, "cpu_s": cpu_s, "peak_rss_bytes": usage::peak_rss_bytes(),
            "slips": plan.slips, "slipped_s": plan.slipped.as_secs_f64(), "starved": stats.starved,
            "lateness_us": { "p50": p50, "p99": p99, "p999": p999, "max": max }, "findings": outcome.findings,
            "rounds": self.feedback.rounds, "reports": self.feedback.reports, "report_bytes": self.feedback.report_bytes,
            "ignored_reports": self.feedback.ignored, "requested_symbols": self.feedback.requested_symbols,
            "rounds_limited": self.feedback.limited,
        });
        let mut text = format!("{result}: {} packets in {:.2} s", progress.packets(), elapsed.as_secs_f64());
        if let Some(kept_bps) = kept_bps {
            text += &format!(" at {:.3} Mbit/s", kept_bps / 1e6);
        }
        text += &format!("; bursts late by p50 {p50} / p99 {p99} / p99.9 {p999} / max {max} µs; {cpu_s:.2} s of CPU");
        if plan.slips > 0 {
            let slipped_ms = plan.slipped.as_secs_f64() * 1e3;
            text += &format!("; the schedule slipped {} times, by {slipped_ms:.1} ms in all", plan.slips);
        }
        if stats.starved > 0 {
            text += &format!("; {} bursts waited for packets: more --workers, or a lower --rate", stats.starved);
        }
        if self.feedback.rounds > 0 {
            text += &feedback_text(&self.feedback);
        }
        if let Some(findings) = &outcome.findings {
            text += &format!("\nsent {findings}");
        }
        self.events.tell("summary", fields, &text);
    }
}

fn feedback_text(stats: &FeedbackStats) -> String {
    let FeedbackStats { rounds, reports, ignored, requested_symbols, .. } = stats;
    let mut text = format!("\n{reports} reports in {rounds} rounds; {requested_symbols} symbols were sent on request");
    if *ignored > 0 {
        text += &format!("; {ignored} datagrams did not count");
    }
    if stats.limited > 0 {
        text += "; the rounds ended at a limit: what is still lacking comes by HTTP or with another pass (see --feedback-budget)";
    }
    text
}

/// Bytes of Ethernet frames without FCS, as interface counters count them.
fn frame_bytes(progress: &Progress, cost: &Cost) -> u64 {
    progress.payload_bytes() + progress.packets() * cost.frame_bytes(0)
}

/// Average rate at the layer that `--rate` counts, since the start.
fn average_rate_bps(progress: &Progress, cost: &Cost, elapsed: Duration) -> f64 {
    let bits = progress.payload_bytes() * 8 + progress.packets() * cost.overhead_bits();
    bits as f64 / elapsed.as_secs_f64().max(1e-9)
}
