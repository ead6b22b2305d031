//! CPU time for one image at one rate that both can keep, with UFTP beside it.
//!
//! The rate counts all bits of the wire, for both: UFTP's own unit, 1,024 bits of IP packets a second, is converted.

use crate::contest::{Contest, ContestRow, REPAIR, Segmentation, Uftp, repair, rounds};
use crate::report::Report;
use anyhow::ensure;
use fleetcast_cli::units::parse_rate_bps;
use std::io;

/// What `cpu` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Length of the image.
    #[arg(long, default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Repair symbols that fleetcast sends, in percent of the source symbols; UFTP has none.
    #[arg(long, default_value = REPAIR, value_parser = repair)]
    repair: String,
    /// Rate of both senders in bits of the wire a second.
    #[arg(long, default_value = "100M", value_parser = parse_rate_bps)]
    rate: u64,
    /// Where super-packets become packets.
    #[arg(long, value_enum, default_value_t = Segmentation::Device)]
    segmentation: Segmentation,
}

/// Runs the bench and prints its rows.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    let uftp = Uftp::find()?;
    let contest = Contest::new(options.bytes, options.segmentation)?;
    let (ours, theirs) = rounds(
        options.rounds,
        || contest.fleetcast(options.rate, &options.repair),
        || uftp.transfer(&contest, Some(options.rate)),
    )?;
    let mut report = Report::new(io::stdout().lock(), json);
    report.row(&ContestRow::new("cpu", "fleetcast", options.segmentation, &ours, &theirs))?;
    report.row(&ContestRow::new("cpu", Uftp::NAME, options.segmentation, &theirs, &theirs))?;
    report.finish()?;
    ensure!(ours.iter().all(|transfer| transfer.verified), "a transfer of fleetcast's did not end verified");
    Ok(())
}
