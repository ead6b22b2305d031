//! Backend `uring`: io_uring with UDP GSO super-packets, one ring a sending thread.
//!
//! A copied send costs what sendmsg costs. What io_uring adds is SEND_ZC from registered buffers: towards a device that
//! reads the memory itself nothing is copied at all, and a slot is free only when the kernel says so. Where the kernel copies
//! nevertheless (a receiver on the same host, a virtual device) it says that too, and zero copy is left.

mod batch;
mod lent;
mod sender;
mod zero_copy;

use super::layout::{Layout, SlotShape};
use super::message::{MAX_SEGMENTS, MAX_UDP_PAYLOAD};
use super::region::Region;
use super::{Backend, Slot, SlotLimits, Started, Transmit};
use io_uring::{IoUring, Probe, opcode};
use sender::UringSender;
use std::io;
use std::net::UdpSocket;
use thiserror::Error;

/// Slots lent at a time, at most: each owes up to two completions.
const MOST_LENT: u32 = 1024;
/// Completions that the ring holds: two a lent slot and one a message under way.
const COMPLETIONS: u32 = 4096;

/// Why io_uring cannot be used here.
#[derive(Debug, Error)]
pub enum UringError {
    /// The kernel has none.
    #[error("this kernel has no io_uring (it came with Linux 5.1, and may be left out); use --backend mmsg")]
    Missing,
    /// It is forbidden.
    #[error(
        "io_uring is forbidden here: by `sysctl kernel.io_uring_disabled` (0 allows it to all, 1 to CAP_SYS_ADMIN), or by a \
         seccomp filter as containers have it; allow it, or use --backend mmsg"
    )]
    Forbidden,
    /// It lacks an operation.
    #[error("io_uring of this kernel cannot do {0} (Linux 5.6 can); use --backend mmsg")]
    Operation(&'static str),
    /// Something else.
    #[error("cannot set up io_uring: {0}; a raised `ulimit -l` helps on kernels before 5.12; or use --backend mmsg")]
    Setup(#[source] io::Error),
}

impl UringError {
    fn of(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Self::Missing,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            _ => Self::Setup(error),
        }
    }
}

/// The backend.
pub struct Uring {
    rings: Vec<(IoUring, UdpSocket)>,
    limits: SlotLimits,
    gso: bool,
    zero_copy: ZeroCopy,
    huge_pages: bool,
}

/// Whether to try zero copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroCopy {
    /// From registered buffers.
    Try,
    /// No: the egress is no hardware.
    NotHardware,
    /// No: the kernel has no SEND_ZC.
    NoOperation,
}

impl Uring {
    /// Sends through `sockets`, one a sending thread, each connected to the group; the other arguments are those of
    /// [`Mmsg::new`](super::Mmsg::new). Zero copy is tried when `hardware` says that the egress is some.
    pub fn new(
        sockets: Vec<UdpSocket>,
        max_super_packet_bytes: usize,
        huge_pages: bool,
        hardware: bool,
    ) -> Result<Self, UringError> {
        let rings: Vec<_> = sockets
            .into_iter()
            .map(|socket| Ok((ring()?, socket)))
            .collect::<io::Result<_>>()
            .map_err(UringError::of)?;
        let mut probe = Probe::new();
        if let Some((ring, _)) = rings.first() {
            // Kernels before 5.6 cannot be asked, and cannot do it.
            let asked = ring.submitter().register_probe(&mut probe).is_ok();
            if !asked || !probe.is_supported(opcode::SendMsg::CODE) {
                return Err(UringError::Operation("SENDMSG"));
            }
        }
        let zero_copy = match (hardware, probe.is_supported(opcode::SendZc::CODE)) {
            (true, true) => ZeroCopy::Try,
            (true, false) => ZeroCopy::NoOperation,
            (false, _) => ZeroCopy::NotHardware,
        };
        let limits = SlotLimits { max_packets: MAX_SEGMENTS, max_bytes: max_super_packet_bytes.min(MAX_UDP_PAYLOAD) };
        Ok(Self { rings, limits, gso: true, zero_copy, huge_pages })
    }
}

/// A ring whose completions do not interrupt the thread: it looks for them itself.
fn ring() -> io::Result<IoUring> {
    let entries = u32::try_from(2 * batch::MESSAGES).map_err(io::Error::other)?;
    let plain = || IoUring::builder().setup_cqsize(COMPLETIONS).build(entries);
    // Linux 5.19 knows the flag.
    let cooperative = IoUring::builder().setup_cqsize(COMPLETIONS).setup_coop_taskrun().build(entries);
    cooperative.or_else(|error| if error.raw_os_error() == Some(libc::EINVAL) { plain() } else { Err(error) })
}

impl Backend for Uring {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn describe(&self) -> String {
        let zero_copy = match self.zero_copy {
            ZeroCopy::Try => "zero copy (SEND_ZC) as long as the kernel does not copy nevertheless",
            ZeroCopy::NotHardware => "no zero copy, as the interface is no hardware",
            ZeroCopy::NoOperation => "no zero copy, as the kernel has no SEND_ZC (Linux 6.0 has)",
        };
        format!("uring: io_uring with UDP GSO, up to {} bytes a super-packet; {zero_copy}", self.limits.max_bytes)
    }

    fn limits(&self) -> SlotLimits {
        self.limits
    }

    fn start(self: Box<Self>, count: usize, shape: &SlotShape) -> io::Result<Started> {
        let layout = Layout::Contiguous;
        let slot_bytes = layout.slot_bytes(shape);
        let (region, parts) = Region::new(slot_bytes * count, self.huge_pages)?.cut(slot_bytes, count);
        let slots: Vec<Slot> = parts.into_iter().map(|part| Slot::new(part, &layout)).collect();
        let mut senders: Vec<Box<dyn Transmit>> = Vec::with_capacity(self.rings.len());
        for (ring, socket) in self.rings {
            let mut sender = UringSender::new(ring, socket, self.gso, std::sync::Arc::clone(&region));
            if self.zero_copy == ZeroCopy::Try {
                sender.register(slot_bytes, shape.packet_len);
            }
            senders.push(Box::new(sender));
        }
        Ok(Started { slots, senders, pages: region.pages() })
    }
}

#[cfg(test)]
mod tests;
