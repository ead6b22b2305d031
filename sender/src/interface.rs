//! What the kernel says of an interface, by netlink: index, MTU, addresses, and how large a super-packet may be.

use crate::ethernet::Ethernet;
use crate::rate::{ETHERNET_HEADER, VLAN_TAG, ip_udp_headers};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::net::IpAddr;
use thiserror::Error;

/// A netlink datagram of a dump is at most this long (the kernel sends up to 32 KiB).
const DATAGRAM_BYTES: usize = 64 << 10;
/// gso_max_size where the kernel does not tell.
const DEFAULT_GSO_MAX_BYTES: u32 = 65_536;

/// Why an interface cannot be used.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// The kernel does not answer.
    #[error("cannot ask the kernel about interfaces: {0}")]
    Netlink(#[from] io::Error),
    /// The kernel's answer was not understood.
    #[error("cannot read the kernel's list of interfaces: {0}")]
    Decode(String),
    /// There is no such interface.
    #[error("there is no interface '{name}' here; there are: {there}")]
    Missing {
        /// Name asked for.
        name: String,
        /// Names that exist.
        there: String,
    },
    /// It is down.
    #[error("interface '{0}' is down; `ip link set {0} up` brings it up")]
    Down(String),
    /// It cannot do multicast, or is told not to.
    #[error("interface '{0}' does no multicast; `ip link set {0} multicast on` switches it on, or choose another one")]
    NoMulticast(String),
    /// It has no address of the group's family.
    #[error(
        "interface '{name}' has no {family} address to send from; give it one with `ip address add`, or choose another interface"
    )]
    NoAddress {
        /// Interface name.
        name: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// The source asked for is not an address of it.
    #[error("{source_address} is no address of interface '{name}'; it has {there}")]
    ForeignSource {
        /// Source asked for.
        source_address: IpAddr,
        /// Interface name.
        name: String,
        /// Addresses it has.
        there: String,
    },
    /// A packet would have to be fragmented.
    #[error(
        "packets of {packet} bytes (symbol size {symbol_size}) do not fit the MTU of {mtu} of '{name}'; \
         seal with a smaller --symbol-size"
    )]
    Mtu {
        /// Bytes of the IP packet.
        packet: usize,
        /// T.
        symbol_size: u16,
        /// MTU of the interface.
        mtu: u32,
        /// Interface name.
        name: String,
    },
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Largest super-packet in bytes, Ethernet header included.
    pub gso_max_bytes: u32,
    /// Its addresses, those of wide scope first.
    pub addresses: Vec<IpAddr>,
    up: bool,
    multicast: bool,
    hardware: bool,
    ethernet: Option<Ethernet>,
}

impl Interface {
    /// The Ethernet device that frames leave by; `None` when there is none, or its frames need a tag that is not 802.1Q.
    pub fn ethernet(&self) -> Option<&Ethernet> {
        self.ethernet.as_ref()
    }

    /// Whether a device of its own is behind it, as far as the kernel tells: what it calls no kind (veth, bridge, tun, vlan,
    /// bond and so on), and no loopback.
    pub fn is_hardware(&self) -> bool {
        self.hardware
    }

    /// Looks an interface up by name.
    pub fn by_name(name: &str) -> Result<Self, InterfaceError> {
        let links = dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let messages: Vec<&LinkMessage> = links.iter().filter_map(link_message).collect();
        let links: Vec<Self> = messages.iter().filter_map(|link| of_link(link, &messages)).collect();
        let there = || links.iter().map(|link| link.name.clone()).collect::<Vec<_>>().join(", ");
        let Some(mut interface) = links.iter().find(|link| link.name == name).cloned() else {
            return Err(InterfaceError::Missing { name: name.to_owned(), there: there() });
        };
        if !interface.up {
            return Err(InterfaceError::Down(name.to_owned()));
        }
        if !interface.multicast {
            return Err(InterfaceError::NoMulticast(name.to_owned()));
        }
        let messages = dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let mut addresses: Vec<(u8, IpAddr)> =
            messages.iter().filter_map(|message| of_address(message, interface.index)).collect();
        addresses.sort_by_key(|(narrowness, _)| *narrowness);
        interface.addresses = addresses.into_iter().map(|(_, address)| address).collect();
        Ok(interface)
    }

    /// The address to send from towards `group`: `wanted` when it is given and ours, else the first of the family.
    pub fn source_for(&self, group: IpAddr, wanted: Option<IpAddr>) -> Result<IpAddr, InterfaceError> {
        if let Some(source_address) = wanted {
            if self.addresses.contains(&source_address) {
                return Ok(source_address);
            }
            let there = self.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
            return Err(InterfaceError::ForeignSource { source_address, name: self.name.clone(), there });
        }
        let family = if group.is_ipv4() { "IPv4" } else { "IPv6" };
        self.addresses
            .iter()
            .find(|address| address.is_ipv4() == group.is_ipv4())
            .copied()
            .ok_or_else(|| InterfaceError::NoAddress { name: self.name.clone(), family })
    }

    /// Refuses UDP payloads of `payload` bytes (symbols of `symbol_size`) that would be fragmented.
    pub fn check_mtu(&self, group: IpAddr, payload: usize, symbol_size: u16) -> Result<(), InterfaceError> {
        let packet = payload + ip_udp_headers(group);
        if packet as u64 <= u64::from(self.mtu) {
            return Ok(());
        }
        Err(InterfaceError::Mtu { packet, symbol_size, mtu: self.mtu, name: self.name.clone() })
    }

    /// Largest sum of UDP payloads of one super-packet.
    ///
    /// The super-packet with its Ethernet header must stay *below* gso_max_size, else the kernel segments it in software
    /// before it reaches the device, many times slower and without a word.
    pub fn max_super_packet_bytes(&self, group: IpAddr) -> usize {
        // The device below may add a tag.
        let headers = ETHERNET_HEADER + VLAN_TAG + ip_udp_headers(group);
        (self.gso_max_bytes as usize).saturating_sub(1 + headers)
    }
}

/// Asks for a dump and collects the answers.
pub(crate) fn dump(request: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, InterfaceError> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(request));
    message.header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    let mut datagram = vec![0; DATAGRAM_BYTES];
    loop {
        let len = socket.recv(&mut &mut datagram[..], 0)?.min(datagram.len());
        let mut rest = &datagram[..len];
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| InterfaceError::Decode(error.to_string()))?;
            // Messages are aligned to four bytes.
            let len = (answer.header.length as usize).next_multiple_of(4).clamp(1, rest.len());
            rest = &rest[len..];
            match answer.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                _ => {}
            }
        }
    }
}

fn link_message(message: &RouteNetlinkMessage) -> Option<&LinkMessage> {
    if let RouteNetlinkMessage::NewLink(link) = message { Some(link) } else { None }
}

/// The interface that `link` describes, one of `all` links.
fn of_link(link: &LinkMessage, all: &[&LinkMessage]) -> Option<Interface> {
    let find = |pick: fn(&LinkAttribute) -> Option<u32>| link.attributes.iter().find_map(pick);
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let has_kind = link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().any(|info| matches!(info, LinkInfo::Kind(_))),
        _ => false,
    });
    let gso = find(|attribute| if let LinkAttribute::GsoMaxSize(bytes) = attribute { Some(*bytes) } else { None });
    let gso_v4 =
        find(|attribute| if let LinkAttribute::GsoIpv4MaxSize(bytes) = attribute { Some(*bytes) } else { None });
    Some(Interface {
        name,
        index: link.header.index,
        mtu: find(|attribute| if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None })?,
        gso_max_bytes: [gso, gso_v4].into_iter().flatten().min().unwrap_or(DEFAULT_GSO_MAX_BYTES),
        addresses: Vec::new(),
        up: link.header.flags.contains(LinkFlags::Up),
        // The loopback has no such flag, and does.
        multicast: link.header.flags.intersects(LinkFlags::Multicast | LinkFlags::Loopback),
        hardware: !has_kind && !link.header.flags.contains(LinkFlags::Loopback),
        ethernet: Ethernet::of(link, all),
    })
}

/// An address of the interface with this index, and how narrow its scope is.
fn of_address(message: &RouteNetlinkMessage, index: u32) -> Option<(u8, IpAddr)> {
    let RouteNetlinkMessage::NewAddress(address) = message else { return None };
    if address.header.index != index {
        return None;
    }
    let pick = |local: bool| {
        address.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(ip) if local => Some(*ip),
            AddressAttribute::Address(ip) if !local => Some(*ip),
            _ => None,
        })
    };
    // On point-to-point links ADDRESS is the other end; LOCAL, where it is there, is ours.
    let ip = pick(true).or_else(|| pick(false))?;
    let narrowness = match address.header.scope {
        AddressScope::Universe => 0,
        AddressScope::Site => 1,
        AddressScope::Link => 2,
        _ => 3,
    };
    Some((narrowness, ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_loopback() {
        let lo = Interface::by_name("lo").unwrap();
        assert_eq!(lo.index, 1);
        assert!(lo.mtu >= 1500);
        assert!(!lo.is_hardware());
        let group = "239.1.1.1".parse().unwrap();
        assert_eq!(lo.source_for(group, None).unwrap().to_string(), "127.0.0.1");
        let error = lo.source_for(group, Some("192.0.2.1".parse().unwrap())).unwrap_err();
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }

    #[test]
    fn names_the_interfaces_there_are() {
        let error = Interface::by_name("no-such-0").unwrap_err();
        assert!(error.to_string().contains("lo"), "{error}");
    }

    #[test]
    fn keeps_below_the_gso_cliff_and_the_mtu() {
        let interface = Interface {
            name: "eth0".into(),
            index: 2,
            mtu: 1500,
            gso_max_bytes: 65_536,
            addresses: Vec::new(),
            up: true,
            multicast: true,
            hardware: true,
            ethernet: None,
        };
        let group: IpAddr = "232.1.1.1".parse().unwrap();
        // 45 × 1,424 flies, 46 × 1,424 falls (measured).
        let segments = interface.max_super_packet_bytes(group) / (1424 - 28);
        assert_eq!(segments.min(45), 45);
        assert!(interface.max_super_packet_bytes(group) + 28 + 14 < 65_536);
        interface.check_mtu(group, 1472, 1452).unwrap();
        assert!(interface.check_mtu(group, 1473, 1453).is_err());
        assert!(interface.check_mtu("ff3e::8000:1".parse().unwrap(), 1472, 1452).is_err());
    }
}
