//! Rates and how long packets take at them.

use fleetcast_cli::units::parse_rate_bps;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// Preamble, start of frame and gap between frames: on the wire, seen by no program.
const PREAMBLE_AND_GAP: usize = 20;
/// Ethernet header.
pub const ETHERNET_HEADER: usize = 14;
/// 802.1Q tag.
pub const VLAN_TAG: usize = 4;
/// Frame check sequence.
const FCS: usize = 4;
/// Ethernet pads payloads to this many bytes.
const MIN_ETHERNET_PAYLOAD: usize = 46;
/// UDP header.
const UDP_HEADER: usize = 8;

/// Slowest rate: below it a single packet takes many seconds.
pub const MIN_RATE_BPS: u64 = 1_000;
/// Fastest rate: above it no interface exists, and a packet takes less than the clock can tell.
pub const MAX_RATE_BPS: u64 = 1_000_000_000_000;

/// Parses a rate that a sender can keep to.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let rate_bps = parse_rate_bps(text).map_err(|error| error.to_string())?;
    if (MIN_RATE_BPS..=MAX_RATE_BPS).contains(&rate_bps) {
        Ok(rate_bps)
    } else {
        Err(format!("{rate_bps} bits a second is no rate to send at; write one from 1k to 1000G"))
    }
}

/// Which bits `--rate` counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RateLayer {
    /// Everything that occupies the wire, preamble and gap included: `100M` fills a 100 Mbit/s port and does not overrun it.
    #[default]
    L1,
    /// Ethernet frames with FCS.
    L2,
    /// IP packets.
    Ip,
}

impl FromStr for RateLayer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "l1" => Ok(Self::L1),
            "l2" => Ok(Self::L2),
            "ip" => Ok(Self::Ip),
            _ => Err(format!("there is no rate layer '{text}'; choose l1, l2 or ip")),
        }
    }
}

/// Bytes of IP and UDP headers towards `group`.
pub fn ip_udp_headers(group: IpAddr) -> usize {
    match group {
        IpAddr::V4(_) => 20 + UDP_HEADER,
        IpAddr::V6(_) => 40 + UDP_HEADER,
    }
}

/// How many bits a UDP payload is, at a layer, towards one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    layer: RateLayer,
    ip_udp_headers: usize,
    tag: usize,
}

impl Cost {
    /// The cost of payloads towards `group`.
    pub fn new(layer: RateLayer, group: IpAddr) -> Self {
        Self { layer, ip_udp_headers: ip_udp_headers(group), tag: 0 }
    }

    /// The same with an 802.1Q tag in every frame, or without.
    #[must_use]
    pub fn with_tag(self, is_tagged: bool) -> Self {
        Self { tag: if is_tagged { VLAN_TAG } else { 0 }, ..self }
    }

    /// Bits of a packet with a UDP payload of `payload` bytes, as the rate counts them.
    pub fn bits(&self, payload: usize) -> u64 {
        let ip = payload + self.ip_udp_headers;
        let frame = ip.max(MIN_ETHERNET_PAYLOAD) + ETHERNET_HEADER + self.tag + FCS;
        let bytes = match self.layer {
            RateLayer::L1 => frame + PREAMBLE_AND_GAP,
            RateLayer::L2 => frame,
            RateLayer::Ip => ip,
        };
        bytes as u64 * 8
    }

    /// Bits that every packet costs beside its UDP payload, for payloads that Ethernet need not pad.
    pub fn overhead_bits(&self) -> u64 {
        self.bits(MIN_ETHERNET_PAYLOAD) - MIN_ETHERNET_PAYLOAD as u64 * 8
    }

    /// Bytes of the Ethernet frame without FCS, as interface counters count them.
    pub fn frame_bytes(&self, payload: usize) -> u64 {
        (payload + self.ip_udp_headers + ETHERNET_HEADER + self.tag) as u64
    }
}

/// The time that `bits` take at `rate_bps`, rounded down to a nanosecond.
pub fn time_of(bits: u64, rate_bps: u64) -> Duration {
    let ns = u128::from(bits) * 1_000_000_000 / u128::from(rate_bps.max(1));
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// Bits that pass in `time` at `rate_bps`.
pub fn bits_in(time: Duration, rate_bps: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(rate_bps) / 1_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_wire() {
        let group: IpAddr = "232.1.1.1".parse().unwrap();
        let payload = 1364;
        assert_eq!(Cost::new(RateLayer::Ip, group).bits(payload), 1392 * 8);
        assert_eq!(Cost::new(RateLayer::L2, group).bits(payload), 1410 * 8);
        assert_eq!(Cost::new(RateLayer::L1, group).bits(payload), 1430 * 8);
        assert_eq!(Cost::new(RateLayer::L1, group).bits(1), 84 * 8);
        let tagged = |layer| Cost::new(layer, group).with_tag(true);
        assert_eq!((tagged(RateLayer::L1).bits(payload), tagged(RateLayer::L1).frame_bytes(payload)), (1434 * 8, 1410));
        assert_eq!(tagged(RateLayer::Ip).bits(payload), 1392 * 8);
        assert_eq!(Cost::new(RateLayer::L1, group).frame_bytes(payload), 1406);
        let v6: IpAddr = "ff3e::8000:1".parse().unwrap();
        assert_eq!(Cost::new(RateLayer::L1, v6).bits(payload), 1450 * 8);
    }

    #[test]
    fn refuses_rates_that_no_packet_can_have() {
        assert_eq!(parse_rate("1k"), Ok(MIN_RATE_BPS));
        assert_eq!(parse_rate("1000G"), Ok(MAX_RATE_BPS));
        for bad in ["0", "1", "999", "1001G", "9000000G", "", "-5M"] {
            let error = parse_rate(bad).unwrap_err();
            assert!(error.contains("write"), "{bad}: {error}");
        }
    }

    #[test]
    fn time_and_bits_agree() {
        assert_eq!(time_of(1_000_000, 100_000_000), Duration::from_millis(10));
        assert_eq!(bits_in(Duration::from_millis(10), 100_000_000), 1_000_000);
        assert_eq!(time_of(u64::MAX, 0), Duration::from_nanos(u64::MAX));
    }
}
