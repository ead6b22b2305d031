//! What the operator sees: a progress bar on a terminal, lines of text elsewhere, one JSON object per event with `--json`.

use crate::state::hex;
use fleetcast_protocol::manifest::SignedManifest;
use fleetcast_protocol::session::receiver::ReceiverSession;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two progress events.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Tells events to people or to scripts.
#[derive(Debug)]
pub struct Report {
    json: bool,
    bar: Option<ProgressBar>,
    last: Option<(Duration, u64)>,
}

impl Report {
    /// Reports as JSON on standard output, or for people on standard error.
    pub fn new(json: bool) -> Self {
        Self { json, bar: None, last: None }
    }

    /// One event: `fields` for scripts, `text` for people.
    pub fn event(&self, name: &str, fields: Value, text: &str) {
        if self.json {
            let mut event = Map::from_iter([("event".to_owned(), json!(name))]);
            if let Value::Object(fields) = fields {
                event.extend(fields);
            }
            // A reader that went away must not stop an upgrade.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{}", Value::Object(event)).and_then(|()| out.flush());
        } else if let Some(bar) = &self.bar {
            bar.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    /// An upgrade began.
    pub fn begin(&mut self, manifest: &SignedManifest) {
        self.last = None;
        if !self.json && std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(u64::from(manifest.manifest().partition.blocks()));
            let template = "{bar:30} {pos}/{len} blocks  {msg}";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar = Some(bar);
        }
    }

    /// An upgrade ended, one way or another.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Says how far the session is, at `now` since the start.
    pub fn progress(&mut self, session: &ReceiverSession, now: Duration) {
        let Some(manifest) = session.manifest() else { return };
        let stats = session.stats();
        let blocks = manifest.manifest().partition.blocks();
        let (rate_bps, symbols_per_s) = self.rates(session, now);
        let lacking = session.lacking_symbols();
        let eta = (symbols_per_s > 0.0).then(|| Duration::from_secs_f64(lacking as f64 / symbols_per_s));
        let loss = session.loss().map(|(_, loss)| loss);
        if let Some(bar) = &self.bar {
            bar.set_position(u64::from(stats.verified_blocks));
            bar.set_message(progress_text(rate_bps, loss, eta));
        } else if self.json {
            let fields = json!({
                "seconds": seconds(now), "blocks_done": stats.verified_blocks, "blocks": blocks,
                "symbols": stats.symbols, "lacking_symbols": lacking, "loss": loss, "rate_bps": rate_bps,
                "eta_s": eta.map(seconds),
            });
            self.event("progress", fields, "");
        }
    }

    /// Rate of UDP payload, and symbols kept a second, since the last call.
    fn rates(&mut self, session: &ReceiverSession, now: Duration) -> (u64, f64) {
        let stats = session.stats();
        let average = |count: u64, over: Duration| count as f64 / over.as_secs_f64().max(1e-3);
        let (since, bytes) = self.last.replace((now, stats.bytes)).unwrap_or((Duration::ZERO, 0));
        let rate = average(8 * (stats.bytes - bytes), now.saturating_sub(since));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people, not negative")]
        let rate_bps = rate as u64;
        let share_kept = stats.symbols as f64 / stats.packets.max(1) as f64;
        let symbol_bits = session.manifest().map_or(1.0, |m| f64::from(m.manifest().partition.symbol_size()) * 8.0);
        (rate_bps, rate * share_kept / symbol_bits)
    }
}

fn progress_text(rate_bps: u64, loss: Option<f64>, eta: Option<Duration>) -> String {
    let loss = loss.map_or("loss unknown".to_owned(), |loss| format!("loss {:.2} %", loss * 100.0));
    let eta = eta.map_or("?".to_owned(), |eta| HumanDuration(eta).to_string());
    format!("{:.1} Mbit/s  {loss}  ETA {eta}", rate_bps as f64 / 1e6)
}

/// A duration as JSON seconds, to the millisecond.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

/// What identifies a manifest in events.
pub fn manifest_fields(manifest: &SignedManifest) -> Value {
    let content = manifest.manifest();
    json!({
        "manifest": hex(&manifest.digest()), "name": content.name, "product": content.product,
        "version": content.version, "sequence": content.sequence, "image_bytes": content.partition.image_len(),
        "blocks": content.partition.blocks(), "symbol_bytes": content.partition.symbol_size(),
    })
}

/// The last event of a run: how it ended, and what it cost.
pub fn summary(result: &str, session: &ReceiverSession, started: Instant, socket_drops: u32) -> Value {
    let stats = session.stats();
    let (lost, loss) = session.loss().map_or((None, None), |(lost, loss)| (Some(lost), Some(loss)));
    let sha256 = session.manifest().filter(|_| is_success(result)).map(|m| hex(&m.manifest().image_sha256));
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    json!({
        "result": result, "sha256": sha256, "seconds": seconds(started.elapsed()),
        "packets": stats.packets, "bytes": stats.bytes, "symbols": stats.symbols, "lost": lost, "loss": loss,
        "blocks": stats.verified_blocks, "decoded_blocks": stats.decoded_blocks,
        "restored_blocks": stats.restored_blocks, "corrupt_blocks": stats.corrupt_blocks,
        "singular_decodes": stats.singular_decodes, "surplus": stats.surplus, "early": stats.early,
        "foreign": stats.foreign, "malformed": stats.malformed, "refused": stats.refused,
        "socket_drops": socket_drops,
        "cpu_s": cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9, "peak_rss_bytes": peak_rss_bytes(),
    })
}

fn is_success(result: &str) -> bool {
    matches!(result, "applied" | "verified")
}

/// The most memory this process held at a time, as the kernel counts it.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
