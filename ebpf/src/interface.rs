//! What the kernel says of interfaces: which XDP program each has, and whether its packets are merged (GRO).

use crate::error::FilterError;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// A netlink datagram of a dump is at most this long (the kernel sends up to 32 KiB).
const DATAGRAM_BYTES: usize = 64 << 10;
/// Commands of SIOCETHTOOL (linux/ethtool.h).
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Run by the driver, before the kernel has made a packet of it.
    Native,
    /// Run by the kernel on packets that it has made.
    Generic,
    /// Run by the card.
    Offloaded,
    /// Several, in different modes.
    Several,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
            Self::Several => "several",
        })
    }
}

/// An XDP program on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The interface's index.
    pub index: u32,
    /// Its name.
    pub interface: String,
    /// How.
    pub mode: Mode,
    /// The programs' numbers: one, except with [`Mode::Several`].
    pub program_ids: Vec<u32>,
}

/// All interfaces of this network namespace that have an XDP program.
///
/// # Errors
/// When the kernel does not answer.
pub fn attached() -> Result<Vec<Attached>, FilterError> {
    let links = ask(LinkMessage::default(), NLM_F_DUMP).map_err(FilterError::Interfaces)?;
    Ok(links.iter().filter_map(of_link).collect())
}

/// The XDP program of one interface; `None` also when there is no such interface any more.
///
/// # Errors
/// When the kernel does not answer.
pub fn attached_to(index: u32) -> Result<Option<Attached>, FilterError> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    match ask(request, 0) {
        Ok(links) => Ok(links.iter().find_map(of_link)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(FilterError::Interfaces(error)),
    }
}

/// Whether the kernel merges what arrives at an interface into super-packets (generic receive offload).
///
/// # Errors
/// When there is no such interface, or it does not tell.
pub fn gro(interface: &str) -> io::Result<bool> {
    ethtool(interface, ETHTOOL_GGRO, 0).map(|value| value != 0)
}

/// Switches merging on or off. Needs CAP_NET_ADMIN.
///
/// # Errors
/// When the process may not, or the device cannot.
pub fn set_gro(interface: &str, on: bool) -> io::Result<()> {
    ethtool(interface, ETHTOOL_SGRO, u32::from(on)).map(drop)
}

/// Asks for links: with NLM_F_DUMP for all, else for the one that the request names.
fn ask(request: LinkMessage, flags: u16) -> io::Result<Vec<LinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetLink(request));
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
    message.header.flags = flags | NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (mut links, mut datagram) = (Vec::new(), vec![0; DATAGRAM_BYTES]);
    loop {
        let len = socket.recv(&mut &mut datagram[..], 0)?.min(datagram.len());
        let mut rest = &datagram[..len];
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            // Messages are aligned to four bytes.
            let len = (answer.header.length as usize).next_multiple_of(4).clamp(1, rest.len());
            rest = &rest[len..];
            match answer.payload {
                NetlinkPayload::Done(_) => return Ok(links),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.push(link),
                _ => {}
            }
        }
        if flags & NLM_F_DUMP == 0 {
            return Ok(links);
        }
    }
}

fn of_link(link: &LinkMessage) -> Option<Attached> {
    let mut attached =
        Attached { index: link.header.index, interface: String::new(), mode: Mode::Native, program_ids: Vec::new() };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => attached.interface.clone_from(name),
            LinkAttribute::Xdp(parts) => {
                for part in parts {
                    read_part(part, &mut attached)?;
                }
            }
            _ => {}
        }
    }
    // With several modes the kernel says 0 beside the ids of each.
    attached.program_ids.retain(|&id| id != 0);
    attached.program_ids.dedup();
    (!attached.program_ids.is_empty()).then_some(attached)
}

/// `None` where it says that there is no program.
fn read_part(part: &LinkXdp, attached: &mut Attached) -> Option<()> {
    match part {
        LinkXdp::Attached(how) => {
            attached.mode = match how {
                XdpAttached::None => return None,
                XdpAttached::SocketBuffer => Mode::Generic,
                XdpAttached::Hardware => Mode::Offloaded,
                XdpAttached::Multiple => Mode::Several,
                _ => Mode::Native,
            };
        }
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            attached.program_ids.push(*id);
        }
        _ => {}
    }
    Some(())
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    value: u32,
}

fn ethtool(interface: &str, command: u32, value: u32) -> io::Result<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::]:0"))?;
    let mut value = EthtoolValue { command, value };
    // SAFETY: ifreq is plain C data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = byte.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names an interface by a C string (the last byte is zero) and points to a command with room for its
    // answer; both live until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(parts: Vec<LinkXdp>) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = 3;
        link.attributes = vec![LinkAttribute::IfName("eth0".into()), LinkAttribute::Xdp(parts)];
        link
    }

    #[test]
    fn reads_what_is_attached() {
        let native =
            of_link(&link(vec![LinkXdp::Attached(XdpAttached::Driver), LinkXdp::ProgId(9), LinkXdp::DrvProgId(9)]));
        let expected = Attached { index: 3, interface: "eth0".into(), mode: Mode::Native, program_ids: vec![9] };
        assert_eq!(native, Some(expected.clone()));
        let both =
            of_link(&link(vec![LinkXdp::Attached(XdpAttached::Multiple), LinkXdp::SkbProgId(4), LinkXdp::HwProgId(5)]));
        assert_eq!(both, Some(Attached { mode: Mode::Several, program_ids: vec![4, 5], ..expected }));
        assert_eq!(of_link(&link(vec![LinkXdp::Attached(XdpAttached::None)])), None);
        assert_eq!(of_link(&link(Vec::new())), None);
    }

    #[test]
    fn asks_the_kernel() {
        assert!(attached().unwrap().iter().all(|it| it.interface != "lo"));
        assert_eq!(attached_to(1).unwrap(), None);
        assert_eq!(attached_to(u32::MAX >> 1).unwrap(), None, "no such interface");
        gro("lo").unwrap();
        assert_eq!(gro("no-such-0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(gro("a-name-longer-than-any").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
