//! Goodput: how fast one receiver has a verified image over an unshaped, loss-free wire, with UFTP beside it.
//!
//! Goodput is bits of the image divided by the time that the transfer took. That is, for fleetcast, from its sender's
//! event `started`, before its first packet, until its receiver's event `verified`: every block decoded and hashed, the
//! image read back and hashed. For UFTP, which hashes nothing, it is from when it has registered its receivers and begins
//! with the data until its daemon says that the file is complete.
//!
//! fleetcast has no return channel, so it must be told a rate. Unless it is given, the bench looks for the one at which the
//! sender is fastest and nothing is lost, and then measures three tenths below it: a host that is shared has hiccups. What
//! it is told may be more than it can keep: it then sends as fast as it can, as UFTP does.

use crate::contest::{Contest, ContestRow, REPAIR, Segmentation, Transfer, Uftp, repair, rounds};
use crate::report::Report;
use anyhow::{bail, ensure};
use fleetcast_cli::units::parse_rate_bps;
use std::io;

/// Where the search starts.
const START_BPS: u64 = 2_000_000_000;
/// Rates that are tried at most.
const STEPS_MAX: u32 = 12;
/// Times that a rate is tried before it counts as too high: a shared host has hiccups.
const TRIES: u32 = 2;
/// A higher rate must make the sender faster by this factor.
const LEAST_GAIN: f64 = 1.03;
/// Steps up that may gain nothing, one after the other.
const STEPS_IN_VAIN_MAX: u32 = 2;

/// What `goodput` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Length of the image.
    #[arg(long, default_value_t = 500_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Repair symbols that fleetcast sends, in percent of the source symbols; UFTP has none.
    #[arg(long, default_value = REPAIR, value_parser = repair)]
    repair: String,
    /// Rate of fleetcast's sender in bits of the wire a second, such as 3G [default: three tenths below the fastest
    /// that loses nothing].
    #[arg(long, value_parser = parse_rate_bps)]
    rate: Option<u64>,
    /// Where super-packets become packets.
    #[arg(long, value_enum, default_value_t = Segmentation::Device)]
    segmentation: Segmentation,
}

/// Runs the bench and prints its rows.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    let uftp = Uftp::find()?;
    let contest = Contest::new(options.bytes, options.segmentation)?;
    let rate_bps = match options.rate {
        Some(rate_bps) => rate_bps,
        None => search(|rate_bps| contest.fleetcast(rate_bps, &options.repair))? / 10 * 7,
    };
    eprintln!("fleetcast sends at {} Mbit/s of the wire, UFTP as fast as it can", rate_bps / 1_000_000);
    let (ours, theirs) =
        rounds(options.rounds, || contest.fleetcast(rate_bps, &options.repair), || uftp.transfer(&contest, None))?;
    let mut report = Report::new(io::stdout().lock(), json);
    report.row(&ContestRow::new("goodput", "fleetcast", options.segmentation, &ours, &theirs))?;
    report.row(&ContestRow::new("goodput", Uftp::NAME, options.segmentation, &theirs, &theirs))?;
    report.finish()?;
    ensure!(ours.iter().all(|transfer| transfer.verified), "a transfer of fleetcast's did not end verified");
    Ok(())
}

/// The rate at which the sender is fastest and nothing is lost: a quarter up while that helps, a fifth down until nothing
/// is lost.
fn search(mut transfer: impl FnMut(u64) -> anyhow::Result<Transfer>) -> anyhow::Result<u64> {
    let mut rate_bps = START_BPS;
    // The best rate, and what the sender kept of it.
    let mut best: Option<(u64, f64)> = None;
    let mut steps_in_vain = 0;
    for _ in 0..STEPS_MAX {
        match (try_rate(&mut transfer, rate_bps)?, best) {
            (Some(kept_bps), Some((_, best_bps))) if kept_bps < best_bps * LEAST_GAIN => {
                // The sender is told more and sends no more; on a shared host that may be chance once.
                steps_in_vain += 1;
                if steps_in_vain == STEPS_IN_VAIN_MAX {
                    break;
                }
                rate_bps = rate_bps / 4 * 5;
            }
            (Some(kept_bps), before) => {
                best = Some((rate_bps, kept_bps));
                steps_in_vain = 0;
                // Found on the way down: the next higher one was tried.
                if before.is_none() && rate_bps < START_BPS {
                    break;
                }
                rate_bps = rate_bps / 4 * 5;
            }
            (None, Some(_)) => break,
            (None, None) => rate_bps = rate_bps / 5 * 4,
        }
    }
    match best {
        Some((best_bps, _)) => Ok(best_bps),
        None => bail!("packets are lost even at {} Mbit/s; is something else running here?", rate_bps / 1_000_000),
    }
}

/// What the sender kept of `rate_bps`, if nothing was lost.
fn try_rate(transfer: &mut impl FnMut(u64) -> anyhow::Result<Transfer>, rate_bps: u64) -> anyhow::Result<Option<f64>> {
    for _ in 0..TRIES {
        let tried = transfer(rate_bps)?;
        eprintln!("trying {} Mbit/s: {}", rate_bps / 1_000_000, tried.summary());
        if tried.is_clean() {
            return Ok(Some(tried.sent_bps.unwrap_or(rate_bps as f64)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A transfer that loses packets above `limit_bps`, by a sender that gets no faster than `fastest_bps`.
    fn transfer(rate_bps: u64, limit_bps: u64, fastest_bps: u64) -> Transfer {
        Transfer {
            took: Some(Duration::from_secs(1)),
            image_bytes: 1,
            rate_bps: Some(rate_bps),
            repair: None,
            sent_bps: Some(rate_bps.min(fastest_bps) as f64),
            wire_bytes: 1,
            sender_cpu_s: 0.0,
            receiver_cpu_s: 0.0,
            lost: u64::from(rate_bps.min(fastest_bps) > limit_bps),
            verified: true,
        }
    }

    fn found(limit_bps: u64, fastest_bps: u64) -> Option<u64> {
        search(|rate_bps| Ok(transfer(rate_bps, limit_bps, fastest_bps))).ok()
    }

    #[test]
    fn climbs_and_descends_to_the_last_rate_that_loses_nothing() {
        let fast = u64::MAX;
        assert_eq!(found(3_200_000_000, fast), Some(3_125_000_000));
        assert_eq!(found(2_000_000_000, fast), Some(2_000_000_000));
        assert_eq!(found(1_300_000_000, fast), Some(1_280_000_000));
        assert_eq!(found(1, fast), None);
    }

    #[test]
    fn stops_where_the_sender_can_go_no_faster() {
        assert_eq!(found(u64::MAX, 2_550_000_000), Some(2_500_000_000));
        assert_eq!(found(u64::MAX, 3_000_000_000), Some(3_125_000_000));
    }

    #[test]
    fn one_step_without_gain_does_not_end_the_search() {
        let kept = |rate_bps| if rate_bps == 2_500_000_000 { 2_000_000_000 } else { rate_bps };
        let rate_bps = search(|rate_bps| Ok(transfer(rate_bps, 4_000_000_000, kept(rate_bps))));
        assert_eq!(rate_bps.ok(), Some(3_906_250_000));
    }

    #[test]
    fn one_hiccup_does_not_end_the_search() {
        let mut calls = 0;
        let rate_bps = search(|rate_bps| {
            calls += 1;
            Ok(transfer(rate_bps, if calls == 2 { 0 } else { 3_000_000_000 }, u64::MAX))
        });
        assert_eq!(rate_bps.ok(), Some(2_500_000_000));
    }
}
