//! Ethernet frames, byte by byte: what is asked for is written, right or wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const UDP: u8 = 17;
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const DESTINATION: u8 = 60;
pub const ICMPV6: u8 = 58;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A UDP datagram in a frame, and what is unusual about it.
#[derive(Debug, Clone)]
pub struct Frame {
    pub source: IpAddr,
    pub group: IpAddr,
    pub port: u16,
    /// Ethertypes of tags before the last.
    pub tags: Vec<u16>,
    /// The number that says UDP, or something else.
    pub protocol: u8,
    /// IPv4: words of options. IPv6: the extension headers, each with further 8-byte units.
    pub option_words: u8,
    pub extensions: Vec<(u8, u8)>,
    /// IPv4: flags and offset.
    pub fragment: u16,
    /// Added to the true lengths.
    pub ip_len_error: i32,
    pub udp_len_error: i32,
    pub payload: Vec<u8>,
}

/// An LCT header as our sender writes it, and a symbol of `symbol_len` bytes.
pub fn alc(symbol_len: usize) -> Vec<u8> {
    let mut payload = vec![0x10, 0xa0, 4, 6, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 7, 0, 1, 5];
    payload.resize(20 + symbol_len, 0xa5);
    payload
}

impl Frame {
    pub fn new(source: &str, group: &str, port: u16) -> Self {
        Self {
            source: source.parse().unwrap(),
            group: group.parse().unwrap(),
            port,
            tags: Vec::new(),
            protocol: UDP,
            option_words: 0,
            extensions: Vec::new(),
            fragment: 0x4000,
            ip_len_error: 0,
            udp_len_error: 0,
            payload: alc(64),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let udp = self.udp();
        let (ethertype, packet) = match (self.source, self.group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => (IPV4, self.ipv4(source, group, &udp)),
            (IpAddr::V6(source), IpAddr::V6(group)) => (IPV6, self.ipv6(source, group, &udp)),
            _ => panic!("two families"),
        };
        let mut frame = vec![1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1];
        for tag in &self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 7]);
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    }

    fn udp(&self) -> Vec<u8> {
        let mut udp = Vec::new();
        udp.extend(5001_u16.to_be_bytes());
        udp.extend(self.port.to_be_bytes());
        udp.extend(len_word(8 + self.payload.len(), self.udp_len_error));
        udp.extend([0xab, 0xcd]);
        udp.extend(&self.payload);
        udp
    }

    fn ipv4(&self, source: Ipv4Addr, group: Ipv4Addr, udp: &[u8]) -> Vec<u8> {
        let header_len = 20 + 4 * usize::from(self.option_words);
        let mut ip = vec![0x45 + self.option_words, 0];
        ip.extend(len_word(header_len + udp.len(), self.ip_len_error));
        ip.extend([0, 1]);
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([8, self.protocol, 0, 0]);
        ip.extend(source.octets());
        ip.extend(group.octets());
        ip.resize(header_len, 1);
        ip.extend(udp);
        ip
    }

    fn ipv6(&self, source: Ipv6Addr, group: Ipv6Addr, udp: &[u8]) -> Vec<u8> {
        let mut extensions = Vec::new();
        for (index, (_, units)) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(index + 1).map_or(self.protocol, |(kind, _)| *kind);
            extensions.extend([next, *units]);
            extensions.resize(extensions.len() + 6 + 8 * usize::from(*units), 0);
        }
        let mut ip = vec![0x60, 0, 0, 0];
        ip.extend(len_word(extensions.len() + udp.len(), self.ip_len_error));
        ip.extend([self.extensions.first().map_or(self.protocol, |(kind, _)| *kind), 8]);
        ip.extend(source.octets());
        ip.extend(group.octets());
        ip.extend(extensions);
        ip.extend(udp);
        ip
    }
}

fn len_word(len: usize, error: i32) -> [u8; 2] {
    let len = i32::try_from(len).unwrap() + error;
    u16::try_from(len.clamp(0, 65_535)).unwrap().to_be_bytes()
}
