//! Pacing by the kernel's fq qdisc, within bursts: SO_MAX_PACING_RATE.
//!
//! Bursts leave by our schedule all the same, and the average is ours; fq lets the packets of a burst (the super-packets, with
//! GSO) go one by one.

use std::str::FromStr;

/// fq may send this much faster than the rate, in percent, so that it is never fq that falls behind.
const HEAD_ROOM_PERCENT: u64 = 1;

/// Who spaces packets out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pacing {
    /// The sending threads, burst by burst.
    #[default]
    User,
    /// The sending threads, and within bursts the kernel.
    Fq,
}

impl FromStr for Pacing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "user" => Ok(Self::User),
            "fq" => Ok(Self::Fq),
            _ => Err(format!("there is no pacing '{text}'; choose user or fq")),
        }
    }
}

/// What fq is told: it counts Ethernet frames without FCS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelPacing {
    /// A packet of the image, as fq counts it, in bytes.
    pub frame_bytes: u64,
    /// The same packet, as the rate counts it, in bits.
    pub packet_bits: u64,
}

impl KernelPacing {
    /// Bytes a second for SO_MAX_PACING_RATE at `rate_bps`.
    pub fn bytes_per_s(&self, rate_bps: u64) -> u64 {
        let exact = u128::from(rate_bps) * u128::from(self.frame_bytes) / u128::from(self.packet_bits.max(1));
        u64::try_from(exact * u128::from(100 + HEAD_ROOM_PERCENT) / 100).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fq_gets_a_little_more_than_the_frames_need() {
        // 1,364 bytes of payload are a frame of 1,406 bytes, and 1,430 bytes of wire.
        let pacing = KernelPacing { frame_bytes: 1406, packet_bits: 1430 * 8 };
        let needed = 100_000_000 / (1430 * 8) * 1406;
        let told = pacing.bytes_per_s(100_000_000);
        assert!((needed * 1005 / 1000..needed * 1015 / 1000).contains(&told), "{told} for {needed}");
        assert_eq!(pacing.bytes_per_s(1), 1);
    }
}
