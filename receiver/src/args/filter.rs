//! Arguments about the source filter.

use crate::filter::{FilterMode, FilterOptions};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use std::net::IpAddr;

/// Arguments of `receive` about whose packets come in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source filter")]
pub struct FilterArgs {
    /// What keeps packets of other sources away
    #[arg(long, value_name = "FILTER", default_value = "auto")]
    pub filter: FilterMode,
    /// With XDP, drop what goes to other ports of the group too: no other program of this host may need it
    #[arg(long)]
    pub exclusive: bool,
}

/// What is done about filters.
#[derive(Debug, Subcommand)]
pub enum FilterCommand {
    /// Show the filters at work on this host, whom they let in, and what they counted (needs CAP_SYS_ADMIN)
    Status {
        /// Print one JSON object per filter
        #[arg(long)]
        json: bool,
    },
}

impl FilterArgs {
    /// Which filter; XDP needs to know whom to let in.
    pub fn into_options(self, sources: &[Option<IpAddr>]) -> Result<FilterOptions> {
        let Self { filter: mode, exclusive } = self;
        if mode == FilterMode::Xdp && sources.contains(&None) {
            bail!("--filter xdp needs --source: an any-source group has nobody to be let in alone");
        }
        if exclusive && matches!(mode, FilterMode::Socket | FilterMode::Off) {
            bail!("--exclusive goes with --filter xdp or auto: a socket's filter cannot shut other ports");
        }
        Ok(FilterOptions { mode, exclusive })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_does_not_go_together() {
        let source: [Option<IpAddr>; 1] = ["10.0.0.1".parse().ok()];
        let args = |filter, exclusive| FilterArgs { filter, exclusive };
        args(FilterMode::Xdp, true).into_options(&source).unwrap();
        args(FilterMode::Auto, false).into_options(&[None]).unwrap();
        let error = args(FilterMode::Xdp, false).into_options(&[source[0], None]).unwrap_err().to_string();
        assert!(error.contains("--source"), "{error}");
        for mode in [FilterMode::Socket, FilterMode::Off] {
            let error = args(mode, true).into_options(&source).unwrap_err().to_string();
            assert!(error.contains("--exclusive"), "{error}");
        }
    }
}
