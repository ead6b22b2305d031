//! What the operator sees of a receiver: the events of `--json`, and the same for people.

mod filter;

use crate::apply::Apply;
use crate::ingest::{Interface, Joined};
use crate::receive::ReceiveError;
use crate::repair::FetchError;
use crate::state::StateError;
use fleetcast_cli::events::Events;
use fleetcast_cli::usage;
use fleetcast_protocol::channel::Channel;
use fleetcast_protocol::hex;
use fleetcast_protocol::manifest::SignedManifest;
use fleetcast_protocol::policy::Acceptance;
use fleetcast_protocol::session::receiver::ranges::{Distrusted, FetchEnd};
use fleetcast_protocol::session::receiver::{ReceiverSession, Stats, UnsignedFile};
use indicatif::HumanDuration;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// A device without a clock cannot tell whether a manifest has expired.
const VALIDITY_UNCHECKED: &str = "the manifest is limited in time, and this device has no clock to check that with";

/// What nobody may miss.
const UNAUTHENTICATED: &str =
    "--trust none: NOTHING that is received is authenticated; anybody who can send to the group decides what it is";
/// The progress of a session.
const BAR: &str = "{bar:30} {pos}/{len} blocks  {msg}";

/// Reports one receiver.
#[derive(Debug)]
pub struct Report {
    events: Events,
    /// Time and bytes at the last progress event.
    last: Option<(Duration, u64)>,
}

impl Report {
    /// Reports as JSON or for people.
    pub fn new(json: bool) -> Self {
        Self { events: Events::new(json), last: None }
    }

    /// The membership is in place.
    pub fn joined(&self, channel: &Channel, interface: &Interface, joined: &Joined, awaited: &str) {
        let receive = if joined.gro { "recvmmsg with UDP_GRO" } else { "recvmmsg" };
        let lacks = match joined.lacks.as_slice() {
            [] => String::new(),
            lacks => format!(", this kernel has no {}", lacks.join(", ")),
        };
        let fields = json!({
            "source": channel.source, "group": channel.group, "port": channel.port, "interface": interface.name,
            "ingest": "recvmmsg", "gro": joined.gro, "receive_buffer_bytes": joined.receive_buffer_bytes,
            "lacks": joined.lacks,
        });
        let text = format!(
            "joined {channel} on {} ({receive}, {} KiB of socket buffer{lacks}); waiting for {awaited}",
            interface.name,
            joined.receive_buffer_bytes / 1024
        );
        self.events.tell("joined", fields, &text);
    }

    /// Nothing that will be received is authenticated.
    pub fn unauthenticated(&self) {
        let text = format!("WARNING: {UNAUTHENTICATED}");
        self.events.tell("unauthenticated", json!({ "warning": UNAUTHENTICATED }), &text);
    }

    /// A manifest (or an FDT) was refused.
    pub fn refused(&self, description: &str, reason: &str) {
        let fields = json!({ "accepted": false, "reason": reason });
        self.events.tell(&description.to_ascii_lowercase(), fields, &format!("{description} refused: {reason}"));
    }

    /// A file that nobody signed is being received.
    pub fn begun_unsigned(&mut self, file: &UnsignedFile) {
        let (partition, blocks) = (&file.partition, file.partition.blocks());
        let fields = json!({
            "accepted": true, "authenticated": false, "tsi": file.tsi, "toi": file.toi, "name": file.content_location,
            "image_bytes": partition.image_len(), "blocks": blocks, "symbol_bytes": partition.symbol_size(),
            "md5": file.content_md5.map(|md5| hex::encode(&md5)),
        });
        let text = format!(
            "receiving {}, not authenticated: TOI {} of session {}, {} bytes in {blocks} blocks",
            file.content_location,
            file.toi,
            file.tsi,
            partition.image_len(),
        );
        self.events.tell("fdt", fields, &text);
        self.start_blocks_bar(blocks);
    }

    /// All of a file that nobody signed is there.
    pub fn received_unsigned(
        &mut self,
        file: &UnsignedFile,
        sha256: &[u8; 32],
        session: &ReceiverSession,
        now: Duration,
    ) {
        self.events.end_bar();
        let (stats, sha256) = (session.stats(), hex::encode(sha256));
        let md5_checked = file.content_md5.is_some();
        let fields = json!({
            "authenticated": false, "sha256": sha256, "md5_checked": md5_checked, "seconds": seconds(now),
            "symbols": stats.symbols, "blocks": stats.verified_blocks, "decoded_blocks": stats.decoded_blocks,
        });
        let md5 = if md5_checked { "its MD5 is the FDT's" } else { "the FDT has no MD5" };
        let text = format!("received, NOT AUTHENTICATED: SHA-256 {sha256}, {md5}");
        self.events.tell("received", fields, &text);
    }

    fn start_blocks_bar(&mut self, blocks: u16) {
        self.events.start_bar(Some(u64::from(blocks)), BAR);
        self.last = None;
    }

    /// The manifest heard is the one that is installed.
    pub fn already_installed(&self, manifest: &SignedManifest) {
        let content = manifest.manifest();
        let mut fields = manifest_fields(manifest);
        fields["accepted"] = json!(true);
        fields["installed"] = json!(true);
        let text = format!("{} {} is installed already", content.name, content.version);
        self.events.tell("manifest", fields, &text);
    }

    /// A manifest was accepted; `restored` when an earlier run had begun with it.
    pub fn accepted(&mut self, manifest: &SignedManifest, acceptance: Acceptance, restored: Option<Stats>) {
        let content = manifest.manifest();
        let blocks = content.partition.blocks();
        let mut fields = manifest_fields(manifest);
        fields["accepted"] = json!(true);
        fields["restored_blocks"] = json!(restored.map_or(0, |it| it.restored_blocks));
        fields["restored_symbols"] = json!(restored.map_or(0, |it| it.restored_symbols));
        let mut text = format!(
            "accepted {} {} (sequence {}), {} bytes in {blocks} blocks",
            content.name,
            content.version,
            content.sequence,
            content.partition.image_len(),
        );
        if let Some(Stats { restored_blocks, restored_symbols, .. }) = restored {
            text += &format!(
                "; {restored_blocks} of them, and {restored_symbols} symbols of others, are in staging already"
            );
        }
        if acceptance.validity_unchecked() {
            fields["warning"] = json!(VALIDITY_UNCHECKED);
            text += &format!("; warning: {VALIDITY_UNCHECKED}");
        }
        self.events.tell("manifest", fields, &text);
        self.start_blocks_bar(blocks);
    }

    /// How far the session is, at `now` since the start.
    pub fn progress(&mut self, session: &ReceiverSession, now: Duration) {
        let Some(delivery) = session.delivery() else { return };
        let stats = session.stats();
        let (rate_bps, symbols_per_s) = self.rates(session, now);
        let lacking = session.lacking_symbols();
        let eta = (symbols_per_s > 0.0).then(|| Duration::from_secs_f64(lacking as f64 / symbols_per_s));
        let loss = session.loss().map(|(_, loss)| loss);
        self.events.move_bar(u64::from(stats.verified_blocks), progress_text(rate_bps, loss, eta));
        if self.events.is_json() {
            let fields = json!({
                "seconds": seconds(now), "blocks_done": stats.verified_blocks,
                "blocks": delivery.partition().blocks(), "symbols": stats.symbols, "lacking_symbols": lacking,
                "loss": loss, "rate_bps": rate_bps.round(), "eta_s": eta.map(seconds),
            });
            self.events.tell("progress", fields, "");
        }
    }

    /// Rate of UDP payload in bits a second, and symbols kept a second, since the last call.
    fn rates(&mut self, session: &ReceiverSession, now: Duration) -> (f64, f64) {
        let stats = session.stats();
        let (since, bytes) = self.last.replace((now, stats.bytes)).unwrap_or((Duration::ZERO, 0));
        let elapsed_s = now.saturating_sub(since).as_secs_f64().max(1e-3);
        let rate_bps = (8 * (stats.bytes - bytes)) as f64 / elapsed_s;
        let share_kept = stats.symbols as f64 / stats.packets.max(1) as f64;
        let symbol_bits = session.delivery().map_or(1.0, |it| f64::from(it.partition().symbol_size()) * 8.0);
        (rate_bps, rate_bps * share_kept / symbol_bits)
    }

    /// The image read back has the right SHA-256.
    pub fn verified(&mut self, manifest: &SignedManifest, session: &ReceiverSession, now: Duration) {
        self.events.end_bar();
        let stats = session.stats();
        let loss = session.loss().map(|(_, loss)| loss);
        let sha256 = hex::encode(&manifest.manifest().image_sha256);
        let fields = json!({
            "sha256": sha256, "seconds": seconds(now), "symbols": stats.symbols, "blocks": stats.verified_blocks,
            "decoded_blocks": stats.decoded_blocks, "loss": loss, "manifest": hex::encode(&manifest.digest()),
        });
        let loss = loss.map_or(String::new(), |loss| format!(", loss {:.2} %", loss * 100.0));
        let text =
            format!("verified {sha256}: {} of {} blocks decoded{loss}", stats.decoded_blocks, stats.verified_blocks);
        self.events.tell("verified", fields, &text);
    }

    /// A web server was asked for symbols of block `sbn`.
    pub fn fetched(&self, url: &str, sbn: u8, end: &FetchEnd, error: Option<&FetchError>) {
        let error = error.map(ToString::to_string);
        let fields = json!({ "url": url, "block": sbn, "requests": end.requests, "bytes": end.bytes, "error": error });
        if self.events.is_json() || error.is_some() {
            let text = format!("{url} failed for block {sbn}: {}", error.unwrap_or_default());
            self.events.tell("fetch", fields, &text);
        }
    }

    /// A web server gives wrong bytes.
    pub fn distrusted(&self, server: &Distrusted) {
        let consequence = if server.is_proven { "it is asked no more" } else { "others are asked first" };
        let text = format!("WARNING: {} gave bytes that are not the image's: {consequence}", server.url);
        self.events.tell("distrusted", json!({ "url": server.url, "proven": server.is_proven }), &text);
    }

    /// The sender cannot be told where this device stands.
    pub fn cannot_tell(&self, error: &StateError) {
        let text = format!("WARNING: the sender is not told where this device stands: {error}");
        self.events.tell("cannot_tell", json!({ "reason": error.to_string() }), &text);
    }

    /// What is lacking costs more than may be fetched.
    pub fn over_budget(&self, fetched_bytes: u64, lacking_symbols: u64) {
        let text = format!(
            "{lacking_symbols} symbols are lacking, and with {fetched_bytes} bytes fetched --repair-budget does not \
             suffice: waiting for the sender to repeat them"
        );
        let fields = json!({ "fetched_bytes": fetched_bytes, "lacking_symbols": lacking_symbols });
        self.events.tell("over_budget", fields, &text);
    }

    /// The policy is done; `path` is where the image is, if that is known.
    pub fn applied(&self, policy: &Apply, path: Option<&Path>) {
        // Policy `none` stages and applies nothing.
        let name = if *policy == Apply::None { "staged" } else { "applied" };
        let place = path.map_or(String::new(), |path| format!(": {}", path.display()));
        let text = format!("{name} by policy {}{place}", policy.name());
        self.events.tell(name, json!({ "policy": policy.name(), "path": path }), &text);
    }

    /// The receiver failed. For people, the program's last line says why.
    pub fn failed(&self, error: &ReceiveError) {
        if self.events.is_json() {
            self.failed_and_goes_on(error);
        }
    }

    /// An upgrade failed, and the receiver waits for the next.
    pub fn failed_and_goes_on(&self, error: &ReceiveError) {
        let fields = json!({ "reason": error.to_string(), "exit_code": error.exit_code() });
        self.events.tell("failed", fields, &format!("failed: {error}"));
    }

    /// The last event of a run: how it ended (one word), and what it cost.
    pub fn summary(&mut self, result: &str, session: &ReceiverSession, now: Duration, socket_drops: u32) {
        self.events.end_bar();
        let stats = session.stats();
        let (lost, loss) = session.loss().map_or((None, None), |(lost, loss)| (Some(lost), Some(loss)));
        let is_success = matches!(result, "applied" | "verified");
        let sha256 = session.manifest().filter(|_| is_success).map(|m| hex::encode(&m.manifest().image_sha256));
        let fields = json!({
            "result": result, "sha256": sha256, "seconds": seconds(now),
            "packets": stats.packets, "bytes": stats.bytes, "symbols": stats.symbols, "lost": lost, "loss": loss,
            "blocks": stats.verified_blocks, "decoded_blocks": stats.decoded_blocks,
            "restored_blocks": stats.restored_blocks, "restored_symbols": stats.restored_symbols, "corrupt_blocks": stats.corrupt_blocks,
            "forged_symbols": stats.forged_symbols, "fetched_symbols": stats.fetched_symbols,
            "fetched_bytes": stats.fetched_bytes, "fetch_requests": stats.fetch_requests,
            "fetch_failures": stats.fetch_failures,
            "feedback_reports": stats.feedback_reports, "feedback_bytes": stats.feedback_bytes,
            "singular_decodes": stats.singular_decodes, "surplus": stats.surplus, "early": stats.early,
            "foreign": stats.foreign, "malformed": stats.malformed, "control": stats.control,
            "refused": stats.refused, "socket_drops": socket_drops,
            "cpu_s": usage::cpu_s(), "peak_rss_bytes": usage::peak_rss_bytes(),
        });
        let symbols = stats.symbols + stats.fetched_symbols;
        let mut text = format!(
            "{result}: {symbols} symbols, {} of {} blocks decoded, {:.2} s",
            stats.decoded_blocks,
            stats.verified_blocks,
            now.as_secs_f64()
        );
        if stats.fetch_requests > 0 {
            text += &format!("; {} bytes of them by HTTP", stats.fetched_bytes);
        }
        if socket_drops > 0 {
            text += &format!("; {socket_drops} packets were dropped at the socket: this host is too slow for the rate");
        }
        self.events.tell("summary", fields, &text);
    }
}

fn progress_text(rate_bps: f64, loss: Option<f64>, eta: Option<Duration>) -> String {
    let loss = loss.map_or("loss unknown".to_owned(), |loss| format!("loss {:.2} %", loss * 100.0));
    let eta = eta.map_or("?".to_owned(), |eta| HumanDuration(eta).to_string());
    format!("{:.1} Mbit/s  {loss}  ETA {eta}", rate_bps / 1e6)
}

/// A duration as JSON seconds, to the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

/// What identifies a manifest in events.
fn manifest_fields(manifest: &SignedManifest) -> Value {
    let content = manifest.manifest();
    json!({
        "manifest": hex::encode(&manifest.digest()), "name": content.name, "product": content.product,
        "version": content.version, "sequence": content.sequence, "image_bytes": content.partition.image_len(),
        "blocks": content.partition.blocks(), "symbol_bytes": content.partition.symbol_size(),
    })
}
