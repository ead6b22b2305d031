//! The frames that are measured with, checksums and all.

use etherparse::PacketBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a symbol of the real stream.
pub const SYMBOL_BYTES: usize = 1_344;
const TTL: u8 = 8;
const PORT: u16 = 5_001;

/// An ALC packet with a symbol of `symbol_bytes` in an Ethernet frame.
pub fn frame(source: IpAddr, group: IpAddr, port: u16, symbol_bytes: usize) -> Vec<u8> {
    let mut payload = vec![0x10, 0xa0, 4, 6, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 7, 0, 1, 5];
    payload.resize(payload.len() + symbol_bytes, 0xa5);
    let mac = [2, 0, 0, 0, 0, 9];
    let mut frame = Vec::new();
    let written = match (source, group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => PacketBuilder::ethernet2(mac, mac_v4(group))
            .ipv4(source.octets(), group.octets(), TTL)
            .udp(PORT, port)
            .write(&mut frame, &payload),
        (IpAddr::V6(source), IpAddr::V6(group)) => PacketBuilder::ethernet2(mac, mac_v6(group))
            .ipv6(source.octets(), group.octets(), TTL)
            .udp(PORT, port)
            .write(&mut frame, &payload),
        _ => panic!("a channel of two families"),
    };
    written.expect("a Vec takes all");
    frame
}

fn mac_v4(group: Ipv4Addr) -> [u8; 6] {
    let [_, b, c, d] = group.octets();
    [1, 0, 0x5e, b & 0x7f, c, d]
}

fn mac_v6(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}
