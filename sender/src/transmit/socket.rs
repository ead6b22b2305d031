//! The sending socket: bound to the source, connected to the group, with the multicast options set.

use crate::interface::Interface;
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use thiserror::Error;

/// Room that the socket asks for, so that some super-packets fit; the kernel grants at most net.core.wmem_max.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// Why packets cannot be sent.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The source address cannot be used.
    #[error("cannot send from {source_address} on {interface}: {error}; is it an address of this host?")]
    Bind {
        /// Source address.
        source_address: IpAddr,
        /// Interface name.
        interface: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is no way to the group.
    #[error("cannot send to {group} on {interface}: {error}; is the interface up?")]
    Connect {
        /// Group address.
        group: IpAddr,
        /// Interface name.
        interface: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// A socket option failed.
    #[error("cannot set up the sending socket: {0}")]
    Setup(#[from] io::Error),
}

/// Where and how to send.
#[derive(Debug, Clone, Copy)]
pub struct SocketOptions {
    /// Source address, one of the interface's.
    pub source: IpAddr,
    /// Group address.
    pub group: IpAddr,
    /// UDP port of the group.
    pub port: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP, 0 to 63.
    pub dscp: u8,
    /// Whether receivers on this host hear it too.
    pub loopback: bool,
}

/// Has fq, where the socket's packets pass it, let no more than `bytes_per_s` bytes of frames a second go.
pub fn set_max_pacing_rate(socket: &UdpSocket, bytes_per_s: u64) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    let value = (&raw const bytes_per_s).cast();
    // SAFETY: the option's value is a u64, which is read during the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, value, len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens a connected socket for `options` on `interface`.
pub fn open(options: &SocketOptions, interface: &Interface) -> Result<UdpSocket, SocketError> {
    let traffic_class = u32::from(options.dscp) << 2;
    let domain = if options.group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    match options.source {
        IpAddr::V4(source) => {
            socket.set_multicast_if_v4(&source)?;
            socket.set_multicast_ttl_v4(options.ttl.into())?;
            socket.set_multicast_loop_v4(options.loopback)?;
            // "Don't fragment" in every packet: a fragment is no ALC packet, and receivers' filters drop it. By default the
            // kernel sets it in single packets and not in those that it cuts from super-packets.
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE).map_err(io::Error::from)?;
            socket.set_tos_v4(traffic_class)?;
        }
        IpAddr::V6(_) => {
            socket.set_multicast_if_v6(interface.index)?;
            socket.set_multicast_hops_v6(options.ttl.into())?;
            socket.set_multicast_loop_v6(options.loopback)?;
            socket.set_tclass_v6(traffic_class)?;
        }
    }
    // What is granted shows only in how often the kernel pushes back.
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    let address = |address: IpAddr, port: u16| match address {
        IpAddr::V4(address) => SocketAddr::from((address, port)),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, interface.index).into(),
    };
    socket.bind(&address(options.source, 0).into()).map_err(|error| SocketError::Bind {
        source_address: options.source,
        interface: interface.name.clone(),
        error,
    })?;
    socket.connect(&address(options.group, options.port).into()).map_err(|error| SocketError::Connect {
        group: options.group,
        interface: interface.name.clone(),
        error,
    })?;
    Ok(socket.into())
}
