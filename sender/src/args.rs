//! The command line of `fleetcast-send`.

mod feedback;
#[cfg(feature = "serve")]
mod fleet;
mod sdp;

pub use feedback::FeedbackArgs;
#[cfg(feature = "serve")]
pub use fleet::FleetArgs;
pub use sdp::SdpArgs;

use crate::affinity::CpuList;
use crate::inspect::Extracts;
use crate::pace::{Burst, Pacing};
use crate::rate::{RateLayer, parse_rate};
use crate::transmit::BackendKind;
use crate::{seal, send};
use clap::{Args, Parser, Subcommand};
use fleetcast_cli::keys::{KeyFileError, read_trust};
use fleetcast_cli::units::{UnitError, parse_permyriad};
use fleetcast_protocol::manifest::TrustStore;
use fleetcast_protocol::partition::{DEFAULT_BLOCK_SYMBOLS, DEFAULT_SYMBOL_SIZE, MAX_BLOCKS};
use fleetcast_protocol::session::{DEFAULT_WINDOW_BLOCKS, Profile, RepairShare};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 unexpected, 2 usage, 3 environment (interface, permission, disk), \
4 not trusted, 6 the image is not what the manifest says, 8 fewer devices hold the image than --require demands, 130 interrupted.";

/// Push one firmware image to a whole fleet over multicast.
#[derive(Debug, Parser)]
#[command(name = "fleetcast-send", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a release key: OUT.key stays where releases are made, OUT.pub goes to every receiver
    Keygen(KeygenArgs),
    /// Hash an image and sign its manifest
    Seal(SealArgs),
    /// Show what a manifest says and check its signature
    Inspect(InspectArgs),
    /// Send an image
    Send(Box<SendArgs>),
    /// Ask a sender that runs with --control: `rate 50M`, `status` or `stop`
    Control(ControlArgs),
    /// Write a session description from which receivers start
    Sdp(SdpArgs),
}

/// Arguments of `keygen`.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// Name of the two files, without .key and .pub
    #[arg(long)]
    pub out: PathBuf,
}

/// Arguments of `seal`.
#[derive(Debug, Args)]
pub struct SealArgs {
    /// The image
    pub image: PathBuf,
    /// Release key (PKCS#8 PEM, Ed25519)
    #[arg(long)]
    pub key: PathBuf,
    /// Product that the image is for
    #[arg(long)]
    pub product: String,
    /// Hardware id that it runs on; may be given several times
    #[arg(long, required = true)]
    pub hardware: Vec<String>,
    /// Version, for people
    #[arg(long)]
    pub version: String,
    /// Release counter: devices never go back to a lower one
    #[arg(long)]
    pub sequence: u64,
    /// Name of the image [default: the file's]
    #[arg(long)]
    pub name: Option<String>,
    /// Where the manifest goes [default: IMAGE.fcm]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Bytes of a symbol, a multiple of 8; 1408 for plain Ethernet only, more for jumbo frames
    #[arg(long, default_value_t = DEFAULT_SYMBOL_SIZE)]
    pub symbol_size: u16,
    /// Symbols of a source block to aim at
    #[arg(long, default_value_t = DEFAULT_BLOCK_SYMBOLS)]
    pub block_symbols: u32,
    /// First second at which it may be installed, in seconds since 1970
    #[arg(long, value_name = "UNIX_S")]
    pub not_before: Option<u64>,
    /// Second from which on it may no longer be installed, in seconds since 1970
    #[arg(long, value_name = "UNIX_S")]
    pub expires: Option<u64>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The manifest
    pub manifest: PathBuf,
    /// Public key that must have signed it (SPKI PEM); may be given several times
    #[arg(long)]
    pub trust: Vec<PathBuf>,
    /// Write the signed bytes (COSE Sig_structure) to this file, for a check by another tool
    #[arg(long, value_name = "FILE")]
    pub tbs: Option<PathBuf>,
    /// Write the signature (64 bytes) to this file
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The image
    pub image: PathBuf,
    /// Its manifest [default: IMAGE.fcm]
    #[arg(long)]
    pub manifest: Option<PathBuf>,
    /// Multicast group, source-specific (232/8, ff3x::/96) or any-source
    #[arg(long)]
    pub group: IpAddr,
    /// UDP port of the group
    #[arg(long)]
    pub port: u16,
    /// Interface to send on
    #[arg(long)]
    pub interface: String,
    /// Source address [default: the interface's]
    #[arg(long)]
    pub source: Option<IpAddr>,
    /// Bits a second, such as 100M: a hard ceiling, unless it is changed through --control
    #[arg(long, value_parser = parse_rate)]
    pub rate: u64,
    /// Which bits the rate counts: l1 (all that occupies the wire), l2 (frames) or ip
    #[arg(long, default_value = "l1")]
    pub rate_layer: RateLayer,
    /// Planned repair, in percent of the source symbols; small blocks get more [default: 5%, with profile no-code 0%]; auto sizes
    /// it from the losses in the file of --report, as the last send left it, and with --feedback each further pass from those reported
    #[arg(long, value_name = "PERCENT|auto", value_parser = parse_repair)]
    pub repair: Option<Repair>,
    /// Passes over the image (cycles of the carousel), or `forever`
    #[arg(long, visible_alias = "carousel", default_value = "1", value_parser = parse_passes)]
    pub passes: Passes,
    /// Blocks interleaved: more rides out longer outages; `all` for the whole image
    #[arg(long, default_value_t = DEFAULT_WINDOW_BLOCKS.to_string())]
    pub interleave: String,
    /// Dialect: fleetcast, flute (RaptorQ, the Rust flute receiver) or no-code (receivers without FEC)
    #[arg(long, default_value = "fleetcast")]
    pub profile: Profile,
    /// Transport session id [default: random]
    #[arg(long)]
    pub tsi: Option<u32>,
    /// TTL or hop limit; with 1 nothing passes a router
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,
    /// DSCP, 0 to 63
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..64))]
    pub dscp: u8,
    /// Let receivers on this host hear it too
    #[arg(long)]
    pub loopback: bool,
    /// What may leave back to back, in packets or in line time such as 750us [default: 250us, and at least 8 packets up to
    /// 1 Gbit/s]
    #[arg(long)]
    pub burst: Option<Burst>,
    /// Who spaces packets out: user (the sender, burst by burst), or within bursts also the kernel's qdisc fq, if it is there
    #[arg(long, default_value = "user")]
    pub pacing: Pacing,
    /// How packets reach the kernel: auto, mmsg, uring, or xdp (AF_XDP, past the network stack; needs CAP_NET_RAW)
    #[arg(long, default_value = "auto")]
    pub backend: BackendKind,
    /// With --backend xdp: tag frames with this 802.1Q VLAN. Other backends send to a VLAN interface, which xdp knows as well
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub vlan: Option<u16>,
    /// Sending threads, each with a socket or ring of its own, that share one rate
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
    /// Processors that the sending threads are pinned to, in turn, such as 0,2-3
    #[arg(long, value_name = "CPUS")]
    pub pin_senders: Option<CpuList>,
    /// Processors that the worker threads are pinned to, in turn
    #[arg(long, value_name = "CPUS")]
    pub pin_workers: Option<CpuList>,
    /// Keep all packets of a pass in memory, with four sets of repair symbols: further passes cost next to nothing
    #[arg(long)]
    pub resident: bool,
    /// Worker threads that prepare packets [default: one less than processors, at least 1]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Listen on this Unix socket for changes of the rate, see the command `control`
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Whether receivers are asked for what they lack
    #[command(flatten)]
    pub feedback: FeedbackArgs,
    /// What receivers do beside listening
    #[cfg(feature = "serve")]
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// Print one JSON object per event
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `control`.
#[derive(Debug, Args)]
pub struct ControlArgs {
    /// The socket that the sender was given with --control
    pub socket: PathBuf,
    /// rate BITS, status, or stop
    #[arg(required = true)]
    pub command: Vec<String>,
}

/// How much repair is planned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Repair {
    /// So much.
    Share(RepairShare),
    /// What the last send's losses take.
    #[cfg(feature = "serve")]
    Auto,
}

/// How many passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes(pub Option<u32>);

fn parse_repair(text: &str) -> Result<Repair, UnitError> {
    match text {
        #[cfg(feature = "serve")]
        "auto" => Ok(Repair::Auto),
        _ => parse_permyriad(text).map(RepairShare::from_permyriad).map(Repair::Share),
    }
}

fn parse_passes(text: &str) -> Result<Passes, String> {
    match text {
        "forever" => Ok(Passes(None)),
        _ => match text.parse() {
            Ok(passes) if passes > 0 => Ok(Passes(Some(passes))),
            _ => Err(format!("'{text}' is no number of passes; write 1 or more, or forever")),
        },
    }
}

impl SealArgs {
    /// What `seal` needs.
    pub fn into_options(self) -> seal::Options {
        seal::Options {
            image: self.image,
            key: self.key,
            out: self.out,
            name: self.name,
            product: self.product,
            hardware: self.hardware,
            version: self.version,
            sequence: self.sequence,
            symbol_size: self.symbol_size,
            block_symbols: self.block_symbols,
            not_before_unix_s: self.not_before,
            expires_unix_s: self.expires,
        }
    }
}

impl InspectArgs {
    /// The keys to check with, or `None` when none was given.
    pub fn trust_store(&self) -> Result<Option<TrustStore>, KeyFileError> {
        read_trust(&self.trust).map(|trust| (!trust.is_empty()).then_some(trust))
    }

    /// The files to write.
    pub fn extracts(&self) -> Extracts {
        Extracts { tbs: self.tbs.clone(), signature: self.signature.clone() }
    }
}

impl SendArgs {
    /// What `send` needs; an error says which argument is wrong.
    pub fn into_options(self) -> Result<send::Options, String> {
        let window_blocks = match self.interleave.as_str() {
            "all" => MAX_BLOCKS,
            text => text
                .parse()
                .ok()
                .filter(|blocks| (1..=MAX_BLOCKS).contains(blocks))
                .ok_or_else(|| format!("'{text}' is no number of blocks from 1 to {MAX_BLOCKS}; or write all"))?,
        };
        if self.vlan.is_some() && self.backend != BackendKind::Xdp {
            return Err(
                "--vlan goes with --backend xdp; for other backends make a VLAN interface and give that".to_owned()
            );
        }
        if self.resident && self.passes.0 == Some(1) {
            return Err("--resident is for a carousel; give --passes 2 or more, or forever".to_owned());
        }
        let default_repair = match self.profile {
            Profile::NoCode => RepairShare::NONE,
            Profile::Fleetcast | Profile::Flute => RepairShare::from_permyriad(500),
        };
        #[cfg(feature = "serve")]
        #[cfg(feature = "serve")]
        let is_sized_by_feedback = self.repair == Some(Repair::Auto) && self.feedback.feedback.is_some();
        #[cfg(not(feature = "serve"))]
        let is_sized_by_feedback = false;
        if is_sized_by_feedback && self.resident {
            return Err("--repair auto with --feedback changes what a pass holds; leave --resident out".to_owned());
        }
        #[cfg(feature = "serve")]
        let fleet = {
            // With feedback no earlier send is needed.
            let by_report = self.fleet.report.is_some() || !is_sized_by_feedback;
            self.fleet.into_options(self.repair == Some(Repair::Auto) && by_report)?
        };
        let repair = match self.repair {
            None => default_repair,
            Some(Repair::Share(share)) => share,
            #[cfg(feature = "serve")]
            Some(Repair::Auto) => {
                fleet.sizing.map_or(default_repair, |sizing| RepairShare::from_permyriad(sizing.permyriad))
            }
        };
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(send::Options {
            manifest: self.manifest.unwrap_or_else(|| seal::manifest_path(&self.image)),
            image: self.image,
            group: self.group,
            port: self.port,
            interface: self.interface,
            source: self.source,
            rate_bps: self.rate,
            rate_layer: self.rate_layer,
            repair,
            passes: self.passes.0,
            window_blocks,
            profile: self.profile,
            tsi: self.tsi,
            ttl: self.ttl,
            dscp: self.dscp,
            loopback: self.loopback,
            burst: self.burst.unwrap_or_default(),
            pacing: self.pacing,
            backend: self.backend,
            vlan_id: self.vlan,
            resident: self.resident,
            threads: usize::from(self.threads),
            pin_senders: self.pin_senders,
            pin_workers: self.pin_workers,
            workers: self.workers.map_or(processors.saturating_sub(1).max(1), usize::from),
            control: self.control,
            feedback: self.feedback.into_config(),
            is_sized_by_feedback,
            #[cfg(feature = "serve")]
            fleet,
            json: self.json,
        })
    }
}
