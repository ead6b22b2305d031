//! fleetcast's transfers.

use super::child::cpu_s_when_ended;
use super::{Contest, Transfer};
use anyhow::{Context, ensure};
use fleetcast_tests::image;
use fleetcast_tests::process::Finished;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// The receiver gives up after this long without progress: soon after a sender ended that was too fast for it.
const IDLE_TIMEOUT: &str = "10s";
const DRAIN: Duration = Duration::from_secs(30);

impl Contest {
    /// Has fleetcast send the image in one pass, at `rate_bps` (bits of the wire) and with this share of repair.
    pub fn fleetcast(&self, rate_bps: u64, repair: &str) -> anyhow::Result<Transfer> {
        let device = self.fleet.device(0);
        // A device that never saw the image. What is not there need not be removed.
        let _ = fs::remove_dir_all(&device.state);
        let _ = fs::remove_file(&device.out);
        // UFTP filters nothing either; and a program at the interface would have super-packets cut before the cable.
        let args = ["--once", "--timeout", IDLE_TIMEOUT, "--filter", "socket"];
        let receiver = self.fleet.receiver(0).args(args).spawn()?;
        let mut receivers = [receiver];
        self.fleet.await_joined(&mut receivers)?;
        let [receiver] = receivers;

        let patience = self.patience(Some(rate_bps));
        let pace = ["--rate", &rate_bps.to_string(), "--repair", repair];
        let sender = self.fleet.sender(&self.release).args(pace).spawn()?;
        let sender_cpu_s = cpu_s_when_ended(sender.pid(), patience).context("the sender")?;
        let sent = sender.finish(DRAIN)?;
        ensure!(sent.status.success(), "the sender failed ({}): {}", sent.status, sent.stderr);
        // Its own count: the interface counts a super-packet that crosses it whole with the headers of one packet.
        let wire_bytes = sent.event("summary").and_then(|summary| summary.get("bytes")).and_then(Value::as_u64);

        let receiver_cpu_s = cpu_s_when_ended(receiver.pid(), patience).context("the receiver")?;
        let received = receiver.finish(DRAIN)?;
        let took = match (sent.event_at("started"), received.event_at("verified")) {
            (Some(start), Some(end)) => Some(end.saturating_duration_since(start)),
            _ => None,
        };
        let verified = image::sha256(&device.out).is_ok_and(|sha256| sha256 == self.release.sha256);
        // Before the next contender has its turn: the RAM is its page cache too.
        let _ = fs::remove_file(&device.out);
        Ok(Transfer {
            took,
            image_bytes: self.release.file_bytes,
            rate_bps: Some(rate_bps),
            repair: Some(repair.to_owned()),
            sent_bps: sent.event("summary").and_then(|summary| summary.get("rate_bps")).and_then(Value::as_f64),
            wire_bytes: wire_bytes.context("the sender has told no bytes")?,
            sender_cpu_s,
            receiver_cpu_s,
            lost: lost(&received),
            verified,
        })
    }
}

/// Packets that the receiver lacked: gaps in the schedule, or what its socket dropped when that is more (gaps before the
/// first symbol cannot be seen), and symbols that came before it was ready for them.
fn lost(received: &Finished) -> u64 {
    let Some(summary) = received.event("summary") else { return 0 };
    let count = |field: &str| summary.get(field).and_then(Value::as_u64).unwrap_or_default();
    count("lost").max(count("socket_drops")) + count("early")
}
