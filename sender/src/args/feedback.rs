//! Arguments of `send` about asking receivers for what they lack.

use clap::Args;
use fleetcast_cli::units::{parse_duration, parse_permyriad};
use fleetcast_protocol::announcement::{MAX_GROUP_SIZE, MAX_RTT_MS};
use fleetcast_protocol::session::sender::FeedbackConfig;
use std::time::Duration;

/// Arguments of `send` about asking receivers for what they lack.
#[derive(Debug, Args)]
#[command(next_help_heading = "Repair on demand")]
pub struct FeedbackArgs {
    /// After each pass, ask receivers how many symbols they lack, and multicast the most that one of them does; they answer to this
    /// UDP port of the source. Planned repair can then be small: --repair 0%
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub feedback: Option<u16>,
    /// How many receivers there are, about: of many, only a few shall answer before the others hear that they need not
    #[arg(long, value_name = "RECEIVERS", default_value_t = 10_000, requires = "feedback",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_GROUP_SIZE)))]
    pub group_size: u32,
    /// Longest round trip to a receiver and back; a round of answers takes eight of them
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = parse_rtt, requires = "feedback")]
    pub rtt: Duration,
    /// Symbols sent on request after a pass at most, in percent of the pass; what is then still lacking comes by HTTP or with
    /// the next pass
    #[arg(long, value_name = "PERCENT", default_value = "50%", value_parser = parse_permyriad, requires = "feedback")]
    pub feedback_budget: u32,
}

impl FeedbackArgs {
    /// What the session needs, if receivers are asked.
    pub fn into_config(self) -> Option<FeedbackConfig> {
        Some(FeedbackConfig {
            port: self.feedback?,
            group_size: self.group_size,
            rtt: self.rtt,
            budget_permyriad: self.feedback_budget,
        })
    }
}

fn parse_rtt(text: &str) -> Result<Duration, String> {
    let rtt = parse_duration(text).map_err(|error| error.to_string())?;
    let max = Duration::from_millis(u64::from(MAX_RTT_MS));
    if (Duration::from_millis(1)..=max).contains(&rtt) {
        return Ok(rtt);
    }
    Err(format!("'{text}' is no round trip of 1 ms to {} s", max.as_secs()))
}
