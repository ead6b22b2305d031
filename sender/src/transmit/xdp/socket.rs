//! AF_XDP sockets: memory registered, rings mapped, bound to a transmit queue.

use super::XdpError;
use super::ring::{Consumer, Producer};
use crate::transmit::Region;
use memmap2::MmapOptions;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XdpDesc, XdpOptionsFlags, XdpRingOffset, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// Entries of the ring of descriptors to send, and of the ring of those that left.
pub const RING_ENTRIES: u32 = 4096;
/// The ring of frames to receive into: the kernel wants one, and nothing is received.
const FILL_ENTRIES: u32 = 64;
/// Bytes of frames that the kernel holds copies of: beyond that it pushes back.
const SEND_BUFFER_BYTES: usize = 16 << 20;
/// A queue that was just given up is busy for some milliseconds.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// How frames come from our memory to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The device reads them where they lie.
    ZeroCopy,
    /// The kernel copies them.
    Copy,
}

/// Where and how a socket is bound.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Index of the device.
    pub device_index: u32,
    /// Its transmit queue.
    pub queue: u32,
    /// Whether a frame may lie in several chunks (kernel 6.6 and newer).
    pub multi_buffer: bool,
}

/// A bound socket with its rings.
#[derive(Debug)]
pub struct XdpSocket {
    fd: OwnedFd,
    /// Descriptors to send.
    pub tx: Producer<XdpDesc>,
    /// Addresses of descriptors whose memory is ours again.
    pub completed: Consumer<u64>,
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl XdpSocket {
    /// Opens the first socket over `region`: zero copy where the driver has it, else copy mode.
    pub fn open(binding: &Binding, region: &Region, chunk_bytes: u32) -> Result<(Self, Mode), XdpError> {
        match Self::open_in(Mode::ZeroCopy, binding, region, chunk_bytes) {
            // Every driver refuses with an error of its own; what is wrong beyond that shows in copy mode too.
            Err(XdpError::Bind { .. }) => {
                Self::open_in(Mode::Copy, binding, region, chunk_bytes).map(|socket| (socket, Mode::Copy))
            }
            socket => socket.map(|socket| (socket, Mode::ZeroCopy)),
        }
    }

    fn open_in(mode: Mode, binding: &Binding, region: &Region, chunk_bytes: u32) -> Result<Self, XdpError> {
        let fd = new_socket()?;
        register(fd.as_fd(), region, chunk_bytes)?;
        let socket = Self::with_rings(fd)?;
        let mut flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
        flags |= match mode {
            Mode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
            Mode::Copy => SocketAddrXdpFlags::XDP_COPY,
        };
        flags.set(SocketAddrXdpFlags::XDP_USE_SG, binding.multi_buffer);
        let address = SocketAddrXdp::new(flags, binding.device_index, binding.queue);
        let bound = patiently(|| bind(&socket.fd, &address));
        // A driver may take the flag and copy all the same.
        let kept = mode == Mode::Copy
            || sockopt::xdp_options(&socket.fd).is_ok_and(|it| it.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY));
        match bound {
            Ok(()) if kept => Ok(socket),
            Ok(()) => Err(XdpError::Bind { queue: binding.queue, error: Errno::OPNOTSUPP.into() }),
            Err(errno) => Err(XdpError::Bind { queue: binding.queue, error: errno.into() }),
        }
    }

    /// Opens one more socket, on another queue, over the memory of `first`.
    pub fn share(first: &Self, binding: &Binding) -> Result<Self, XdpError> {
        let socket = Self::with_rings(new_socket()?)?;
        // Everything else is as the first socket has it.
        let flags = SocketAddrXdpFlags::XDP_SHARED_UMEM;
        let address = SocketAddrXdpWithSharedUmem {
            addr: SocketAddrXdp::new(flags, binding.device_index, binding.queue),
            shared_umem_fd: first.fd.as_fd(),
        };
        patiently(|| bind(&socket.fd, &address))
            .map_err(|errno| XdpError::Bind { queue: binding.queue, error: errno.into() })?;
        Ok(socket)
    }

    fn with_rings(fd: OwnedFd) -> Result<Self, XdpError> {
        sockopt::set_xdp_umem_fill_ring_size(&fd, FILL_ENTRIES)?;
        sockopt::set_xdp_umem_completion_ring_size(&fd, RING_ENTRIES)?;
        sockopt::set_xdp_tx_ring_size(&fd, RING_ENTRIES)?;
        // Whatever is granted only shows in how often the kernel pushes back.
        if sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER_BYTES).is_err() {
            let _ = sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER_BYTES);
        }
        let offsets = sockopt::xdp_mmap_offsets(&fd)?;
        let map = |page_offset: u64, ring: &XdpRingOffset, entry_bytes: usize| {
            let entries_at = usize::try_from(ring.desc).map_err(io::Error::other)?;
            MmapOptions::new().offset(page_offset).len(entries_at + RING_ENTRIES as usize * entry_bytes).map_raw(&fd)
        };
        let tx = map(XDP_PGOFF_TX_RING, &offsets.tx, size_of::<XdpDesc>())?;
        let completed = map(XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, size_of::<u64>())?;
        Ok(Self {
            tx: Producer::new(tx, &offsets.tx, RING_ENTRIES)?,
            completed: Consumer::new(completed, &offsets.cr, RING_ENTRIES)?,
            fd,
        })
    }
}

fn new_socket() -> Result<OwnedFd, XdpError> {
    socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).map_err(|errno| match errno {
        Errno::PERM | Errno::ACCESS => XdpError::NotAllowed,
        Errno::AFNOSUPPORT => XdpError::NoXdpSockets,
        errno => XdpError::Setup(errno.into()),
    })
}

/// Tells the kernel of the memory that frames lie in, which it pins.
fn register(fd: BorrowedFd<'_>, region: &Region, chunk_bytes: u32) -> Result<(), XdpError> {
    let chunk = u64::from(chunk_bytes);
    let registration = XdpUmemReg {
        addr: region.start() as u64,
        // Whole chunks only; slots end before that.
        len: region.len() as u64 / chunk * chunk,
        chunk_size: chunk_bytes,
        headroom: 0,
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    sockopt::set_xdp_umem_reg(fd, registration).map_err(|errno| match errno {
        Errno::NOBUFS | Errno::NOMEM => XdpError::Memory { bytes: registration.len, error: errno.into() },
        errno => XdpError::Setup(errno.into()),
    })
}

/// Tries again for a while when the queue is busy.
fn patiently(mut attempt: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(Errno::BUSY) if start.elapsed() < BUSY_PATIENCE => thread::sleep(BUSY_PAUSE),
            result => return result,
        }
    }
}
