//! Simulate: one sender and a fleet of any size on a simulated clock, from a seed: what the wire carries and who is served.
//!
//! Both sessions are the real ones: the sender's with its schedule and what it makes of reports, and one receiver session
//! for every receiver. Three things are not there: bytes (whether a block decodes is drawn by the law of the code, and no
//! hash is compared), packets that overtake each other or come twice, and packets that arrive one by one (a receiver is
//! given what came of a run of symbols at once, which leaves its session in the same state). The simulation of small fleets
//! in `fleetcast-protocol` has all three.

mod fleet;
mod losses;
mod member;
#[cfg(test)]
mod tests;
mod world;

use crate::report::{Report, Row};
use anyhow::ensure;
use clap::value_parser;
use fleetcast_cli::units::{parse_bytes, parse_duration, parse_permyriad, parse_rate_bps, parse_share};
use fleetcast_protocol::session::DEFAULT_WINDOW_BLOCKS;
use losses::LossModel;
use serde::Serialize;
use std::time::{Duration, Instant};
use std::{fs, io, thread};
use world::{Outcome, Plan};

/// Ten thousandths.
const PERMYRIAD: f64 = 10_000.0;

/// What `simulate` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Receivers.
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    receivers: u32,
    /// Share of the packets that each receiver loses, such as 1%.
    #[arg(long, default_value = "1%", value_parser = parse_share)]
    loss: u32,
    /// Lose packets in bursts of so many in the mean (Gilbert–Elliott) [default with the flag alone: 10].
    #[arg(long, value_name = "PACKETS", num_args = 0..=1, default_missing_value = "10",
        value_parser = value_parser!(u32).range(1..=100_000))]
    burst: Option<u32>,
    /// Share of the reports that gets lost [default: that of the packets].
    #[arg(long, value_parser = parse_share)]
    feedback_loss: Option<u32>,
    /// Length of the image.
    #[arg(long, default_value = "50M", value_parser = parse_bytes)]
    size: u64,
    /// Everything follows from it: the same seed gives the same run, with any number of threads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bits of the line a second.
    #[arg(long, default_value = "100M", value_parser = parse_rate_bps)]
    rate: u64,
    /// Planned repair, in percent of the source symbols.
    #[arg(long, default_value = "0%", value_parser = parse_permyriad)]
    repair: u32,
    /// Blocks that are interleaved.
    #[arg(long, default_value_t = DEFAULT_WINDOW_BLOCKS, value_parser = value_parser!(u16).range(1..=255))]
    window: u16,
    /// Passes over the image, each followed by feedback rounds.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    passes: u32,
    /// The longest round trip; paths are drawn from half of it on.
    #[arg(long, default_value = "50ms", value_parser = parse_duration)]
    rtt: Duration,
    /// Share of the receivers that join some time during the first pass.
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    join_late: u32,
    /// Strangers that claim in every round to lack everything.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = value_parser!(u32).range(..=100_000))]
    lying: u32,
    /// Threads [default: one a core].
    #[arg(long, value_parser = value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
}

impl Options {
    fn plan(&self) -> anyhow::Result<Plan> {
        let share = |permyriad: u32| f64::from(permyriad) / PERMYRIAD;
        let loss = share(self.loss);
        ensure!(self.burst.is_none() || self.loss < 10_000, "--loss 100% leaves nothing between bursts; give less");
        let threads = match self.threads {
            Some(threads) => usize::try_from(threads)?,
            None => thread::available_parallelism()?.get(),
        };
        Ok(Plan {
            receivers: self.receivers,
            image_len: self.size,
            loss: self.burst.map_or(LossModel::independent(loss), |burst| LossModel::bursts(loss, f64::from(burst))),
            feedback_loss: share(self.feedback_loss.unwrap_or(self.loss)),
            rate_bps: self.rate,
            repair_permyriad: self.repair,
            window_blocks: self.window,
            passes: self.passes,
            rtt: self.rtt,
            late_permyriad: self.join_late,
            liars: self.lying,
            seed: self.seed,
            threads,
        })
    }
}

#[derive(Debug, Serialize)]
struct SimulateRow {
    bench: &'static str,
    receivers: u32,
    loss: f64,
    burst: Option<u32>,
    seed: u64,
    verified: u64,
    wire_ratio: f64,
    feedback_bytes: u64,
    /// Reports that were sent, whether they arrived or not.
    reports: u64,
    rounds: u64,
    requested_symbols: u64,
    last_complete_s: f64,
    ended_s: f64,
    wall_s: f64,
    /// The process's largest memory, divided by the receivers.
    bytes_per_receiver: u64,
}

impl Row for SimulateRow {
    const COLUMNS: &'static [&'static str] = &[
        "receivers",
        "loss",
        "verified",
        "wire / file",
        "feedback B",
        "reports",
        "rounds",
        "repair symbols",
        "last complete s",
        "wall s",
        "B a receiver",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.receivers.to_string(),
            format!("{:.2} %", self.loss * 100.0),
            self.verified.to_string(),
            format!("{:.4}", self.wire_ratio),
            self.feedback_bytes.to_string(),
            self.reports.to_string(),
            self.rounds.to_string(),
            self.requested_symbols.to_string(),
            format!("{:.3}", self.last_complete_s),
            format!("{:.1}", self.wall_s),
            self.bytes_per_receiver.to_string(),
        ]
    }
}

/// Runs the simulation and prints its row.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    let plan = options.plan()?;
    let began = Instant::now();
    let outcome = world::simulate(&plan)?;
    let mut report = Report::new(io::stdout().lock(), json);
    report.row(&row(options, &outcome, began.elapsed()))?;
    report.finish()?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "ratios for people")]
fn row(options: &Options, outcome: &Outcome, wall: Duration) -> SimulateRow {
    SimulateRow {
        bench: "simulate",
        receivers: options.receivers,
        loss: f64::from(options.loss) / PERMYRIAD,
        burst: options.burst,
        seed: options.seed,
        verified: outcome.verified,
        wire_ratio: outcome.wire_bytes as f64 / options.size as f64,
        feedback_bytes: outcome.feedback_bytes,
        reports: outcome.reports,
        rounds: outcome.feedback.rounds,
        requested_symbols: outcome.feedback.requested_symbols,
        last_complete_s: outcome.last_complete.as_secs_f64(),
        ended_s: outcome.ended.as_secs_f64(),
        wall_s: wall.as_secs_f64(),
        bytes_per_receiver: peak_memory().unwrap_or(0) / u64::from(options.receivers),
    }
}

/// The largest memory that this process has had, in bytes.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
