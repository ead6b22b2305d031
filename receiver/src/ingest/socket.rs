//! The receiving socket: bound to the group, joined on one interface, with room for bursts.

use super::interface::Interface;
use super::membership::{self, Join, is_unsupported};
use super::sockopt;
use fleetcast_protocol::channel::Channel;
use libc::c_int;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd;
use thiserror::Error;

/// What the socket asks for as its buffer; the kernel accounts packet overhead against it, so it books twice this.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// Why packets cannot be received.
#[derive(Debug, Error)]
pub enum SocketError {
    /// There is no such interface.
    #[error("there is no interface '{name}' here ({source}); `ip link` lists them")]
    NoInterface {
        /// Name asked for.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is down.
    #[error("interface '{0}' is down; `ip link set {0} up` brings it up")]
    Down(String),
    /// It cannot do multicast, or is told not to.
    #[error("interface '{0}' does no multicast; `ip link set {0} multicast on` switches it on, or choose another one")]
    NoMulticast(String),
    /// It has no address of the group's family.
    #[error(
        "interface '{name}' has no {family} address to join from; give it one with `ip address add`, or choose another one"
    )]
    NoAddress {
        /// Interface name.
        name: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// The port cannot be bound.
    #[error("cannot receive on {group} port {port}: {source}; is another program bound to it without SO_REUSEADDR?")]
    Bind {
        /// Group address.
        group: IpAddr,
        /// UDP port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// The membership was refused.
    #[error("cannot join {channel} on {interface}: {source}; is the interface up, with an address and multicast on?")]
    Join {
        /// The channel, as people write it.
        channel: String,
        /// Interface name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A socket option failed.
    #[error("cannot set up the receiving socket: {0}")]
    Setup(#[from] io::Error),
}

/// A receiving socket and what the kernel granted it.
#[derive(Debug)]
pub struct Joined {
    /// The socket, non-blocking.
    pub socket: UdpSocket,
    /// Whether super-packets are received.
    pub gro: bool,
    /// Bytes that the kernel queues, packet overhead included.
    pub receive_buffer_bytes: usize,
    /// What the kernel, or an emulator in front of it, does not know, and was done in another way or without.
    pub lacks: Vec<&'static str>,
}

/// Opens a socket that receives `channel` on `interface`.
pub fn open(channel: &Channel, interface: &Interface) -> Result<Joined, SocketError> {
    interface.check_address(channel.group)?;
    let domain = if channel.group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    // Several receivers on one host may share a group; the state folder's lock keeps them apart where it matters.
    socket.set_reuse_address(true)?;
    let mut lacks = Vec::new();
    // Without it the membership still filters what comes to its group on its interface.
    if channel.group.is_ipv4() {
        note_lack(socket.set_multicast_all_v4(false), "IP_MULTICAST_ALL", &mut lacks)?;
    } else {
        socket.set_only_v6(true)?;
        note_lack(socket.set_multicast_all_v6(false), "IPV6_MULTICAST_ALL", &mut lacks)?;
    }
    enlarge_receive_buffer(&socket)?;
    // Both are a convenience of newer kernels: without them datagrams come one by one, and drops are not counted.
    let gro = sockopt::set(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, &1).is_ok();
    let _ = sockopt::set::<c_int>(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &1);
    let address = match channel.group {
        IpAddr::V4(group) => SocketAddr::from((group, channel.port)),
        IpAddr::V6(group) => SocketAddrV6::new(group, channel.port, 0, interface.index).into(),
    };
    let bind_error = |source| SocketError::Bind { group: channel.group, port: channel.port, source };
    socket.bind(&address.into()).map_err(bind_error)?;
    let join = membership::join(socket.as_fd(), channel, interface).map_err(|source| SocketError::Join {
        channel: channel.to_string(),
        interface: interface.name.clone(),
        source,
    })?;
    lacks.extend((join == Join::ByAddress).then_some("MCAST_JOIN_SOURCE_GROUP"));
    lacks.extend((!gro).then_some("UDP_GRO"));
    socket.set_nonblocking(true)?;
    let receive_buffer_bytes = socket.recv_buffer_size()?;
    Ok(Joined { socket: socket.into(), gro, receive_buffer_bytes, lacks })
}

/// An option that is not known here is noted, and nothing more.
fn note_lack(result: io::Result<()>, option: &'static str, lacks: &mut Vec<&'static str>) -> io::Result<()> {
    match result {
        Err(error) if is_unsupported(&error) => lacks.push(option),
        result => result?,
    }
    Ok(())
}

/// Asks for the buffer beyond rmem_max where the process may, else for as much as it gets.
fn enlarge_receive_buffer(socket: &Socket) -> io::Result<()> {
    let wanted = c_int::try_from(RECEIVE_BUFFER_BYTES).unwrap_or(c_int::MAX);
    if sockopt::set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &wanted).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    }
    Ok(())
}
