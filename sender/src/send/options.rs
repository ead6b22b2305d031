//! What the operator decides about a send.

use crate::affinity::CpuList;
#[cfg(feature = "serve")]
use crate::fleet_report::Sizing;
use crate::pace::{Burst, Pacing};
use crate::rate::RateLayer;
use crate::transmit::BackendKind;
#[cfg(feature = "serve")]
use fleetcast_protocol::fleet::DeviceId;
use fleetcast_protocol::session::sender::FeedbackConfig;
use fleetcast_protocol::session::{Profile, RepairShare};
use std::net::IpAddr;
use std::path::PathBuf;

/// What to send, where, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The image.
    pub image: PathBuf,
    /// Its manifest.
    pub manifest: PathBuf,
    /// Group address.
    pub group: IpAddr,
    /// UDP port of the group.
    pub port: u16,
    /// Interface name.
    pub interface: String,
    /// Source address; the interface's when not given.
    pub source: Option<IpAddr>,
    /// Rate in bits a second.
    pub rate_bps: u64,
    /// Which bits the rate counts.
    pub rate_layer: RateLayer,
    /// Planned repair.
    pub repair: RepairShare,
    /// Passes, or `None` for ever.
    pub passes: Option<u32>,
    /// Blocks interleaved.
    pub window_blocks: u16,
    /// Dialect.
    pub profile: Profile,
    /// Transport session id; random when not given.
    pub tsi: Option<u32>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP.
    pub dscp: u8,
    /// Whether receivers on this host hear it too.
    pub loopback: bool,
    /// What may leave back to back.
    pub burst: Burst,
    /// Who spaces packets out.
    pub pacing: Pacing,
    /// How packets reach the kernel.
    pub backend: BackendKind,
    /// With AF_XDP: VLAN to tag frames with.
    pub vlan_id: Option<u16>,
    /// Whether the packets of a pass stay in memory.
    pub resident: bool,
    /// Sending threads.
    pub threads: usize,
    /// Processors for them.
    pub pin_senders: Option<CpuList>,
    /// Worker threads.
    pub workers: usize,
    /// Processors for them.
    pub pin_workers: Option<CpuList>,
    /// Control socket.
    pub control: Option<PathBuf>,
    /// How receivers are asked for what they lack, if they are.
    pub feedback: Option<FeedbackConfig>,
    /// Whether later passes plan what the losses that receivers report take.
    pub is_sized_by_feedback: bool,
    /// What receivers do beside listening.
    #[cfg(feature = "serve")]
    pub fleet: FleetOptions,
    /// Events as JSON.
    pub json: bool,
}

/// What receivers do beside listening.
#[cfg(feature = "serve")]
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// Where the image's ranges are served, if they are.
    pub serve_repair: Option<std::net::SocketAddr>,
    /// URLs to announce.
    pub repair_urls: Vec<String>,
    /// How long nothing must have been asked or reported before serving ends.
    pub linger: std::time::Duration,
    /// Where the report goes, if reports are taken.
    pub report: Option<PathBuf>,
    /// Who shall report; with none whoever does.
    pub devices: Vec<DeviceId>,
    /// How many devices in ten thousand must hold the image.
    pub require_permyriad: Option<u32>,
    /// How many devices in ten thousand report.
    pub sample_permyriad: u32,
    /// Whether repair follows the last report.
    pub is_sized: bool,
    /// What the last report says, if there was one.
    pub sizing: Option<Sizing>,
}
