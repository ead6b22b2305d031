//! What a verdict of the XDP filter costs, above a program that does nothing, by BPF_PROG_TEST_RUN.

use super::flood::Tool;
use super::frames::{SYMBOL_BYTES, frame};
use crate::report::{Report, Row};
use fleetcast_ebpf::{Channel, Program};
use fleetcast_tests::root;
use serde::Serialize;
use std::io;
use std::net::IpAddr;

/// What `verdict` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Runs of a program on a frame in a round.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
}

#[derive(Debug, Serialize)]
struct VerdictRow {
    bench: &'static str,
    case: &'static str,
    passes: bool,
    ns: f64,
    empty_ns: f64,
}

impl Row for VerdictRow {
    const COLUMNS: &'static [&'static str] = &["packet", "verdict", "ns above an empty program", "empty ns"];

    fn cells(&self) -> Vec<String> {
        let verdict = if self.passes { "pass" } else { "drop" };
        vec![self.case.to_owned(), verdict.to_owned(), format!("{:.1}", self.ns), format!("{:.1}", self.empty_ns)]
    }
}

const GROUP: &str = "232.1.1.1";
const GROUP_V6: &str = "ff3e::8000:1";
const SHARED: &str = "232.1.1.2";

fn cases() -> [(&'static str, &'static str, &'static str, u16); 10] {
    [
        ("protected, pass", "10.0.0.1", GROUP, 5000),
        ("protected, drop", "10.0.0.9", GROUP, 5000),
        ("unrelated unicast", "10.0.0.1", "10.0.0.2", 5000),
        ("protected, pass, IPv6", "fd77::1", GROUP_V6, 5000),
        ("protected, drop, IPv6", "fd77::9", GROUP_V6, 5000),
        ("unrelated unicast, IPv6", "fd77::1", "fd77::2", 5000),
        ("another group", "10.0.0.1", "232.9.9.9", 5000),
        ("another port", "10.0.0.1", GROUP, 5001),
        ("two sources, pass", "10.0.0.2", SHARED, 5000),
        ("two sources, drop", "10.0.0.9", SHARED, 5000),
    ]
}

/// Runs the bench and prints its rows.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    root::check()?;
    let mut filter = Program::load()?;
    for (source, group) in [("10.0.0.1", GROUP), ("fd77::1", GROUP_V6), ("10.0.0.1", SHARED), ("10.0.0.2", SHARED)] {
        filter.guard(Channel::new(source.parse()?, group.parse()?, 5000)?, false)?;
    }
    let empty = Tool::pass_all()?;
    let mut report = Report::new(io::stdout().lock(), json);
    for (case, source, group, port) in cases() {
        let frame = frame(source.parse::<IpAddr>()?, group.parse::<IpAddr>()?, port, SYMBOL_BYTES);
        let passes = filter.run(&frame, 1)?.passes;
        let (mut above, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let empty_ns = empty.run(&frame, options.repeat)?.as_nanos() as f64;
            above.push(filter.run(&frame, options.repeat)?.each.as_nanos() as f64 - empty_ns);
            bare.push(empty_ns);
        }
        report.row(&VerdictRow { bench: "verdict", case, passes, ns: median(above), empty_ns: median(bare) })?;
    }
    Ok(report.finish()?)
}

/// The middle of some values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
