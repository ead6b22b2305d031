//! Sending threads allocate nothing between start and end: counted by the allocator itself, over the loopback.

use fleetcast_protocol::keys::signing_key_from_random;
use fleetcast_protocol::manifest::{ImageHashes, Manifest, SignedManifest};
use fleetcast_protocol::partition::Partition;
use fleetcast_protocol::session::sender::{SenderConfig, SenderSession};
use fleetcast_protocol::session::{Profile, RepairShare};
use fleetcast_sender::image::Image;
use fleetcast_sender::interface::Interface;
use fleetcast_sender::pace::{self, Burst, Pace, Progress, Timeline};
use fleetcast_sender::precompute::{self, Filler, Planner, Shape, Threads};
use fleetcast_sender::rate::{Cost, RateLayer};
use fleetcast_sender::transmit::{BackendKind, Egress, SlotShape, SocketOptions, choose};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

struct Counting;

thread_local! {
    static IS_SENDER: Cell<bool> = const { Cell::new(false) };
}
static IS_ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system allocator's; counting touches no memory but its own statics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_ON.load(Ordering::Relaxed) && IS_SENDER.try_with(Cell::get).unwrap_or(false) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RATE_BPS: u64 = 300_000_000;
/// Looks of the main thread, 50 ms apart, before counting and until the end.
const TICKS: (u32, u32) = (2, 12);

/// Sends a small image again and again; returns packets sent and allocations of the sending threads meanwhile.
fn send(kind: BackendKind) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    fs::write(&path, &bytes).unwrap();
    let partition = Partition::new(bytes.len() as u64, 1344, 3).unwrap();
    let hashes = ImageHashes::compute(&partition, &bytes).unwrap();
    let manifest = Manifest {
        name: "image".into(),
        product: "p".into(),
        hardware: vec!["h".into()],
        version: "1".into(),
        sequence: 1,
        image_sha256: hashes.image_sha256,
        partition,
        block_sha256: hashes.block_sha256,
        not_before_unix_s: None,
        expires_unix_s: None,
    };
    let signed = SignedManifest::sign(&manifest, &signing_key_from_random(&[1; 32])).unwrap();
    let manifest = SignedManifest::parse_unverified(signed.bytes()).unwrap();
    let config = SenderConfig {
        profile: Profile::Fleetcast,
        tsi: 1,
        passes: None,
        window_blocks: 2,
        repair: RepairShare::from_permyriad(500),
        rate_bps: RATE_BPS,
        start_unix_s: 0,
    };
    let session = SenderSession::new(&config, &manifest).unwrap();

    let interface = Interface::by_name("lo").unwrap();
    let group: IpAddr = "239.7.7.8".parse().unwrap();
    let source = "127.0.0.1".parse().unwrap();
    let options = SocketOptions { source, group, port: 47_124, ttl: 1, dscp: 0, loopback: false };
    let egress = Egress {
        options: &options,
        interface: &interface,
        threads: 2,
        largest_packet: 1500,
        vlan_id: None,
        huge_pages: false,
    };
    let cost = Cost::new(RateLayer::L1, group);
    let pace = Arc::new(Pace {
        timeline: Timeline::new(RATE_BPS),
        burst: Burst::Default,
        packet_bits: cost.bits(1364),
        kernel: None,
        progress: Progress::default(),
        stop: Arc::default(),
    });
    let shape = Shape { slot_packets: 4, repair_job_slots: 64, source_job_slots: 32 };
    let slots = SlotShape { packets: 4, packet_len: 1364, largest_packet: 1500 };
    let started = choose(kind, &egress).unwrap().backend.start(400, &slots).unwrap();
    let filler = Filler::new(Image::open(&path).unwrap(), manifest, session.writer());
    let planner = Planner::new(session, cost, Arc::clone(&pace), shape, None);
    let pipeline = precompute::start(planner, filler, started.slots, &Threads::new(1), 2).unwrap();
    let threads = Threads { count: 2, prepare: Arc::new(|_| IS_SENDER.set(true)) };
    ALLOCATIONS.store(0, Ordering::Relaxed);
    let mut ticks = 0;
    let outcome = pace::run(&pace, pipeline, started.senders, 400, &threads, || {
        ticks += 1;
        IS_ON.store((TICKS.0..TICKS.1).contains(&ticks), Ordering::Relaxed);
        pace.stop.store(ticks > TICKS.1, Ordering::Relaxed);
    })
    .unwrap();
    outcome.result.unwrap();
    (pace.progress.packets(), ALLOCATIONS.load(Ordering::Relaxed))
}

#[test]
fn sending_threads_allocate_nothing_once_they_send() {
    for kind in [BackendKind::Mmsg, BackendKind::Uring] {
        let (packets, allocations) = send(kind);
        assert!(packets > 1000, "{kind:?}: only {packets} packets left");
        assert_eq!(allocations, 0, "{kind:?}, in {packets} packets");
    }
}
