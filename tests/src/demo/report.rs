//! What a run of the demo came to, as a table for people and as JSON lines for scripts.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{count, number};
use crate::LabError;
use crate::process::Finished;
use crate::release::Release;

/// One receiver's outcome.
#[derive(Debug, Clone, Serialize)]
pub struct ReceiverReport {
    /// Its name in the lab.
    pub receiver: String,
    /// The loss at its door, 0 to 1, counted by the program that caused it.
    pub loss: f64,
    /// Does its file have the SHA-256 of the image? Hashed by the lab, whatever the receiver says.
    pub verified: bool,
    /// From the start of the sender to the receiver's word that the image is verified.
    pub seconds: Option<f64>,
    /// How many encoding symbols it received.
    pub symbols: Option<u64>,
    /// How many source blocks it verified.
    pub blocks: Option<u64>,
    /// How many of them needed RaptorQ decoding, because source symbols were lost.
    pub decoded_blocks: Option<u64>,
    /// The loss as the receiver itself estimates it, 0 to 1.
    pub estimated_loss: Option<f64>,
    /// How many datagrams its socket dropped, on top of the loss above.
    pub socket_drops: Option<u64>,
    /// CPU time of its process.
    pub cpu_s: Option<f64>,
    /// SHA-256 of its file, when it wrote one.
    pub sha256: Option<String>,
    /// Its own word for the outcome; or how its process ended, when it said nothing.
    pub result: String,
}

/// The sender's outcome.
#[derive(Debug, Clone, Serialize)]
pub struct SenderReport {
    /// Always true: marks the line.
    pub sender: bool,
    /// Bytes of Ethernet frames without FCS, counted on its interface.
    pub wire_bytes: u64,
    /// Length of the image.
    pub file_bytes: u64,
    /// The same by the sender's own account: without what its kernel sends on the side.
    pub reported_bytes: Option<u64>,
    /// How many packets it sent.
    pub packets: Option<u64>,
    /// How long it sent.
    pub seconds: Option<f64>,
    /// CPU time of its process.
    pub cpu_s: Option<f64>,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct DemoReport {
    /// SHA-256 of the image in hex.
    pub sha256: String,
    /// In the order of the lab.
    pub receivers: Vec<ReceiverReport>,
    /// The sender.
    pub sender: SenderReport,
}

/// What the lab saw of a receiver by itself.
#[derive(Debug)]
pub(super) struct Seen {
    /// When the sender was started.
    pub(super) start: Instant,
    /// The loss at the receiver's door.
    pub(super) loss: f64,
    /// SHA-256 of its file, if there is one.
    pub(super) sha256: Option<String>,
}

impl ReceiverReport {
    pub(super) fn new(index: usize, seen: Seen, finished: &Finished, release: &Release) -> Self {
        let verified_at = finished.event_at("verified");
        let said = finished.event("summary").and_then(|summary| summary.get("result")?.as_str());
        let silent = || format!("{} {}", finished.status, finished.stderr.lines().last().unwrap_or_default());
        Self {
            receiver: format!("r{index}"),
            loss: seen.loss,
            verified: seen.sha256.as_ref() == Some(&release.sha256),
            seconds: verified_at.map(|at| to_millis(at.saturating_duration_since(seen.start))),
            symbols: count(finished, "summary", "symbols"),
            blocks: count(finished, "summary", "blocks"),
            decoded_blocks: count(finished, "summary", "decoded_blocks"),
            estimated_loss: number(finished, "summary", "loss"),
            socket_drops: count(finished, "summary", "socket_drops"),
            cpu_s: number(finished, "summary", "cpu_s"),
            sha256: seen.sha256,
            result: said.map_or_else(silent, str::to_owned),
        }
    }
}

impl SenderReport {
    pub(super) fn new(wire_bytes: u64, file_bytes: u64, finished: &Finished) -> Self {
        Self {
            sender: true,
            wire_bytes,
            file_bytes,
            reported_bytes: count(finished, "summary", "bytes"),
            packets: count(finished, "summary", "packets"),
            seconds: number(finished, "summary", "seconds"),
            cpu_s: number(finished, "summary", "cpu_s"),
        }
    }

    /// Bytes on the wire for each byte of the image.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn wire_ratio(&self) -> f64 {
        self.wire_bytes as f64 / self.file_bytes as f64
    }
}

impl DemoReport {
    /// Does every receiver hold the image?
    pub fn all_verified(&self) -> bool {
        self.receivers.iter().all(|receiver| receiver.verified)
    }

    /// One JSON object for each receiver, and one for the sender.
    ///
    /// # Errors
    /// Never in practice: the numbers are finite.
    pub fn json_lines(&self) -> Result<Vec<String>, LabError> {
        let receivers = self.receivers.iter().map(serde_json::to_string);
        let all = receivers.chain(std::iter::once(serde_json::to_string(&self.sender)));
        all.collect::<Result<_, _>>().map_err(|error| LabError::Io { what: "write JSON".into(), source: error.into() })
    }
}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "receiver     loss    symbols    blocks   decoded   seconds   SHA-256")?;
        for row in &self.receivers {
            let sha256 = match (&row.sha256, row.verified) {
                (_, true) => "equal".to_owned(),
                (Some(_), false) => "DIFFERS".to_owned(),
                (None, false) => format!("NO IMAGE ({})", row.result),
            };
            writeln!(
                f,
                "{:<8} {:>6.2} % {:>10} {:>9} {:>9} {:>9}   {sha256}",
                row.receiver,
                row.loss * 100.0,
                or_dash(row.symbols.map(grouped)),
                or_dash(row.blocks),
                or_dash(row.decoded_blocks),
                or_dash(row.seconds.map(|seconds| format!("{seconds:.2}"))),
            )?;
        }
        let sender = &self.sender;
        writeln!(
            f,
            "\nsender: {} bytes on the wire for a file of {} ({:.3} times), {} s, {} s of CPU",
            grouped(sender.wire_bytes),
            grouped(sender.file_bytes),
            sender.wire_ratio(),
            or_dash(sender.seconds.map(|seconds| format!("{seconds:.2}"))),
            or_dash(sender.cpu_s.map(|seconds| format!("{seconds:.2}"))),
        )?;
        let equal = self.receivers.iter().filter(|receiver| receiver.verified).count();
        write!(f, "{equal} of {} receivers hold the image, SHA-256 {}", self.receivers.len(), self.sha256)
    }
}

/// In seconds, and no finer than the lab can tell.
fn to_millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sha256: Option<&str>) -> DemoReport {
        let row = ReceiverReport {
            receiver: "r0".into(),
            loss: 0.0123,
            verified: sha256 == Some("aa"),
            seconds: Some(4.3),
            symbols: Some(36_000),
            blocks: Some(19),
            decoded_blocks: None,
            estimated_loss: Some(0.012),
            socket_drops: Some(0),
            cpu_s: Some(1.0),
            sha256: sha256.map(str::to_owned),
            result: "timeout".into(),
        };
        let sender = SenderReport {
            sender: true,
            wire_bytes: 1_500_000,
            file_bytes: 1_000_000,
            reported_bytes: None,
            packets: None,
            seconds: Some(4.0),
            cpu_s: None,
        };
        DemoReport { sha256: "aa".into(), receivers: vec![row], sender }
    }

    #[test]
    fn the_table_tells_equal_different_and_missing_apart() {
        let good = report(Some("aa"));
        assert!(good.all_verified());
        let text = good.to_string();
        assert!(text.contains("1.23 %") && text.contains("36,000") && text.contains("equal"), "{text}");
        assert!(text.contains("1,500,000 bytes") && text.contains("1.500 times") && text.contains("1 of 1"), "{text}");
        let bad = report(Some("bb"));
        assert!(!bad.all_verified() && bad.to_string().contains("DIFFERS"));
        let none = report(None);
        assert!(!none.all_verified() && none.to_string().contains("NO IMAGE (timeout)"));
    }

    #[test]
    fn json_has_what_scripts_rely_on() {
        let lines = report(Some("aa")).json_lines().unwrap();
        let [receiver, sender] = lines.as_slice() else { panic!("{lines:?}") };
        let receiver: serde_json::Value = serde_json::from_str(receiver).unwrap();
        assert_eq!((&receiver["receiver"], &receiver["verified"]), (&"r0".into(), &true.into()));
        assert_eq!((receiver["loss"].as_f64(), receiver["seconds"].as_f64()), (Some(0.0123), Some(4.3)));
        let sender: serde_json::Value = serde_json::from_str(sender).unwrap();
        assert_eq!((&sender["sender"], &sender["wire_bytes"]), (&true.into(), &1_500_000.into()));
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
