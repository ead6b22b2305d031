//! Goodput: how fast one receiver has a verified image over an unshaped, loss-free wire, with UFTP beside it.
//!
//! Goodput is bits of the image divided by the time from the start of the data until the receiver has the file: for
//! fleetcast until its event `verified` (every block decoded and hashed, the image read back and hashed), for UFTP, which
//! verifies nothing, until its daemon says that the file is complete.
//!
//! fleetcast has no return channel, so it must be told a rate. Unless it is given, the bench looks for the highest one at
//! which nothing is lost, and then measures a tenth below it.

use crate::contest::{Contest, ContestRow, Transfer, Uftp, rounds};
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
/// A sender that keeps less than this share of its rate can go no faster.
const KEPT_SHARE: f64 = 0.97;

/// What `goodput` takes on the command line.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Length of the image.
    #[arg(long, default_value_t = 500_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Rate of fleetcast's sender in bits of the wire a second, such as 3G [default: a tenth below the highest rate that
    /// loses nothing].
    #[arg(long, value_parser = parse_rate_bps)]
    rate: Option<u64>,
}

/// Runs the bench and prints its rows.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    let uftp = Uftp::find()?;
    let contest = Contest::new(options.bytes)?;
    let rate_bps = match options.rate {
        Some(rate_bps) => rate_bps,
        None => search(|rate_bps| contest.fleetcast(rate_bps))? / 10 * 9,
    };
    eprintln!("fleetcast sends at {} Mbit/s of the wire, UFTP as fast as it can", rate_bps / 1_000_000);
    let (ours, theirs) = rounds(options.rounds, || contest.fleetcast(rate_bps), || uftp.transfer(&contest, None))?;
    let mut report = Report::new(io::stdout().lock(), json);
    report.row(&ContestRow::new("goodput", "fleetcast", &ours, &theirs))?;
    report.row(&ContestRow::new("goodput", Uftp::NAME, &theirs, &theirs))?;
    report.finish()?;
    ensure!(ours.iter().all(|transfer| transfer.verified), "a transfer of fleetcast's did not end verified");
    Ok(())
}

/// The highest rate at which a transfer loses nothing: a quarter up while that is so, a fifth down until it is.
fn search(mut transfer: impl FnMut(u64) -> anyhow::Result<Transfer>) -> anyhow::Result<u64> {
    let (mut rate_bps, mut best_bps) = (START_BPS, None);
    for _ in 0..STEPS_MAX {
        match (try_rate(&mut transfer, rate_bps)?, best_bps) {
            (Some(kept_bps), before) => {
                best_bps = Some(kept_bps);
                // It was found on the way down, or is as fast as the sender gets.
                if before.is_none() && rate_bps < START_BPS || kept_bps < rate_bps {
                    break;
                }
                rate_bps = rate_bps / 4 * 5;
            }
            (None, Some(_)) => break,
            (None, None) => rate_bps = rate_bps / 5 * 4,
        }
    }
    match best_bps {
        Some(best_bps) => Ok(best_bps),
        None => bail!("packets are lost even at {} Mbit/s; is something else running here?", rate_bps / 1_000_000),
    }
}

/// The rate that was kept when the sender was told `rate_bps`, if nothing was lost: `rate_bps` or, by a sender that cannot
/// keep it, less.
fn try_rate(transfer: &mut impl FnMut(u64) -> anyhow::Result<Transfer>, rate_bps: u64) -> anyhow::Result<Option<u64>> {
    for _ in 0..TRIES {
        let tried = transfer(rate_bps)?;
        eprintln!("trying {} Mbit/s: {}", rate_bps / 1_000_000, tried.summary());
        if tried.is_clean() {
            return Ok(Some(match tried.sent_bps {
                Some(sent_bps) if sent_bps < rate_bps as f64 * KEPT_SHARE => whole(sent_bps),
                _ => rate_bps,
            }));
        }
    }
    Ok(None)
}

/// A rate without its fraction.
fn whole(rate_bps: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and far below 2^53"
    )]
    let whole_bps = rate_bps as u64;
    whole_bps
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
        assert_eq!(found(u64::MAX, 2_600_000_000), Some(2_600_000_000));
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
