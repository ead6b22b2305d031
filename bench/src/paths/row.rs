//! What a path did, and the medians over rounds.

use super::Counter;
use crate::report::Row;
use fleetcast_tests::sink::Totals;
use serde::Serialize;
use std::fmt;

/// One run of one path.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Packets that were sent, by the sender's word.
    pub sent: u64,
    /// Packets that were not counted.
    pub lost: u64,
    /// Packets a second.
    pub packets_s: f64,
    /// Bits of Ethernet frames a second.
    pub bit_s: f64,
    /// CPU seconds per packet.
    pub cpu_s_per_packet: f64,
}

impl Measured {
    /// From what was counted between two looks at the sink: `sent` packets of `frame_bytes` bytes in all that time.
    pub fn new(sent: u64, counted: u64, frame_bytes: f64, seconds: f64, cpu_s: f64) -> Self {
        let packets_s = counted as f64 / seconds.max(1e-9);
        Self {
            sent,
            lost: sent.saturating_sub(counted),
            packets_s,
            bit_s: packets_s * frame_bytes * 8.0,
            cpu_s_per_packet: cpu_s / counted.max(1) as f64,
        }
    }

    /// From all that a sink counted of a sender that sent `sent` packets and took `cpu_s`.
    pub fn of_all(sent: u64, totals: &Totals, frame_bytes: f64, cpu_s: f64) -> Self {
        Self::new(sent, totals.packets, frame_bytes, totals.seconds(), cpu_s)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kpps, cpu) = (self.packets_s / 1e3, self.cpu_s_per_packet * 1e6);
        write!(f, "{kpps:.0} kpps, {cpu:.3} CPU s per million packets, {} sent, {} lost", self.sent, self.lost)
    }
}

/// The median of a path's rounds, and of its ratios within each round.
#[derive(Debug, Serialize)]
pub struct PathRow {
    bench: &'static str,
    path: &'static str,
    sink: Counter,
    kpps: f64,
    gbit_s: f64,
    cpu_s_per_mpkt: f64,
    /// Packets lost in all rounds.
    pub lost: u64,
    ratio_sendto: f64,
    ratio_bare: f64,
}

impl PathRow {
    /// The row of `path` over all rounds, with ratios to `sendto` and to the loop named `bare`.
    pub fn new(path: &'static str, bare: &str, sink: Counter, rounds: &[Vec<(&'static str, Measured)>]) -> Self {
        let find = |round: &[(&'static str, Measured)], name: &str| {
            round.iter().find(|(known, _)| *known == name).map(|(_, measured)| *measured)
        };
        let of = |pick: fn(&Measured) -> f64| {
            median(rounds.iter().filter_map(|round| find(round, path)).map(|it| pick(&it)).collect())
        };
        let ratio = |to: &str| {
            let ratios = rounds.iter().filter_map(|round| Some((find(round, path)?, find(round, to)?)));
            median(ratios.map(|(it, other)| it.packets_s / other.packets_s).collect())
        };
        Self {
            bench: "paths",
            path,
            sink,
            kpps: of(|it| it.packets_s / 1e3),
            gbit_s: of(|it| it.bit_s / 1e9),
            cpu_s_per_mpkt: of(|it| it.cpu_s_per_packet * 1e6),
            lost: rounds.iter().filter_map(|round| find(round, path)).map(|it| it.lost).sum(),
            ratio_sendto: ratio("sendto"),
            ratio_bare: ratio(bare),
        }
    }
}

impl Row for PathRow {
    const COLUMNS: &'static [&'static str] =
        &["path", "sink", "kpps", "Gbit/s", "CPU s/Mpkt", "lost", "x sendto", "x bare"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.path.to_owned(),
            self.sink.to_string(),
            format!("{:.0}", self.kpps),
            format!("{:.2}", self.gbit_s),
            format!("{:.3}", self.cpu_s_per_mpkt),
            self.lost.to_string(),
            format!("{:.2}", self.ratio_sendto),
            format!("{:.2}", self.ratio_bare),
        ]
    }
}

/// The middle of some figures; of an even number, the higher of the two in the middle. 0 without any.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let measured = |packets_s| Measured { sent: 10, lost: 1, packets_s, bit_s: 0.0, cpu_s_per_packet: 0.0 };
        let round = |sendto, gso, mmsg| {
            vec![("sendto", measured(sendto)), ("bare-gso", measured(gso)), ("mmsg", measured(mmsg))]
        };
        // The host was slow in the second round: as for all of it, the ratios are the same.
        let rounds = [round(100.0, 300.0, 270.0), round(10.0, 30.0, 27.0), round(100.0, 300.0, 240.0)];
        let row = PathRow::new("mmsg", "bare-gso", Counter::Xdp, &rounds);
        assert!((row.ratio_sendto - 2.7).abs() < 1e-9 && (row.ratio_bare - 0.9).abs() < 1e-9);
        assert_eq!(row.lost, 3);
    }
}
