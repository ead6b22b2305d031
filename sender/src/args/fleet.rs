//! Arguments of `send` about what receivers do beside listening.

use crate::send::FleetOptions;
use clap::Args;
use fleetcast_cli::units::parse_duration;
use fleetcast_protocol::announcement::{MAX_REPAIR_URLS, MAX_URL_LEN, is_repair_url};
use std::net::SocketAddr;
use std::time::Duration;

/// Arguments of `send` about what receivers do beside listening.
#[derive(Debug, Args)]
#[command(next_help_heading = "Repair by HTTP")]
pub struct FleetArgs {
    /// Serve the image's byte ranges at this address and announce it, such as 0.0.0.0:8080: for fleets that one host can serve
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub serve_repair: Option<SocketAddr>,
    /// Announce this URL of the image on a web server or CDN; receivers ask it with --repair-announced any. May be given several
    /// times
    #[arg(long = "repair-url", value_name = "URL", value_parser = parse_url)]
    pub repair_urls: Vec<String>,
    /// After the last packet, go on serving until nothing was asked for so long
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration, requires = "serve_repair")]
    pub linger: Duration,
}

impl FleetArgs {
    /// What `send` needs; an error says which argument is wrong.
    pub fn into_options(self) -> Result<FleetOptions, String> {
        // The server's own URL is announced too.
        let urls = self.repair_urls.len() + usize::from(self.serve_repair.is_some());
        if urls > MAX_REPAIR_URLS {
            return Err(format!("{urls} repair URLs are too many: {MAX_REPAIR_URLS} fit an announcement"));
        }
        if self.serve_repair.is_some_and(|address| address.ip().is_multicast()) {
            return Err("--serve-repair needs an address of this host, not a multicast group".into());
        }
        Ok(FleetOptions { serve_repair: self.serve_repair, repair_urls: self.repair_urls, linger: self.linger })
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    if is_repair_url(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "'{text}' is no URL to announce: http:// or https://, a host, at most {MAX_URL_LEN} printable characters without spaces"
    ))
}
