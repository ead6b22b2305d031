//! The bare loops: no FEC, no headers of ours, no pacing, no other thread; only bytes of a large buffer and the kernel.

use super::row::Measured;
use super::{GROUP, PACKET_BYTES, PORT};
use anyhow::{Context, anyhow, ensure};
use fleetcast_sender::interface::Interface;
use fleetcast_sender::transmit::xdp::frame::{Addresses, Flow, Headers};
use fleetcast_sender::transmit::xdp::socket::{Binding, XdpSocket};
use fleetcast_sender::transmit::{Framing, Region, SocketOptions, open};
use fleetcast_tests::pair::{INTERFACE, Pair, SENDER};
use fleetcast_tests::sink::Sink;
use rustix::io::Errno;
use rustix::net::xdp::{XdpDesc, XdpDescOptions};
use rustix::net::{SendFlags, send};
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// The most segments that every kernel takes.
const MAX_SEGMENTS: usize = 64;
/// Frames of AF_XDP lie in chunks of this size.
const CHUNK_BYTES: usize = 2048;
/// Descriptors that are handed over with one call.
const XDP_BATCH: usize = 64;

/// A loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// A packet a call.
    Sendto,
    /// A super-packet a call.
    Gso,
    /// AF_XDP in copy mode or zero copy, whichever there is.
    Xdp,
}

impl Bare {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sendto => "sendto",
            Self::Gso => "bare-gso",
            Self::Xdp => "bare-xdp",
        }
    }

    /// Sends `buffer` once, and says what that took. CPU time is that of the one thread.
    pub fn measure(self, pair: &Pair, sink: &Sink, buffer: &[u8]) -> anyhow::Result<Measured> {
        let packets = (buffer.len() / PACKET_BYTES) as u64;
        let cpu_s = pair.sender().enter(|| match self {
            Self::Sendto => send_all(buffer, PACKET_BYTES, None),
            Self::Gso => send_all(buffer, super_packet_bytes()?, Some(PACKET_BYTES)),
            Self::Xdp => send_frames(buffer),
        })??;
        // Cables hand over at once: what was sent is counted.
        Ok(Measured::of_all(packets, &sink.totals()?, frame_bytes(), cpu_s))
    }
}

/// Bytes of an Ethernet frame of the image's packets, without FCS.
pub fn frame_bytes() -> f64 {
    (14 + 20 + 8 + PACKET_BYTES) as f64
}

fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn group() -> anyhow::Result<IpAddr> {
    GROUP.parse().context("the group")
}

fn interface() -> anyhow::Result<Interface> {
    Ok(Interface::by_name(INTERFACE)?)
}

/// A socket as the sender has it.
fn socket() -> anyhow::Result<(UdpSocket, SocketOptions)> {
    let options =
        SocketOptions { source: SENDER.0.into(), group: group()?, port: PORT, ttl: 16, dscp: 0, loopback: false };
    Ok((open(&options, &interface()?)?, options))
}

/// Whole packets of a super-packet below the GSO cliff.
fn super_packet_bytes() -> anyhow::Result<usize> {
    let most = interface()?.max_super_packet_bytes(group()?);
    Ok((most / PACKET_BYTES).min(MAX_SEGMENTS) * PACKET_BYTES)
}

/// Sends whole packets of `buffer`, `step` bytes a call.
fn send_all(buffer: &[u8], step: usize, segment: Option<usize>) -> anyhow::Result<f64> {
    let (socket, _) = socket()?;
    if let Some(segment) = segment {
        set_segment(&socket, segment)?;
    }
    let whole = buffer.len() / PACKET_BYTES * PACKET_BYTES;
    let before = thread_cpu_s();
    for bytes in buffer[..whole].chunks(step) {
        while let Err(error) = socket.send(bytes) {
            ensure!(is_back_pressure(&error), "cannot send: {error}");
        }
    }
    Ok(thread_cpu_s() - before)
}

fn is_back_pressure(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN))
}

/// Has the kernel cut what is sent into packets of `segment` bytes.
fn set_segment(socket: &UdpSocket, segment: usize) -> anyhow::Result<()> {
    let segment = libc::c_int::try_from(segment)?;
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>())?;
    // SAFETY: the option is an int, and the kernel reads one during the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const segment).cast(), len)
    };
    ensure!(result == 0, "this kernel has no UDP GSO: {}", io::Error::last_os_error());
    Ok(())
}

/// Sends the packets of `buffer` as frames that lie in one registered memory, made before the clock starts.
fn send_frames(buffer: &[u8]) -> anyhow::Result<f64> {
    let (port, options) = socket()?;
    let interface = interface()?;
    let ethernet = interface.ethernet().context("the lab's interface is an Ethernet")?;
    let headers = Headers::new(&Flow {
        addresses: Addresses::new(options.source, options.group).context("one family")?,
        source_port: port.local_addr()?.port(),
        port: PORT,
        ttl: options.ttl,
        dscp: options.dscp,
        source_mac: ethernet.mac,
        vlan_id: None,
        first_ip_id: 0,
    });
    let packets = buffer.len() / PACKET_BYTES;
    let region = Region::new(packets * CHUNK_BYTES, false)?;
    let (region, mut parts) = region.cut(CHUNK_BYTES, packets);
    let frame_len = headers.head_room() + PACKET_BYTES;
    for ((index, part), payload) in (0..).zip(&mut parts).zip(buffer.chunks(PACKET_BYTES)) {
        let frame = &mut part.bytes_mut()[..frame_len];
        headers.prepare(frame);
        frame[headers.head_room()..].copy_from_slice(payload);
        headers.finish(index, frame);
    }
    let binding = Binding { device_index: ethernet.device_index, queue: 0, multi_buffer: false };
    let (mut socket, _) = XdpSocket::open(&binding, &region, u32::try_from(CHUNK_BYTES)?)?;
    let len = u32::try_from(frame_len)?;
    let before = thread_cpu_s();
    for batch in parts.chunks(XDP_BATCH) {
        for part in batch {
            let addr = part.range().start as u64;
            ensure!(socket.tx.push(XdpDesc { addr, len, options: XdpDescOptions::empty() }), "the ring is full");
        }
        socket.tx.submit();
        while socket.tx.pending() > 0 {
            match send(&socket, &[], SendFlags::DONTWAIT) {
                Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS) => {}
                Err(errno) => return Err(anyhow!("cannot send: {errno}")),
            }
            while socket.completed.pop().is_some() {}
        }
    }
    Ok(thread_cpu_s() - before)
}
