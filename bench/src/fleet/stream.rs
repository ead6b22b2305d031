//! The live stream as the emulator takes it: read by a thread that does nothing else, so that nothing is lost while thousands of
//! routers are served.

use anyhow::Context;
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::wire::{Packet, TOI_IMAGE};
use fleetcast_receiver::ingest::{Batch, Joined};
use fleetcast_tests::command::run;
use fleetcast_tests::loss::identity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A packet that is not read in time is lost for good: nothing comes before that.
const RECEIVING_PRIORITY: u8 = 15;
/// How often the end is looked for while nothing comes.
const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A packet.
#[derive(Debug)]
pub struct Heard {
    /// What the loss programs know it by.
    pub identity: Option<u64>,
    /// Bytes of its UDP payload.
    pub len: usize,
    pub content: Content,
}

/// What of a packet matters.
#[derive(Debug)]
pub enum Content {
    Symbol(SymbolId),
    Control(Vec<u8>),
}

/// Packets that were received with one system call.
#[derive(Debug)]
pub struct Chunk {
    pub at: Instant,
    pub packets: Vec<Heard>,
}

/// What the thread did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Received {
    pub packets: u64,
    pub socket_drops: u64,
    pub cpu: Duration,
}

/// Reads until `stop`, and hands over what came.
pub fn receive(joined: &Joined, out: &mpsc::Sender<Chunk>, stop: &AtomicBool) -> anyhow::Result<Received> {
    prefer(RECEIVING_PRIORITY);
    let (mut batch, mut received) = (Batch::default(), Received::default());
    while !stop.load(Ordering::Relaxed) {
        poll(&mut [PollFd::new(&joined.socket, PollFlags::IN)], Some(&POLL)).context("cannot wait for packets")?;
        loop {
            let came = batch.receive(&joined.socket).context("cannot receive")?;
            received.socket_drops = came.dropped.map_or(received.socket_drops, u64::from);
            if came.messages == 0 {
                break;
            }
            let packets: Vec<Heard> = batch.datagrams().map(heard).collect();
            received.packets += packets.len() as u64;
            if out.send(Chunk { at: Instant::now(), packets }).is_err() {
                break;
            }
        }
    }
    Ok(Received { cpu: thread_cpu(), ..received })
}

fn heard(datagram: &[u8]) -> Heard {
    let symbol = Packet::parse(datagram).ok().filter(|packet| packet.header.toi == TOI_IMAGE).and_then(|packet| {
        let id = packet.payload_id().ok()?;
        Some(SymbolId { sbn: u8::try_from(id.sbn).ok()?, esi: id.esi })
    });
    let content = symbol.map_or_else(|| Content::Control(datagram.to_vec()), Content::Symbol);
    Heard { identity: identity(datagram), len: datagram.len(), content }
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Has the kernel prefer the calling thread, at this real-time priority, where it lets us: without that the run says when it
/// falls behind.
pub fn prefer(priority: u8) {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let _ = run(Command::new("chrt").args(["--rr", "--pid", &priority.to_string(), &thread]));
}
