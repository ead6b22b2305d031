//! Backend `xdp`: AF_XDP. Frames go from our memory to the device's driver, past the kernel's network stack: no routing, no
//! queueing discipline, no copy where the driver has zero copy.
//!
//! What the stack does for sockets is done here by the workers, ahead of time: Ethernet, VLAN, IP and UDP headers, with
//! checksums ([`frame`]). The rings are our own, over `rustix`, since the slots decide where frames lie: the crates for
//! AF_XDP bring memory of their own, into which packets would have to be copied once more.

mod checksum;
pub mod frame;
mod queue;
pub mod ring;
pub mod socket;

use super::layout::{Layout, SlotShape};
use super::region::Region;
use super::socket::SocketOptions;
use super::{Backend, Slot, SlotLimits, Started, Transmit};
use crate::ethernet::Ethernet;
use frame::{Addresses, Flow, Headers};
use queue::Queue;
use socket::{Binding, Mode, XdpSocket};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use thiserror::Error;

/// Packets of a slot at most: a few calls of the kernel, which takes 32 frames in each.
const MAX_PACKETS: usize = 128;
/// Where frames of ordinary Ethernet lie: the smallest chunks that the kernel takes.
const SMALL_CHUNK_BYTES: usize = 2048;
/// Where larger frames lie: the largest chunks, of which a frame takes several.
const LARGE_CHUNK_BYTES: usize = 4096;
/// Longest headers: Ethernet, VLAN, IPv6, UDP.
const MAX_HEADERS: usize = 14 + 4 + 40 + 8;

/// Why AF_XDP cannot be used.
#[derive(Debug, Error)]
pub enum XdpError {
    /// The kernel has none.
    #[error("this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS); use --backend uring or mmsg")]
    NoXdpSockets,
    /// The process may not.
    #[error(
        "AF_XDP needs the capability CAP_NET_RAW: run as root, or give it to the program with \
         `setcap cap_net_raw+ep`, or use --backend uring or mmsg"
    )]
    NotAllowed,
    /// Not an Ethernet.
    #[error("AF_XDP sends Ethernet frames, and '{0}' is no Ethernet interface; use --backend uring or mmsg")]
    NoEthernet(String),
    /// There are more threads than queues.
    #[error("--threads {threads}: '{device}' has {queues} transmit queue(s), and AF_XDP wants one a thread")]
    Queues {
        /// Threads asked for.
        threads: usize,
        /// The device.
        device: String,
        /// Its queues.
        queues: u32,
    },
    /// Packets that go past the stack do not come back to the host.
    #[error("with AF_XDP packets never come back to this host: leave --loopback out, or use --backend uring or mmsg")]
    Loopback,
    /// Both the interface and the operator have a tag.
    #[error(
        "--vlan {wanted}: the interface has VLAN {has} already, and a frame has one tag; give the device below, or no --vlan"
    )]
    TwoTags {
        /// Of the interface.
        has: u16,
        /// Asked for.
        wanted: u16,
    },
    /// The queue cannot be had.
    #[error(
        "cannot bind AF_XDP to transmit queue {queue}: {error}; does another program use it, or has the device none?"
    )]
    Bind {
        /// The queue.
        queue: u32,
        /// What the kernel said.
        error: io::Error,
    },
    /// The memory cannot be pinned.
    #[error(
        "cannot pin {bytes} bytes for AF_XDP: {error}; raise RLIMIT_MEMLOCK (`ulimit -l unlimited`), or give the program \
         CAP_IPC_LOCK"
    )]
    Memory {
        /// Bytes asked for.
        bytes: u64,
        /// What the kernel said.
        error: io::Error,
    },
    /// Something else failed.
    #[error("cannot set up AF_XDP: {0}")]
    Setup(#[from] io::Error),
}

impl From<rustix::io::Errno> for XdpError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Setup(errno.into())
    }
}

/// What [`Xdp::open`] needs to know.
#[derive(Debug)]
pub struct XdpOptions<'o> {
    /// Source, group, port and marks.
    pub socket: &'o SocketOptions,
    /// The device; an error says which interface is no Ethernet.
    pub ethernet: &'o Ethernet,
    /// Sending threads, each with a queue of its own.
    pub threads: usize,
    /// UDP payload of the largest packets, in bytes.
    pub largest_packet: usize,
    /// VLAN to tag frames with, if that is not the interface's.
    pub vlan_id: Option<u16>,
    /// IP id of the first packet.
    pub first_ip_id: u16,
}

/// The backend, not started yet.
#[derive(Debug)]
pub struct Xdp {
    flow: Flow,
    device: String,
    bindings: Vec<Binding>,
    chunk_bytes: usize,
    mode: Mode,
    /// Keeps the source port ours.
    _port: UdpSocket,
}

impl Xdp {
    /// Finds out whether and how `options` can be sent: binds to the first queue and gives it up again.
    ///
    /// `port` is a UDP socket of the source, whose port the packets carry.
    pub fn open(options: &XdpOptions<'_>, port: UdpSocket) -> Result<Self, XdpError> {
        let (ethernet, socket) = (options.ethernet, options.socket);
        if socket.loopback {
            return Err(XdpError::Loopback);
        }
        let queues = ethernet.tx_queues;
        if options.threads > queues as usize {
            let device = ethernet.device.clone();
            return Err(XdpError::Queues { threads: options.threads, device, queues });
        }
        let vlan_id = match (ethernet.vlan_id, options.vlan_id) {
            (Some(has), Some(wanted)) => return Err(XdpError::TwoTags { has, wanted }),
            (has, wanted) => has.or(wanted),
        };
        let addresses = Addresses::new(socket.source, socket.group)
            .ok_or_else(|| io::Error::other("source and group are of different families"))?;
        let flow = Flow {
            addresses,
            source_port: port.local_addr()?.port(),
            port: socket.port,
            ttl: socket.ttl,
            dscp: socket.dscp,
            source_mac: ethernet.mac,
            vlan_id,
            first_ip_id: options.first_ip_id,
        };
        let multi_buffer = options.largest_packet + MAX_HEADERS > LARGE_CHUNK_BYTES;
        let chunk_bytes = chunk_bytes(options.largest_packet);
        let bindings: Vec<Binding> = (0..queues)
            .take(options.threads)
            .map(|queue| Binding { device_index: ethernet.device_index, queue, multi_buffer })
            .collect();
        let first = bindings.first().ok_or_else(|| io::Error::other("no sending thread"))?;
        let probe = Region::new(16 * LARGE_CHUNK_BYTES, false)?;
        let (_, mode) = XdpSocket::open(first, &probe, chunk(chunk_bytes))?;
        Ok(Self { flow, device: ethernet.device.clone(), bindings, chunk_bytes, mode, _port: port })
    }

    /// Whether the device reads frames where they lie: only then AF_XDP is the fastest way.
    pub fn is_zero_copy(&self) -> bool {
        self.mode == Mode::ZeroCopy
    }

    /// Frames behind their headers; each starts a chunk, so that it takes as few of them as it can.
    fn layout(&self, shape: &SlotShape) -> Layout {
        let headers = Headers::new(&self.flow);
        let head_room = headers.head_room();
        let stride = (head_room + shape.largest_packet).next_multiple_of(self.chunk_bytes);
        Layout::Frames { head_room, stride, framing: Arc::new(headers) }
    }

    /// Opens a socket a queue over `region`.
    fn sockets(&self, region: &Region) -> Result<(Vec<XdpSocket>, Mode), XdpError> {
        let mut sockets: Vec<XdpSocket> = Vec::with_capacity(self.bindings.len());
        let mut mode = self.mode;
        for binding in &self.bindings {
            let socket = match sockets.first() {
                Some(first) => XdpSocket::share(first, binding)?,
                None => {
                    let (socket, found) = XdpSocket::open(binding, region, chunk(self.chunk_bytes))?;
                    mode = found;
                    socket
                }
            };
            sockets.push(socket);
        }
        Ok((sockets, mode))
    }
}

impl Backend for Xdp {
    fn name(&self) -> &'static str {
        "xdp"
    }

    fn describe(&self) -> String {
        let how = match self.mode {
            Mode::ZeroCopy => "zero copy",
            Mode::Copy => "copy mode: the driver has no zero copy",
        };
        let tag = self.flow.vlan_id.map_or(String::new(), |id| format!(", frames tagged with VLAN {id}"));
        let queues = self.bindings.len();
        format!("xdp: AF_XDP on {} queue(s) of {}, {how}{tag}", queues, self.device)
    }

    fn limits(&self) -> SlotLimits {
        SlotLimits { max_packets: MAX_PACKETS, max_bytes: MAX_PACKETS * self.chunk_bytes * 16 }
    }

    fn slot_bytes(&self, shape: &SlotShape) -> usize {
        self.layout(shape).slot_bytes(shape)
    }

    fn start(self: Box<Self>, count: usize, shape: &SlotShape) -> io::Result<Started> {
        let layout = self.layout(shape);
        let slot_bytes = layout.slot_bytes(shape);
        let region = Region::new(slot_bytes * count, false)?;
        let (sockets, mode) = self.sockets(&region).map_err(io::Error::other)?;
        let (region, parts) = region.cut(slot_bytes, count);
        let queue = |socket| Queue::new(socket, mode, self.chunk_bytes, slot_bytes, count, Arc::clone(&region));
        let senders = sockets.into_iter().map(|socket| Box::new(queue(socket)) as Box<dyn Transmit>).collect();
        let slots = parts.into_iter().map(|part| Slot::new(part, &layout)).collect();
        Ok(Started { slots, senders, pages: region.pages() })
    }
}

/// The chunks for packets of this size.
fn chunk_bytes(largest_packet: usize) -> usize {
    if largest_packet + MAX_HEADERS <= SMALL_CHUNK_BYTES { SMALL_CHUNK_BYTES } else { LARGE_CHUNK_BYTES }
}

/// As the kernel takes it: one of the two constants above.
fn chunk(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
