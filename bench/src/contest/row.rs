//! One contender's row: the medians of its rounds.

use super::{Segmentation, Transfer};
use crate::report::Row;
use serde::Serialize;

/// What a contender did, as medians over the rounds.
#[derive(Debug, Serialize)]
pub struct ContestRow {
    bench: &'static str,
    tool: &'static str,
    /// 10^6 bits of the image a second, from the first packet of the data until the receiver has the file.
    mbit_s: f64,
    sender_cpu_s: f64,
    receiver_cpu_s: f64,
    /// Whether the received file had the image's SHA-256 in every round.
    verified: bool,
    /// Bits of the wire a second that the sender was told; none: as fast as it could.
    rate_bps: Option<u64>,
    /// Where super-packets became packets.
    segmentation: Segmentation,
    /// Repair symbols that it was told to send; none: it knows none.
    repair: Option<String>,
    image_bytes: u64,
    /// Bytes of Ethernet frames without FCS that the sender put on its wire.
    wire_bytes: u64,
    /// Packets that were sent and did not reach the receiving program, over all rounds.
    lost: u64,
    /// Every round's figure.
    rounds_mbit_s: Vec<f64>,
    rounds_sender_cpu_s: Vec<f64>,
    rounds_receiver_cpu_s: Vec<f64>,
    /// Figures divided by those of the last contender.
    mbit_s_ratio: f64,
    sender_cpu_ratio: f64,
    receiver_cpu_ratio: f64,
}

impl ContestRow {
    /// The row of `tool`, whose transfers these are; `peer` are those that it is compared with.
    pub fn new(
        bench: &'static str,
        tool: &'static str,
        segmentation: Segmentation,
        transfers: &[Transfer],
        peer: &[Transfer],
    ) -> Self {
        let (own, other) = (Figures::new(transfers), Figures::new(peer));
        let medians = |figures: &Figures| {
            (median(&figures.mbit_s), median(&figures.sender_cpu_s), median(&figures.receiver_cpu_s))
        };
        let (mbit_s, sender_cpu_s, receiver_cpu_s) = medians(&own);
        let (peer_mbit_s, peer_sender_cpu_s, peer_receiver_cpu_s) = medians(&other);
        let mut wire_bytes: Vec<u64> = transfers.iter().map(|transfer| transfer.wire_bytes).collect();
        wire_bytes.sort_unstable();
        Self {
            bench,
            tool,
            mbit_s,
            sender_cpu_s,
            receiver_cpu_s,
            verified: !transfers.is_empty() && transfers.iter().all(|transfer| transfer.verified),
            rate_bps: transfers.first().and_then(|transfer| transfer.rate_bps),
            segmentation,
            repair: transfers.first().and_then(|transfer| transfer.repair.clone()),
            image_bytes: transfers.first().map_or(0, |transfer| transfer.image_bytes),
            wire_bytes: wire_bytes.get(wire_bytes.len() / 2).copied().unwrap_or_default(),
            lost: transfers.iter().map(|transfer| transfer.lost).sum(),
            rounds_mbit_s: own.mbit_s,
            rounds_sender_cpu_s: own.sender_cpu_s,
            rounds_receiver_cpu_s: own.receiver_cpu_s,
            mbit_s_ratio: mbit_s / peer_mbit_s,
            sender_cpu_ratio: sender_cpu_s / peer_sender_cpu_s,
            receiver_cpu_ratio: receiver_cpu_s / peer_receiver_cpu_s,
        }
    }
}

impl Row for ContestRow {
    const COLUMNS: &'static [&'static str] = &[
        "tool",
        "Mbit/s",
        "ratio",
        "sender CPU s",
        "ratio",
        "receiver CPU s",
        "ratio",
        "wire/image",
        "lost",
        "verified",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.tool.to_owned(),
            format!("{:.0}", self.mbit_s),
            format!("{:.2}", self.mbit_s_ratio),
            format!("{:.2}", self.sender_cpu_s),
            format!("{:.2}", self.sender_cpu_ratio),
            format!("{:.2}", self.receiver_cpu_s),
            format!("{:.2}", self.receiver_cpu_ratio),
            format!("{:.3}", self.wire_bytes as f64 / self.image_bytes as f64),
            self.lost.to_string(),
            if self.verified { "yes" } else { "NO" }.to_owned(),
        ]
    }
}

/// The figures of each round, to three decimals.
struct Figures {
    mbit_s: Vec<f64>,
    sender_cpu_s: Vec<f64>,
    receiver_cpu_s: Vec<f64>,
}

impl Figures {
    fn new(transfers: &[Transfer]) -> Self {
        let all = |figure: fn(&Transfer) -> f64| {
            transfers.iter().map(|transfer| (figure(transfer) * 1e3).round() / 1e3).collect()
        };
        Self {
            mbit_s: all(Transfer::mbit_s),
            sender_cpu_s: all(|transfer| transfer.sender_cpu_s),
            receiver_cpu_s: all(|transfer| transfer.receiver_cpu_s),
        }
    }
}

/// The middle of the figures, the lower one of two.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn transfer(ms: u64, sender_cpu_s: f64) -> Transfer {
        Transfer {
            took: Some(Duration::from_millis(ms)),
            image_bytes: 1_000_000,
            rate_bps: None,
            repair: None,
            wire_bytes: 1_050_000,
            sender_cpu_s,
            receiver_cpu_s: 1.0,
            lost: 3,
            sent_bps: None,
            verified: true,
        }
    }

    #[test]
    fn a_row_has_medians_and_ratios() {
        let fast = [transfer(10, 0.1), transfer(20, 0.2), transfer(900, 0.9)];
        let slow = [transfer(80, 0.8)];
        let row = ContestRow::new("goodput", "fast", Segmentation::Software, &fast, &slow);
        assert_eq!(row.cells(), ["fast", "400", "4.00", "0.20", "0.25", "1.00", "1.00", "1.050", "9", "yes"]);
        assert_eq!(row.cells().len(), ContestRow::COLUMNS.len());
        assert_eq!(row.rounds_mbit_s, [800.0, 400.0, 8.889]);
    }

    #[test]
    fn one_bad_round_is_a_bad_row() {
        let failed = Transfer { took: None, verified: false, ..transfer(1, 0.1) };
        let row = ContestRow::new(
            "goodput",
            "flaky",
            Segmentation::Device,
            &[transfer(10, 0.1), failed],
            &[transfer(10, 0.1)],
        );
        assert!(!row.verified);
        assert_eq!(row.mbit_s, 0.0);
    }

    #[test]
    fn the_median_of_two_is_the_lower() {
        assert_eq!(median(&[5.0, 1.0, 900.0]), 5.0);
        assert_eq!(median(&[2.0, 1.0]), 1.0);
        assert_eq!(median(&[]), 0.0);
    }
}
