//! The receiver's loop: packets in, session, staging, checker, apply.

mod error;
mod run;
mod trust;

pub use error::ReceiveError;
pub use trust::Trust;

use crate::apply::{Apply, check_target};
use crate::filter::FilterOptions;
use crate::fleet_report::ReportOptions;
use fleetcast_protocol::channel::Channel;
use fleetcast_protocol::session::receiver::ranges::AnnouncedUrls;
use run::Run;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What to receive, for whom, and what to do with it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the stream comes from.
    pub channel: Channel,
    /// Interface name.
    pub interface: String,
    /// What keeps packets of other sources away.
    pub filter: FilterOptions,
    /// Only this session, when given.
    pub tsi: Option<u32>,
    /// Whose images count.
    pub trust: Trust,
    /// State folder.
    pub state: PathBuf,
    /// Final name.
    pub out: Option<PathBuf>,
    /// What to do with a verified image.
    pub apply: Apply,
    /// Whether to end after one upgrade.
    pub once: bool,
    /// Longest time without progress, with `once`.
    pub timeout: Option<Duration>,
    /// Whether the sender may be asked for symbols that are lacking.
    pub feedback: bool,
    /// How web servers are asked for what multicast does not bring, if at all.
    pub repair: Option<RepairOptions>,
    /// How the sender is told where this device stands, if at all.
    pub fleet_report: Option<ReportOptions>,
    /// Events as JSON.
    pub json: bool,
}

/// How web servers are asked for what multicast does not bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairOptions {
    /// URLs of the image, or of folders that hold it, in the order to be asked.
    pub urls: Vec<String>,
    /// Which announced URLs are asked after those.
    pub announced: AnnouncedUrls,
    /// Bytes that may be fetched for an upgrade.
    pub budget_bytes: Option<u64>,
    /// Multicast must have brought nothing for this long.
    pub offset: Duration,
    /// And then a random part of this passes.
    pub period: Duration,
    /// How long a server may take for an answer.
    pub timeout: Duration,
}

/// Receives until the upgrade is done (with `once`), until `stop` is set, or until something fails.
pub fn receive(options: &Options, stop: &AtomicBool) -> Result<(), ReceiveError> {
    check_target(&options.apply, options.out.as_deref())?;
    Run::start(options)?.run(stop)
}
