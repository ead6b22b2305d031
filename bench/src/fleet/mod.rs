//! A fleet on a live stream: one sender process, a few receiver processes, and an emulator of thousands beside them.
//!
//! The sender is the unmodified program, and its stream the real one. As many whole receivers as the machine can feed decode,
//! hash, verify and write, each in a namespace of its own. All routers, those included, run in the emulator too: the receiver's
//! real session for each, fed from the same stream, with reports to the sender's real socket. What is lost is decided by a
//! keyed hash that the kernel computes at a real receiver's door and the emulator for everybody, so a real receiver and its
//! emulated twin must come to the same, and the bench fails when they do not.

mod account;
mod emulator;
mod kernel_threads;
mod losses;
mod population;
mod proof;
pub mod result;
mod router;
mod stage;
mod stream;
mod summary;

use crate::contest::repair;
use crate::report::Report;
use anyhow::{Context, bail};
use clap::value_parser;
use fleetcast_cli::units::{parse_bytes, parse_duration, parse_rate_bps, parse_share};
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

/// What `fleet` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Routers, the real ones among them.
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=100_000))]
    receivers: u32,
    /// Routers that are whole receiver processes, of the living that are there from the start.
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(0..=64))]
    real: u32,
    /// Length of the image.
    #[arg(long, default_value = "500M", value_parser = parse_bytes)]
    size: u64,
    /// Bits of the wire a second.
    #[arg(long, default_value = "100M", value_parser = parse_rate_bps)]
    rate: u64,
    /// Mean loss of the living: nine in ten lose a tenth of it up to all of it, the rest five times as much.
    #[arg(long, default_value = "1%", value_parser = parse_share)]
    loss: u32,
    /// Lose packets in bursts of so many in the mean (Gilbert–Elliott) [default with the flag alone: 10].
    #[arg(long, value_name = "PACKETS", num_args = 0..=1, default_missing_value = "10",
        value_parser = value_parser!(u32).range(1..=100_000))]
    burst: Option<u32>,
    /// Planned repair, in percent of the source symbols.
    #[arg(long, default_value = "5%", value_parser = repair)]
    repair: String,
    /// Passes.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=100))]
    carousel: u32,
    /// Share of the routers that join late, within the time of half a pass; give them a second pass with --carousel 2.
    #[arg(long, default_value = "0%", value_parser = parse_share)]
    late: u32,
    /// Share of the routers that nothing reaches.
    #[arg(long, default_value = "0.2%", value_parser = parse_share)]
    dead: u32,
    /// Round trip that the sender reckons with when it asks for reports.
    #[arg(long, default_value = "50ms", value_parser = parse_duration)]
    rtt: Duration,
    /// Losses and kinds of routers follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the whole result to this folder, as fleet.json.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the bench, and prints and writes what came of it.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    let played = stage::play(options)?;
    let result = summary::result(options, played);
    if let Some(folder) = &options.out {
        let path = folder.join(result::FILE_NAME);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, serde_json::to_vec(&result)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !json {
        println!("{}\n", summary::text(&result));
    }
    let mut report = Report::new(io::stdout().lock(), json);
    report.row(&result.summary)?;
    report.finish()?;
    let failures = summary::failures(&result);
    if failures.is_empty() {
        return Ok(());
    }
    bail!("the run does not count: {}", failures.join("; "));
}
