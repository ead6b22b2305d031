//! What the filter should make of a frame, said once more and in another way: one cursor, lengths checked by slicing.

use fleetcast_ebpf::{Channel, Verdict};
use std::net::IpAddr;

/// What is guarded.
#[derive(Debug, Clone, Default)]
pub struct Guarded {
    pub channels: Vec<Channel>,
    /// Groups whose other ports are shut.
    pub exclusive: Vec<IpAddr>,
}

impl Guarded {
    /// The verdict, or nothing where the frame is no packet to a multicast group.
    pub fn judge(&self, frame: &[u8]) -> Option<Verdict> {
        let (mut ethertype, mut packet) = (word(frame, 12)?, frame.get(14..)?);
        for _ in 0..2 {
            if ethertype == 0x8100 || ethertype == 0x88a8 {
                (ethertype, packet) = (word(packet, 2)?, packet.get(4..)?);
            }
        }
        let (source, group) = match ethertype {
            0x0800 => (address::<4>(packet, 12)?, address::<4>(packet, 16)?),
            0x86dd => (address::<16>(packet, 8)?, address::<16>(packet, 24)?),
            _ => return None,
        };
        if !group.is_multicast() {
            return None;
        }
        if self.channels.iter().all(|channel| channel.group() != group) {
            return Some(Verdict::OtherGroup);
        }
        let found = if group.is_ipv4() { find_udp_v4(packet) } else { find_udp_v6(packet) };
        Some(found.and_then(|udp| self.on_udp(source, group, packet, udp)).unwrap_or_else(|verdict| verdict))
    }

    fn on_udp(&self, source: IpAddr, group: IpAddr, packet: &[u8], udp: Udp) -> Result<Verdict, Verdict> {
        let port = word(packet, udp.at + 2).ok_or(Verdict::Malformed)?;
        let of_port = || self.channels.iter().filter(|it| it.group() == group && it.port() == port);
        if of_port().next().is_none() {
            let shut = self.exclusive.contains(&group);
            return Err(if shut { Verdict::ExclusivePort } else { Verdict::OtherPort });
        }
        if of_port().all(|channel| channel.source() != source) {
            return Err(Verdict::WrongSource);
        }
        // Of the datagram, what its own length says, within what IP says, within what has come.
        let ip = packet.get(..udp.ip_len).ok_or(Verdict::Malformed)?;
        let udp_len = word(packet, udp.at + 4).map(usize::from).ok_or(Verdict::Malformed)?;
        let datagram = ip.get(udp.at..).and_then(|rest| rest.get(..udp_len)).ok_or(Verdict::Malformed)?;
        let lct = datagram.get(8..).filter(|lct| lct.len() >= 4).ok_or(Verdict::Malformed)?;
        if lct[0] >> 4 != 1 {
            return Err(Verdict::BadLctVersion);
        }
        let header_len = 4 * usize::from(lct[2]);
        if header_len < 4 || header_len > lct.len() { Err(Verdict::Malformed) } else { Ok(Verdict::Accepted) }
    }
}

/// Where the UDP header is in a packet, and how long IP says that the packet is.
struct Udp {
    at: usize,
    ip_len: usize,
}

fn find_udp_v4(packet: &[u8]) -> Result<Udp, Verdict> {
    if packet[9] != 17 {
        return Err(Verdict::NotUdp);
    }
    if word(packet, 6).unwrap() & 0x3fff != 0 {
        return Err(Verdict::Fragment);
    }
    let at = 4 * usize::from(packet[0] & 15);
    if packet[0] >> 4 != 4 || at < 20 || packet.len() < at + 8 {
        return Err(Verdict::Malformed);
    }
    Ok(Udp { at, ip_len: usize::from(word(packet, 2).unwrap()) })
}

fn find_udp_v6(packet: &[u8]) -> Result<Udp, Verdict> {
    let (mut next, mut at, mut passed) = (packet[6], 40, 0);
    while next != 17 {
        if ![0, 43, 44, 60].contains(&next) {
            return Err(Verdict::NotUdp);
        }
        let extension = packet.get(at..at + 8).ok_or(Verdict::Malformed)?;
        if next == 44 {
            return Err(if extension[0] == 58 { Verdict::NotUdp } else { Verdict::Fragment });
        }
        next = extension[0];
        at += 8 * (1 + usize::from(extension[1]));
        passed += 1;
        if passed > 5 {
            return Err(Verdict::Malformed);
        }
    }
    if packet.len() < at + 8 || packet[0] >> 4 != 6 {
        return Err(Verdict::Malformed);
    }
    Ok(Udp { at, ip_len: 40 + usize::from(word(packet, 4).unwrap()) })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// An address of a packet whose IP header is whole.
fn address<const N: usize>(packet: &[u8], at: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; N]>,
{
    packet.get(..if N == 4 { 20 } else { 40 })?;
    Some(IpAddr::from(*packet[at..].first_chunk::<N>()?))
}
