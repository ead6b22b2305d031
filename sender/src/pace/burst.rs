//! Bursts: what may leave back to back, and how slots are put together into it.

use super::Mark;
use crate::rate::bits_in;
use crate::transmit::Slot;
use fleetcast_cli::units::parse_duration;
use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

/// Line time of a burst, at rates where that is more than [`MIN_PACKETS`].
const DEFAULT_TIME: Duration = Duration::from_micros(250);
/// Up to [`MIN_PACKETS_RATE_BPS`], bursts of this many packets are allowed: waking for fewer costs much and wins little.
const MIN_PACKETS: u64 = 8;
/// Above this rate a burst is [`DEFAULT_TIME`] and nothing more.
const MIN_PACKETS_RATE_BPS: u64 = 1_000_000_000;
/// The largest number of packets that may be asked for.
const MAX_PACKETS: u64 = 65_536;
/// The longest time that may be asked for.
const MAX_TIME: Duration = Duration::from_millis(100);

/// How long bursts may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Burst {
    /// 250 µs of line time, and at least 8 packets up to 1 Gbit/s (design section 5).
    #[default]
    Default,
    /// A number of packets.
    Packets(u64),
    /// Line time.
    Time(Duration),
}

impl Burst {
    /// Packets of `packet_bits` that may leave back to back at `rate_bps`, at least one.
    pub fn packets(self, rate_bps: u64, packet_bits: u64) -> u64 {
        let in_time = |time| bits_in(time, rate_bps) / packet_bits.max(1);
        let packets = match self {
            Self::Default if rate_bps <= MIN_PACKETS_RATE_BPS => in_time(DEFAULT_TIME).max(MIN_PACKETS),
            Self::Default => in_time(DEFAULT_TIME),
            Self::Packets(packets) => packets,
            Self::Time(time) => in_time(time),
        };
        packets.max(1)
    }
}

impl FromStr for Burst {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            format!(
                "'{text}' is no burst; write a number of packets from 1 to {MAX_PACKETS}, or a time up to {} ms such as 750us",
                MAX_TIME.as_millis()
            )
        };
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let packets = text.parse().ok().filter(|packets| (1..=MAX_PACKETS).contains(packets));
            return packets.map(Self::Packets).ok_or_else(error);
        }
        // A plain fraction would be seconds.
        let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
        let time = parse_duration(text).ok().filter(|time| has_unit && *time <= MAX_TIME);
        time.map(Self::Time).ok_or_else(error)
    }
}

/// Takes jobs apart into bursts.
#[derive(Debug)]
pub struct Bursts {
    slots: VecDeque<Slot>,
}

impl Bursts {
    /// With room for `slots` slots.
    pub fn with_capacity(slots: usize) -> Self {
        Self { slots: VecDeque::with_capacity(slots) }
    }

    /// Takes up slots that follow those at hand.
    pub fn extend(&mut self, slots: &mut Vec<Slot>) {
        self.slots.extend(slots.drain(..));
    }

    /// Whether nothing is at hand.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Where the next burst is.
    pub fn next(&self) -> Option<Mark> {
        self.slots.front().map(|slot| slot.mark)
    }

    /// Moves the slots of the next burst to `burst`: the first, and what follows it without a pause within `burst_bits`.
    pub fn take(&mut self, burst_bits: u64, burst: &mut VecDeque<Slot>) {
        let Some(first) = self.next() else { return };
        let belongs = |slot: &mut Slot| {
            slot.mark == first
                || (slot.mark.pauses == first.pauses && slot.mark.bits + slot.bits <= first.bits + burst_bits)
        };
        while let Some(slot) = self.slots.pop_front_if(belongs) {
            burst.push_back(slot);
        }
    }

    /// Whether the slots at hand already make a whole burst.
    pub fn hold_whole_burst(&self, burst_bits: u64) -> bool {
        match (self.slots.front(), self.slots.back()) {
            (Some(first), Some(last)) => {
                last.mark.pauses > first.mark.pauses || last.mark.bits + last.bits >= first.mark.bits + burst_bits
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_eight_packets_or_a_quarter_millisecond() {
        let packet_bits = 1430 * 8;
        let default = |rate_bps| Burst::Default.packets(rate_bps, packet_bits);
        assert_eq!(default(10_000_000), 8);
        assert_eq!(default(100_000_000), 8);
        assert_eq!(default(1_000_000_000), 21);
        assert_eq!(default(5_000_000_000), 109);
        assert_eq!(Burst::Packets(3).packets(5_000_000_000, packet_bits), 3);
        assert_eq!(Burst::Time(Duration::from_micros(750)).packets(1_000_000_000, packet_bits), 65);
        assert_eq!(Burst::Time(Duration::from_micros(750)).packets(1_000, packet_bits), 1);
        assert_eq!(Burst::Default.packets(2_000_000_000, u64::MAX), 1);
    }

    #[test]
    fn a_burst_is_a_number_or_a_time() {
        assert_eq!("8".parse(), Ok(Burst::Packets(8)));
        assert_eq!("750us".parse(), Ok(Burst::Time(Duration::from_micros(750))));
        assert_eq!("2ms".parse(), Ok(Burst::Time(Duration::from_millis(2))));
        for bad in ["", "0", "65537", "0.5", "101ms", "5m", "-1", "us", "99999999999999999999"] {
            assert!(bad.parse::<Burst>().unwrap_err().contains("750us"), "{bad}");
        }
    }

    #[test]
    fn a_burst_ends_at_a_pause_and_at_its_length() {
        let mut bursts = Bursts::with_capacity(8);
        for (bits, pauses_ms, len) in [(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 7, 1), (4, 7, 9), (13, 7, 1)] {
            let mut slot = Slot::with_capacity(64);
            slot.push(1).unwrap();
            (slot.mark, slot.bits) = (Mark { bits, pauses: Duration::from_millis(pauses_ms) }, len);
            bursts.slots.push_back(slot);
        }
        let mut lens = Vec::new();
        while !bursts.is_empty() {
            let mut burst = VecDeque::new();
            bursts.take(2, &mut burst);
            lens.push(burst.len());
        }
        assert_eq!(lens, [2, 1, 1, 1, 1]);
    }
}
