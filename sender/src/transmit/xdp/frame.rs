//! Whole Ethernet frames: what the kernel writes for a socket, AF_XDP has to write itself.
//!
//! ```text
//! Ethernet 14 | 802.1Q 4, if any | IPv4 20 or IPv6 40 | UDP 8 | payload
//! ```
//!
//! All but lengths, IP id and checksums is the same for every packet of a session and is written once a slot.

use super::checksum::{checksum, sum, sum_of, udp_checksum};
use crate::transmit::layout::Framing;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHERNET_LEN: usize = 14;
const VLAN_LEN: usize = 4;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
/// IP protocol number of UDP.
const UDP: u8 = 17;
/// IPv4, header of five words.
const VERSION_AND_LEN: u8 = 0x45;
/// IPv4 flag "don't fragment", as sockets set it.
const DONT_FRAGMENT: u16 = 0x4000;

// Where fields lie behind the start of their header.
const IPV4_TOTAL_LEN: usize = 2;
const IPV4_ID: usize = 4;
const IPV4_CHECKSUM: usize = 10;
const IPV6_PAYLOAD_LEN: usize = 4;
const UDP_LENGTH: usize = 4;
const UDP_CHECKSUM: usize = 6;

/// A source and a group of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Source.
        source: Ipv4Addr,
        /// Group.
        group: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Source.
        source: Ipv6Addr,
        /// Group.
        group: Ipv6Addr,
    },
}

impl Addresses {
    /// `None` when the families differ.
    pub fn new(source: IpAddr, group: IpAddr) -> Option<Self> {
        match (source, group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => Some(Self::V4 { source, group }),
            (IpAddr::V6(source), IpAddr::V6(group)) => Some(Self::V6 { source, group }),
            _ => None,
        }
    }

    /// The Ethernet address of the group (RFC 1112 §6.4, RFC 2464 §7).
    fn group_mac(&self) -> [u8; 6] {
        match self {
            Self::V4 { group, .. } => {
                let [_, b, c, d] = group.octets();
                [0x01, 0x00, 0x5e, b & 0x7f, c, d]
            }
            Self::V6 { group, .. } => {
                let [.., a, b, c, d] = group.octets();
                [0x33, 0x33, a, b, c, d]
            }
        }
    }
}

/// What the headers of a session's packets say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Source and group.
    pub addresses: Addresses,
    /// UDP port of the source.
    pub source_port: u16,
    /// UDP port of the group.
    pub port: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP, 0 to 63.
    pub dscp: u8,
    /// Ethernet address of the interface.
    pub source_mac: [u8; 6],
    /// VLAN id, 1 to 4094, to tag frames with.
    pub vlan_id: Option<u16>,
    /// IP id of the session's first packet; those after it count on.
    pub first_ip_id: u16,
}

/// Writes the headers of a session.
#[derive(Debug)]
pub struct Headers {
    /// All headers, with lengths, id and checksums of zero.
    template: Vec<u8>,
    ip_at: usize,
    is_ipv4: bool,
    first_ip_id: u16,
    /// Sum of the IPv4 header as in the template.
    ip_sum: u64,
    /// Sum of the pseudo header without the length, and of the UDP header as in the template.
    udp_sum: u64,
}

impl Headers {
    /// The headers of `flow`.
    pub fn new(flow: &Flow) -> Self {
        let mut template = Vec::with_capacity(ETHERNET_LEN + VLAN_LEN + IPV6_LEN + UDP_LEN);
        template.extend(flow.addresses.group_mac());
        template.extend(flow.source_mac);
        if let Some(vlan_id) = flow.vlan_id {
            template.extend(ETHERTYPE_VLAN.to_be_bytes());
            template.extend(vlan_id.to_be_bytes());
        }
        let traffic_class = flow.dscp << 2;
        let ip_at = match flow.addresses {
            Addresses::V4 { source, group } => {
                template.extend(ETHERTYPE_IPV4.to_be_bytes());
                let ip_at = template.len();
                template.extend([VERSION_AND_LEN, traffic_class, 0, 0, 0, 0]);
                template.extend(DONT_FRAGMENT.to_be_bytes());
                template.extend([flow.ttl, UDP, 0, 0]);
                template.extend(source.octets());
                template.extend(group.octets());
                ip_at
            }
            Addresses::V6 { source, group } => {
                template.extend(ETHERTYPE_IPV6.to_be_bytes());
                let ip_at = template.len();
                template.extend([0x60 | traffic_class >> 4, traffic_class << 4, 0, 0, 0, 0, UDP, flow.ttl]);
                template.extend(source.octets());
                template.extend(group.octets());
                ip_at
            }
        };
        let ip_end = template.len();
        template.extend(flow.source_port.to_be_bytes());
        template.extend(flow.port.to_be_bytes());
        template.extend([0; 4]);
        let is_ipv4 = matches!(flow.addresses, Addresses::V4 { .. });
        let addresses_len = if is_ipv4 { 8 } else { 32 };
        Self {
            ip_sum: sum(&template[ip_at..ip_end]),
            udp_sum: sum(&template[ip_end - addresses_len..]) + sum_of(UDP.into()),
            template,
            ip_at,
            is_ipv4,
            first_ip_id: flow.first_ip_id,
        }
    }

    /// Bytes of all headers: the room before each payload.
    pub fn head_room(&self) -> usize {
        self.template.len()
    }

    fn finish_ipv4(&self, index: u64, ip_len: u16, ip: &mut [u8]) {
        // Ids count on and wrap around, as those of a socket do.
        let id = self.first_ip_id.wrapping_add(u16::try_from(index & 0xffff).unwrap_or_default());
        put(ip, IPV4_TOTAL_LEN, ip_len.to_be_bytes());
        put(ip, IPV4_ID, id.to_be_bytes());
        put(ip, IPV4_CHECKSUM, checksum(self.ip_sum + sum_of(ip_len) + sum_of(id)));
    }
}

impl Framing for Headers {
    fn prepare(&self, frame: &mut [u8]) {
        frame[..self.head_room()].copy_from_slice(&self.template);
    }

    fn finish(&self, index: u64, frame: &mut [u8]) {
        let ip_len = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
        let (_, ip) = frame.split_at_mut(self.ip_at);
        let udp_at = if self.is_ipv4 { IPV4_LEN } else { IPV6_LEN };
        if self.is_ipv4 {
            self.finish_ipv4(index, ip_len(ip.len()), ip);
        } else {
            put(ip, IPV6_PAYLOAD_LEN, ip_len(ip.len() - IPV6_LEN).to_be_bytes());
        }
        let udp = &mut ip[udp_at..];
        let udp_len = ip_len(udp.len());
        let payload_sum = sum(&udp[UDP_LEN..]);
        put(udp, UDP_LENGTH, udp_len.to_be_bytes());
        // The length counts twice: in the pseudo header and in UDP's own.
        put(udp, UDP_CHECKSUM, udp_checksum(self.udp_sum + payload_sum + 2 * sum_of(udp_len)));
    }
}

fn put(header: &mut [u8], at: usize, bytes: [u8; 2]) {
    header[at..at + 2].copy_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    fn flow() -> impl Strategy<Value = Flow> {
        let v4 = (any::<Ipv4Addr>(), any::<u32>())
            .prop_map(|(source, group)| Addresses::V4 { source, group: Ipv4Addr::from(0xe000_0000 | group >> 4) });
        let v6 = (any::<Ipv6Addr>(), any::<u128>())
            .prop_map(|(source, group)| Addresses::V6 { source, group: Ipv6Addr::from(0xff << 120 | group >> 8) });
        let ports = (any::<u16>(), any::<u16>());
        let marks = (any::<u8>(), 0u8..64, any::<[u8; 6]>(), proptest::option::of(1u16..4095), any::<u16>());
        (prop_oneof![v4, v6], ports, marks).prop_map(|(addresses, ports, marks)| Flow {
            addresses,
            source_port: ports.0,
            port: ports.1,
            ttl: marks.0,
            dscp: marks.1,
            source_mac: marks.2,
            vlan_id: marks.3,
            first_ip_id: marks.4,
        })
    }

    proptest! {
        /// Somebody else's parser reads what was meant, and finds every checksum right, in a frame that was used before.
        #[test]
        fn another_parser_reads_the_frame(
            flow in flow(),
            index: u64,
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..3),
        ) {
            let headers = Headers::new(&flow);
            let mut room = vec![0xaa; 2100];
            headers.prepare(&mut room);
            for payload in payloads {
                let frame = &mut room[..headers.head_room() + payload.len()];
                frame[headers.head_room()..].copy_from_slice(&payload);
                headers.finish(index, frame);
                check(&flow, index, &payload, frame)?;
            }
        }
    }

    fn check(flow: &Flow, index: u64, payload: &[u8], frame: &[u8]) -> Result<(), TestCaseError> {
        let packet = SlicedPacket::from_ethernet(frame).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let vlan = packet.vlan().map(|vlan| match vlan {
            etherparse::VlanSlice::SingleVlan(tag) => tag.vlan_identifier().value(),
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(vlan, flow.vlan_id);
        prop_assert_eq!(&frame[..6], &flow.addresses.group_mac());
        prop_assert_eq!(&frame[6..12], &flow.source_mac);
        let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("no UDP") };
        prop_assert_eq!(udp.payload(), payload);
        prop_assert_eq!((udp.source_port(), udp.destination_port()), (flow.source_port, flow.port));
        prop_assert_ne!(udp.checksum(), 0);
        let expected = match (packet.net, flow.addresses) {
            (Some(NetSlice::Ipv4(ip)), Addresses::V4 { source, group }) => {
                let header = ip.header().to_header();
                prop_assert_eq!((ip.header().source_addr(), ip.header().destination_addr()), (source, group));
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                prop_assert_eq!(
                    header.identification,
                    flow.first_ip_id.wrapping_add((index % 65_536).try_into().unwrap())
                );
                prop_assert_eq!(
                    (header.time_to_live, header.dscp.value(), header.dont_fragment),
                    (flow.ttl, flow.dscp, true)
                );
                udp.to_header().calc_checksum_ipv4(&header, payload)
            }
            (Some(NetSlice::Ipv6(ip)), Addresses::V6 { source, group }) => {
                let header = ip.header().to_header();
                prop_assert_eq!((ip.header().source_addr(), ip.header().destination_addr()), (source, group));
                prop_assert_eq!((header.hop_limit, header.traffic_class >> 2), (flow.ttl, flow.dscp));
                prop_assert_eq!(header.flow_label.value(), 0);
                udp.to_header().calc_checksum_ipv6(&header, payload)
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(udp.checksum(), expected.unwrap());
        Ok(())
    }

    #[test]
    fn groups_have_the_ethernet_addresses_of_the_rfcs() {
        let mac = |source: &str, group: &str| {
            Addresses::new(source.parse().unwrap(), group.parse().unwrap()).map(|addresses| addresses.group_mac())
        };
        assert_eq!(mac("10.0.0.1", "232.129.2.3"), Some([0x01, 0x00, 0x5e, 0x01, 0x02, 0x03]));
        assert_eq!(mac("fd00::1", "ff3e::8001:203"), Some([0x33, 0x33, 0x80, 0x01, 0x02, 0x03]));
        assert_eq!(mac("fd00::1", "232.1.1.1"), None);
    }
}
