//! The command line of `fleetcast-recv`.

mod filter;

pub use filter::{FilterArgs, FilterCommand};

use crate::apply::Apply;
use crate::fleet_report::ReportOptions;
use crate::receive::{Options, RepairOptions, Trust};
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fleetcast_cli::keys::read_trust;
use fleetcast_cli::units::{parse_bytes, parse_duration, parse_share};
use fleetcast_protocol::announcement::{MAX_URL_LEN, is_repair_url};
use fleetcast_protocol::channel::Channel;
use fleetcast_protocol::fleet::DeviceId;
use fleetcast_protocol::sdp::SessionDescription;
use fleetcast_protocol::session::receiver::ranges::{AnnouncedUrls, MAX_SERVERS};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 unexpected, 2 usage, 3 environment (interface, permission, disk, state \
folder in use), 4 refused (signature, product, hardware, rollback, expiry), 5 no progress for --timeout, \
6 verification failed, 7 apply failed, 130 interrupted.";

/// In place of a key file: trust nobody, and take what comes.
const TRUST_NONE: &str = "none";

/// Receive a firmware image from a multicast session, verify it, and apply it.
#[derive(Debug, Parser)]
#[command(name = "fleetcast-recv", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive upgrades
    Receive(Box<ReceiveArgs>),
    /// The source filters of this host
    #[command(subcommand)]
    Filter(FilterCommand),
}

/// Arguments of `receive`.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// Session description that gives source, group and port (`fleetcast-send sdp` writes one)
    #[arg(conflicts_with_all = ["source", "group", "port"])]
    pub sdp: Option<PathBuf>,
    /// The only address that may send; leave it out for any-source groups
    #[arg(long)]
    pub source: Option<IpAddr>,
    /// Multicast group
    #[arg(long, required_unless_present = "sdp")]
    pub group: Option<IpAddr>,
    /// UDP port of the group
    #[arg(long, required_unless_present = "sdp")]
    pub port: Option<u16>,
    /// Interface to receive on
    #[arg(long)]
    pub interface: String,
    /// Transport session id; any when not given
    #[arg(long)]
    pub tsi: Option<u32>,
    /// Public key whose manifests count (SPKI PEM); may be given several times. The word none instead takes any file that
    /// an FDT describes, by any FLUTE sender: NOTHING is authenticated then
    #[arg(long, required = true)]
    pub trust: Vec<PathBuf>,
    /// This device's product; required unless --trust none
    #[arg(long)]
    pub product: Option<String>,
    /// This device's hardware id; required unless --trust none
    #[arg(long)]
    pub hardware: Option<String>,
    /// Folder for staging and for what is installed; one receiver at a time
    #[arg(long)]
    pub state: PathBuf,
    /// Final name of the image [default with --apply file: its name in the manifest, in the working folder]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// What to do with a verified image: none, file (rename it to --out) or exec:COMMAND
    #[arg(long, default_value = "file")]
    pub apply: Apply,
    /// End after one upgrade
    #[arg(long)]
    pub once: bool,
    /// With --once: longest time without progress, such as 60s
    #[arg(long, value_parser = parse_duration, requires = "once")]
    pub timeout: Option<Duration>,
    /// Never tell the sender which symbols are lacking. Else that goes to --source, by UDP, when the sender asks for it
    #[arg(long)]
    pub no_feedback: bool,
    /// Whose packets come in
    #[command(flatten)]
    pub source_filter: FilterArgs,
    /// What multicast does not bring, and how it is fetched
    #[command(flatten)]
    pub repair: RepairArgs,
    /// How the sender is told where this device stands
    #[command(flatten)]
    pub fleet_report: ReportArgs,
    /// Print one JSON object per event
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `receive` about reports to the sender.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports to the sender")]
pub struct ReportArgs {
    /// POST to this URL where this device stands: http://SENDER:PORT/report for `fleetcast-send send --report`
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub report_url: Option<String>,
    /// This device's name in reports [default: a random one, kept in the state folder]
    #[arg(long, value_name = "ID", requires = "report_url")]
    pub device_id: Option<DeviceId>,
    /// Each report waits a random part of so long, so that a fleet does not speak all at once
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration, requires = "report_url")]
    pub report_period: Duration,
    /// Share of the devices that report on a release, by their names: give the sender the same
    #[arg(long, value_name = "PERCENT", default_value = "100%", value_parser = parse_share, requires = "report_url")]
    pub report_sample: u32,
}

/// Arguments of `receive` about web servers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Repair by HTTP")]
pub struct RepairArgs {
    /// Web server to fetch from what multicast does not bring: URL of the image, or of the folder that holds it under its name
    /// (with / at the end); may be given several times, and they are asked in this order
    #[arg(long = "repair-url", value_name = "URL", value_parser = parse_url)]
    pub urls: Vec<String>,
    /// Which URLs that the sender announces are asked after those: those on the host of --source, any (anybody who can forge
    /// its packets may then choose whom this device asks), or none
    #[arg(long = "repair-announced", value_name = "WHICH", default_value = "source")]
    pub announced: Announced,
    /// Most bytes to fetch for one upgrade, such as 20M [default: no limit]
    #[arg(long = "repair-budget", value_name = "BYTES", value_parser = parse_bytes)]
    pub budget: Option<u64>,
    /// Fetch when multicast has brought nothing for so long
    #[arg(long = "repair-offset", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub offset: Duration,
    /// And a random part of so long, so that a fleet does not ask all at once
    #[arg(long = "repair-period", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub period: Duration,
    /// How long a web server may take to answer, beside the time for 16 kB/s
    #[arg(long = "repair-timeout", value_name = "TIME", default_value = "20s", value_parser = parse_duration)]
    pub answer_timeout: Duration,
}

/// Which announced URLs are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Announced {
    /// None
    None,
    /// Those on the host that sends
    Source,
    /// Any
    Any,
}

impl ReceiveArgs {
    /// What `receive` needs; an error says which argument is wrong.
    pub fn into_options(self) -> Result<Options> {
        if self.apply == Apply::None && self.out.is_some() {
            bail!("--out has no use with --apply none, which leaves the verified image in the state folder");
        }
        let (channel, sdp_tsi) = self.channel()?;
        let trust = self.trust()?;
        let repair = self.repair.into_options(&trust, channel.source)?;
        let trusts_nobody = matches!(trust, Trust::Nobody);
        Ok(Options {
            channel,
            filter: self.source_filter.into_options(&[channel.source])?,
            tsi: self.tsi.or(sdp_tsi),
            interface: self.interface,
            trust,
            state: self.state,
            out: self.out,
            apply: self.apply,
            once: self.once,
            timeout: self.timeout,
            feedback: !self.no_feedback && !trusts_nobody,
            repair,
            fleet_report: self.fleet_report.into_options(trusts_nobody)?,
            json: self.json,
        })
    }

    fn trust(&self) -> Result<Trust> {
        if !self.trust.iter().any(|path| path.as_os_str() == TRUST_NONE) {
            let (Some(product), Some(hardware)) = (&self.product, &self.hardware) else {
                bail!("--product and --hardware are required: a manifest says for which devices it is");
            };
            let (product, hardware) = (product.clone(), hardware.clone());
            return Ok(Trust::Keys { store: read_trust(&self.trust)?, product, hardware });
        }
        if self.trust.len() > 1 {
            bail!("--trust none cannot be combined with keys: what comes is authenticated, or it is not");
        }
        if let Apply::Exec(_) = self.apply {
            bail!("--apply exec is refused with --trust none: no hook runs on what anybody may have sent");
        }
        Ok(Trust::Nobody)
    }

    /// The channel, and the TSI if the session description names one.
    fn channel(&self) -> Result<(Channel, Option<u32>)> {
        match (&self.sdp, self.group, self.port) {
            (Some(path), _, _) => {
                let description = read_sdp(path)?;
                Ok((description.channel, description.tsi))
            }
            (None, Some(group), Some(port)) => Ok((Channel::new(self.source, group, port)?, None)),
            _ => bail!("give a session description, or --group and --port"),
        }
    }
}

impl ReportArgs {
    /// How to report, if at all.
    fn into_options(self, trusts_nobody: bool) -> Result<Option<ReportOptions>> {
        let Some(url) = self.report_url else { return Ok(None) };
        if trusts_nobody {
            bail!("--report-url has no use with --trust none: reports are about signed releases");
        }
        Ok(Some(ReportOptions {
            url,
            period: self.report_period,
            sample_permyriad: self.report_sample,
            device: self.device_id,
        }))
    }
}

impl RepairArgs {
    /// How to fetch; `None` when there is nobody to be asked.
    fn into_options(self, trust: &Trust, source: Option<IpAddr>) -> Result<Option<RepairOptions>> {
        if let Trust::Nobody = trust {
            if !self.urls.is_empty() {
                bail!("--repair-url has no use with --trust none: no hash would tell whether a server is right");
            }
            return Ok(None);
        }
        if self.urls.len() > MAX_SERVERS {
            bail!("at most {MAX_SERVERS} --repair-url can be given, not {}", self.urls.len());
        }
        let announced = match self.announced {
            Announced::None => AnnouncedUrls::Ignored,
            Announced::Source => AnnouncedUrls::OfSources(source.into_iter().collect()),
            Announced::Any => AnnouncedUrls::Any,
        };
        if self.urls.is_empty() && matches!(announced, AnnouncedUrls::Ignored) {
            return Ok(None);
        }
        Ok(Some(RepairOptions {
            urls: self.urls,
            announced,
            budget_bytes: self.budget,
            offset: self.offset,
            period: self.period,
            timeout: self.answer_timeout,
        }))
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    if is_repair_url(text) && text.starts_with("http://") {
        return Ok(text.to_owned());
    }
    Err(format!(
        "'{text}' is no URL that can be asked: http://, a host, at most {MAX_URL_LEN} printable characters without spaces; for \
         example http://repair.example/firmware/"
    ))
}

fn read_sdp(path: &Path) -> Result<SessionDescription> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    SessionDescription::parse(&text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
