//! The line: the backend, the pace and the threads of one send, and packets flowing through them.

use super::resident;
use super::{Options, SendError};
use crate::affinity::pinned;
use crate::feedback::Reports;
use crate::image::Image;
use crate::interface::Interface;
use crate::pace::{self, KernelPacing, Outcome, Pace, PaceError, Pacing, Progress, Timeline};
use crate::precompute::{self, Filler, Pipeline, Planner, Resident, Shape, Threads};
use crate::qdisc::{PacingError, require_fq};
use crate::rate::Cost;
use crate::report::Report;
use crate::transmit::{self, Backend, Choice, Egress, SlotShape, SocketOptions, Transmit};
use fleetcast_protocol::manifest::UnverifiedManifest;
use fleetcast_protocol::session::sender::SenderSession;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Bytes of packets that one job computes repair for, at most: a whole section of the default window fits.
const REPAIR_JOB_BYTES: usize = 4 << 20;
/// Bytes of source packets of one job, at most.
const SOURCE_JOB_BYTES: usize = 1 << 20;
/// Bytes of slots in all: two jobs of repair, and as much again of source symbols ahead of the pacer.
const SLOT_BYTES: usize = 4 * REPAIR_JOB_BYTES;
/// The largest control packet; slots take any packet.
const MAX_CONTROL_PACKET: usize = 1500;

/// What packets of one length are sent with.
pub struct Line {
    /// The backend, not started.
    pub choice: Choice,
    /// How many bits a packet is.
    pub cost: Cost,
    /// What sending threads share.
    pub pace: Arc<Pace>,
    packet_len: usize,
    senders: Threads,
    workers: Threads,
}

/// Packets under way: workers fill slots already.
pub struct Flow {
    pace: Arc<Pace>,
    pipeline: Pipeline,
    transmits: Vec<Box<dyn Transmit>>,
    slots: usize,
    senders: Threads,
}

impl Line {
    /// Chooses and opens the backend for packets of the image of `packet_len` bytes.
    pub fn open(
        options: &Options,
        interface: &Interface,
        source: IpAddr,
        packet_len: usize,
    ) -> Result<Self, SendError> {
        let senders = pinned(options.threads, options.pin_senders.clone())?;
        let workers = pinned(options.workers, options.pin_workers.clone())?;
        let socket_options = socket_options(options, source);
        let egress = Egress {
            options: &socket_options,
            interface,
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
            kernel: kernel_pacing(options, &*choice.backend, interface, &cost, packet_len)?,
            progress: Progress::default(),
            stop: Arc::new(AtomicBool::new(false)),
        });
        Ok(Self { choice, cost, pace, packet_len, senders, workers })
    }

    /// Starts the backend and the workers on `session`.
    pub fn start(
        self,
        options: &Options,
        mut session: SenderSession,
        image: Image,
        manifest: UnverifiedManifest,
        reports: Option<Reports>,
        report: &Report,
    ) -> Result<Flow, SendError> {
        let (shape, slot_shape, mut count) =
            cut(&*self.choice.backend, &self.pace, self.packet_len, self.senders.count);
        let slot_bytes = self.choice.backend.slot_bytes(&slot_shape);
        let mut resident = None;
        if options.resident {
            let places = resident::places(session.schedule(), shape.slot_packets)?;
            count += places as usize;
            resident::check_memory((count * slot_bytes) as u64)?;
            session = session.with_repair_sets(resident::REPAIR_SETS);
            resident = Some(Resident::new(places));
        }
        let started = self.choice.backend.start(count, &slot_shape).map_err(SendError::Memory)?;
        if resident.is_some() {
            report.resident(count * slot_bytes, started.pages);
        }
        let filler = Filler::new(image, manifest, session.writer());
        let planner = Planner::new(session, self.cost, Arc::clone(&self.pace), shape, resident).with_reports(reports);
        let pipeline = precompute::start(planner, filler, started.slots, &self.workers, started.senders.len())?;
        Ok(Flow { pace: self.pace, pipeline, transmits: started.senders, slots: count, senders: self.senders })
    }
}

impl Flow {
    /// Sends until the end or a stop; `tick` is called meanwhile.
    pub fn run(self, tick: impl FnMut() + Send) -> Result<Outcome, PaceError> {
        pace::run(&self.pace, self.pipeline, self.transmits, self.slots, &self.senders, tick)
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
