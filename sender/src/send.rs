//! `send`: image → precompute → pace → transmit.

mod error;
mod options;
mod resident;
#[cfg(feature = "serve")]
mod serving;

pub use error::SendError;
#[cfg(feature = "serve")]
pub use options::FleetOptions;
pub use options::Options;

use crate::affinity::pinned;
use crate::control::ControlSocket;
use crate::image::{Image, ImageError};
use crate::interface::Interface;
use crate::pace::{self, KernelPacing, Pace, Pacing, Progress, Timeline};
use crate::precompute::{self, Filler, Planner, Resident, Shape};
use crate::qdisc::{PacingError, require_fq};
use crate::rate::Cost;
use crate::report::Report;
use crate::transmit::{self, Backend, Choice, Egress, SlotShape, SocketOptions};
use fleetcast_protocol::channel::{Channel, ChannelError};
use fleetcast_protocol::manifest::{ImageMismatch, SignedManifest, UnverifiedManifest};
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::sender::{SenderConfig, SenderSession, SymbolWriter};
use serde_json::json;
#[cfg(feature = "serve")]
use serving::Serving;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of packets that one job computes repair for, at most: a whole section of the default window fits.
const REPAIR_JOB_BYTES: usize = 4 << 20;
/// Bytes of source packets of one job, at most.
const SOURCE_JOB_BYTES: usize = 1 << 20;
/// Bytes of slots in all: two jobs of repair, and as much again of source symbols ahead of the pacer.
const SLOT_BYTES: usize = 4 * REPAIR_JOB_BYTES;
/// The largest control packet; slots take any packet.
const MAX_CONTROL_PACKET: usize = 1500;

/// Reads the manifest at `path`, without trusting it: receivers do that.
pub fn read_manifest(path: &Path) -> Result<UnverifiedManifest, SendError> {
    let bytes = fs::read(path).map_err(|source| SendError::ReadManifest { path: path.to_owned(), source })?;
    SignedManifest::parse_unverified(&bytes).map_err(|source| SendError::Manifest { path: path.to_owned(), source })
}

/// Sends until the session is over or `stop` is set.
pub fn send(options: &Options, stop: &AtomicBool) -> Result<(), SendError> {
    check_channel(options)?;
    let manifest = read_manifest(&options.manifest)?;
    let image = Image::open(&options.image)?;
    check_length(&image, &manifest)?;
    let interface = Interface::by_name(&options.interface)?;
    let source = interface.source_for(options.group, options.source)?;
    let channel = Channel::new(Some(source), options.group, options.port)?;
    let tsi = options.profile.tsi(options.tsi.map_or_else(random_tsi, Ok)?);
    let session = SenderSession::new(&session_config(options, tsi), &manifest)?;
    #[cfg(feature = "serve")]
    let serving = Serving::start(&options.fleet, &image, &manifest, source)?;
    #[cfg(feature = "serve")]
    let session = session.with_repair_urls(Serving::announced_urls(&options.fleet, serving.as_ref()))?;

    let symbol_size = manifest.manifest().partition.symbol_size();
    let packet_len = session.writer().packet_len(SymbolId { sbn: 0, esi: 0 });
    interface.check_mtu(options.group, packet_len, symbol_size)?;
    let (senders, workers) =
        (pinned(options.threads, options.pin_senders.clone())?, pinned(options.workers, options.pin_workers.clone())?);
    let socket_options = socket_options(options, source);
    let egress = Egress {
        options: &socket_options,
        interface: &interface,
        threads: options.threads,
        largest_packet: packet_len.max(MAX_CONTROL_PACKET),
        vlan_id: options.vlan_id,
        huge_pages: options.resident,
    };
    let choice = transmit::choose(options.backend, &egress)?;

    let is_tagged = options.vlan_id.is_some() || interface.ethernet().is_some_and(|it| it.vlan_id.is_some());
    let cost = Cost::new(options.rate_layer, options.group).with_tag(is_tagged);
    let pace = Arc::new(Pace {
        timeline: Timeline::new(options.rate_bps),
        burst: options.burst,
        packet_bits: cost.bits(packet_len),
        kernel: kernel_pacing(options, &*choice.backend, &interface, &cost, packet_len)?,
        progress: Progress::default(),
        stop: Arc::new(AtomicBool::new(false)),
    });
    let planned = options.passes.map(|passes| session.schedule().len() * u64::from(passes));
    let mut report = Report::new(options.json, planned, options.rate_bps);
    let asked_to_stop = Arc::new(AtomicBool::new(false));
    let serve = |path| ControlSocket::serve(path, Arc::clone(&pace), planned, Arc::clone(&asked_to_stop));
    let _control = options.control.as_deref().map(serve).transpose()?;
    report_start(&mut report, options, &channel, tsi, &session, &choice, &manifest);

    let (shape, slot_shape, mut count) = cut(&*choice.backend, &pace, packet_len, options.threads);
    let mut session = session;
    let mut resident = None;
    if options.resident {
        let places = resident::places(session.schedule(), shape.slot_packets)?;
        count += places as usize;
        resident::check_memory(resident_bytes(count, &slot_shape) as u64)?;
        session = session.with_repair_sets(resident::REPAIR_SETS);
        resident = Some(Resident::new(places));
    }
    let started = choice.backend.start(count, &slot_shape).map_err(SendError::Memory)?;
    if resident.is_some() {
        report.resident(resident_bytes(count, &slot_shape), started.pages);
    }
    let writer: SymbolWriter = session.writer();
    let planner = Planner::new(session, cost, Arc::clone(&pace), shape, resident);
    let filler = Filler::new(image, manifest, writer);
    let pipeline = precompute::start(planner, filler, started.slots, &workers, started.senders.len())?;
    let is_interrupted = || stop.load(Ordering::Relaxed) || asked_to_stop.load(Ordering::Relaxed);
    let outcome = pace::run(&pace, pipeline, started.senders, count, &senders, || {
        report.progress(&pace, &cost);
        pace.stop.fetch_or(is_interrupted(), Ordering::Relaxed);
    })?;
    let interrupted = is_interrupted();
    let word = match (&outcome.result, interrupted) {
        (Err(_), _) => "failed",
        (Ok(()), true) => "interrupted",
        (Ok(()), false) => "sent",
    };
    report.summary(word, &pace, &outcome, &cost);
    outcome.result?;
    if interrupted {
        return Err(SendError::Interrupted);
    }
    #[cfg(feature = "serve")]
    if let Some(serving) = serving {
        serving.linger(&options.fleet, &report, is_interrupted)?;
    }
    Ok(())
}

/// What can be told of the channel before the interface's addresses are known: a wrong command line is told first.
fn check_channel(options: &Options) -> Result<(), ChannelError> {
    match options.source {
        Some(source) => Channel::new(Some(source), options.group, options.port).map(drop),
        None => Channel::check_destination(options.group, options.port).map(drop),
    }
}

/// The cheap half of comparing image and manifest; the blocks' hashes are compared while sending, ahead of each block.
fn check_length(image: &Image, manifest: &UnverifiedManifest) -> Result<(), ImageError> {
    let (found, expected) = (image.bytes().len() as u64, manifest.manifest().partition.image_len());
    if found == expected { Ok(()) } else { Err(ImageMismatch::Length { found, expected }.into()) }
}

fn random_tsi() -> Result<u32, SendError> {
    getrandom::u32().map_err(|error| SendError::Random(error.to_string()))
}

fn session_config(options: &Options, tsi: u32) -> SenderConfig {
    SenderConfig {
        profile: options.profile,
        tsi,
        passes: options.passes,
        window_blocks: options.window_blocks,
        repair: options.repair,
        rate_bps: options.rate_bps,
        start_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    }
}

fn socket_options(options: &Options, source: IpAddr) -> SocketOptions {
    SocketOptions {
        source,
        group: options.group,
        port: options.port,
        ttl: options.ttl,
        dscp: options.dscp,
        loopback: options.loopback,
    }
}

/// Slots no larger than a thread's share of a burst, and as many as [`SLOT_BYTES`] hold.
fn cut(backend: &dyn Backend, pace: &Pace, packet_len: usize, threads: usize) -> (Shape, SlotShape, usize) {
    let limits = backend.limits();
    let by_bytes = (limits.max_bytes / packet_len).max(1);
    // Each sending thread has its share of a burst.
    let burst = pace.burst.packets(pace.timeline.rate_bps(), pace.packet_bits).div_ceil(threads.max(1) as u64);
    let slot_packets = usize::try_from(burst).unwrap_or(usize::MAX).min(limits.max_packets).min(by_bytes);
    let slot_bytes = (slot_packets * packet_len).max(MAX_CONTROL_PACKET);
    let repair_job_slots = (REPAIR_JOB_BYTES / slot_bytes).max(1);
    let source_job_slots = (SOURCE_JOB_BYTES / slot_bytes).max(1);
    let count = (SLOT_BYTES / slot_bytes).max(4 * repair_job_slots);
    let slot_shape =
        SlotShape { packets: slot_packets, packet_len, largest_packet: packet_len.max(MAX_CONTROL_PACKET) };
    (Shape { slot_packets, repair_job_slots, source_job_slots }, slot_shape, count)
}

/// What the kernel is to pace by, if it is asked to: only where it can.
fn kernel_pacing(
    options: &Options,
    backend: &dyn Backend,
    interface: &Interface,
    cost: &Cost,
    packet_len: usize,
) -> Result<Option<KernelPacing>, PacingError> {
    if options.pacing == Pacing::User {
        return Ok(None);
    }
    if backend.name() == "xdp" {
        return Err(PacingError::Backend(backend.name()));
    }
    require_fq(interface)?;
    Ok(Some(KernelPacing { frame_bytes: cost.frame_bytes(packet_len), packet_bits: cost.bits(packet_len) }))
}

/// Bytes of the packets that `count` slots hold.
fn resident_bytes(count: usize, shape: &SlotShape) -> usize {
    count * shape.packets * shape.packet_len
}

fn report_start(
    report: &mut Report,
    options: &Options,
    channel: &Channel,
    tsi: u32,
    session: &SenderSession,
    choice: &Choice,
    manifest: &UnverifiedManifest,
) {
    let content = manifest.manifest();
    let (repair_large, repair_small) = session.schedule().repair_symbols();
    let passes = options.passes.map_or("without end".to_owned(), |passes| format!("{passes} pass(es)"));
    let text = format!(
        "sending {} {} ({} bytes, {} blocks of {} symbols, {repair_large} repair symbols each) to {channel} on {}, \
         {passes} at {} Mbit/s\nbackend {} ({})",
        content.name,
        content.version,
        content.partition.image_len(),
        content.partition.blocks(),
        content.partition.largest_k(),
        options.interface,
        options.rate_bps as f64 / 1e6,
        choice.backend.describe(),
        choice.why,
    );
    let fields = json!({
        "backend": choice.backend.name(), "backend_detail": choice.backend.describe(), "backend_why": choice.why,
        "threads": options.threads, "source": channel.source, "group": channel.group,
        "port": channel.port, "interface": options.interface, "tsi": tsi, "profile": options.profile.to_string(),
        "rate_bps": options.rate_bps, "passes": options.passes, "name": content.name, "version": content.version,
        "sequence": content.sequence, "image_bytes": content.partition.image_len(), "blocks": content.partition.blocks(),
        "symbol_bytes": content.partition.symbol_size(), "repair_symbols": [repair_large, repair_small],
        "window_blocks": session.schedule().window_blocks(), "pass_packets": session.schedule().len(),
    });
    report.start(fields, &text);
    #[cfg(feature = "serve")]
    if options.fleet.is_sized {
        report.sized(options.fleet.sizing);
    }
}
