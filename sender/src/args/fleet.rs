//! Arguments of `send` about what receivers do beside listening.

use crate::fleet_report::{Sizing, read_devices};
use crate::send::FleetOptions;
use clap::Args;
use fleetcast_cli::units::{parse_duration, parse_share};
use fleetcast_protocol::announcement::{MAX_REPAIR_URLS, MAX_URL_LEN, is_repair_url};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `send` about what receivers do beside listening.
#[derive(Debug, Args)]
#[command(next_help_heading = "Repair by HTTP, and reports")]
pub struct FleetArgs {
    /// Serve the image's byte ranges at this address and announce it, such as 0.0.0.0:8080: for fleets that one host can serve
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub serve_repair: Option<SocketAddr>,
    /// Announce this URL of the image on a web server or CDN; receivers ask it with --repair-announced any. May be given several
    /// times
    #[arg(long = "repair-url", value_name = "URL", value_parser = parse_url)]
    pub repair_urls: Vec<String>,
    /// After the last packet, go on until nothing was asked or reported for so long; a device that was not heard for so long is silent
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration, requires = "serve_repair")]
    pub linger: Duration,
    /// Take reports of where devices stand at http://HOST:PORT/report, and write them to this file (JSON, and CSV beside it)
    #[arg(long, value_name = "FILE", requires = "serve_repair")]
    pub report: Option<PathBuf>,
    /// The devices that shall report, one id a line: whoever is missing is silent, and nobody else counts [default: whoever
    /// reports]
    #[arg(long, value_name = "FILE", requires = "report")]
    pub devices: Option<PathBuf>,
    /// Share of the devices that must hold the image, verified, at the end; else exit code 8
    #[arg(long, value_name = "PERCENT", value_parser = parse_share, requires = "report")]
    pub require: Option<u32>,
    /// Share of the devices that report: what receivers are given as --report-sample
    #[arg(long, value_name = "PERCENT", default_value = "100%", value_parser = parse_share, requires = "report")]
    pub report_sample: u32,
}

impl FleetArgs {
    /// What `send` needs; an error says which argument is wrong. With `is_sized`, repair follows the last report.
    pub fn into_options(self, is_sized: bool) -> Result<FleetOptions, String> {
        // The server's own URL is announced too.
        let urls = self.repair_urls.len() + usize::from(self.serve_repair.is_some());
        if urls > MAX_REPAIR_URLS {
            return Err(format!("{urls} repair URLs are too many: {MAX_REPAIR_URLS} fit an announcement"));
        }
        if self.serve_repair.is_some_and(|address| address.ip().is_multicast()) {
            return Err("--serve-repair needs an address of this host, not a multicast group".into());
        }
        let sizing = match (&self.report, is_sized) {
            (Some(path), true) => Sizing::from_report(path).map_err(|error| error.to_string())?,
            (None, true) => {
                return Err(
                    "--repair auto needs --report FILE, in which the last send left the losses, or --feedback".into()
                );
            }
            (_, false) => None,
        };
        let devices = self.devices.as_deref().map(read_devices).transpose().map_err(|error| error.to_string())?;
        Ok(FleetOptions {
            serve_repair: self.serve_repair,
            repair_urls: self.repair_urls,
            linger: self.linger,
            report: self.report,
            devices: devices.unwrap_or_default(),
            require_permyriad: self.require,
            sample_permyriad: self.report_sample,
            is_sized,
            sizing,
        })
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
