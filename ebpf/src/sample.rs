//! A drop that the program has kept for the log: `struct sample` of `filter.bpf.c`.

use crate::channel::read_address;
use crate::counters::Verdict;
use std::net::IpAddr;

/// One of the packets that were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sample {
    /// Whom it said that it came from.
    pub source: IpAddr,
    /// The group it was sent to.
    pub group: IpAddr,
    /// The UDP port, where it had one that could be read.
    pub port: Option<u16>,
    /// Why it was dropped.
    pub verdict: Verdict,
}

impl Sample {
    /// Reads what the program wrote; `None` for anything else.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (addresses, rest) = bytes.split_first_chunk::<32>()?;
        let &[family @ .., p0, p1, v0, v1, v2, v3] = rest.first_chunk::<8>()?;
        let family = u16::from_ne_bytes(family);
        let port = u16::from_be_bytes([p0, p1]);
        Some(Self {
            source: read_address(family, &addresses[..16])?,
            group: read_address(family, &addresses[16..])?,
            port: (port != 0).then_some(port),
            verdict: Verdict::from_number(u32::from_ne_bytes([v0, v1, v2, v3]))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_sample_and_nothing_else() {
        let mut bytes = [0; 40];
        bytes[..4].copy_from_slice(&[10, 0, 0, 9]);
        bytes[16..20].copy_from_slice(&[232, 1, 1, 1]);
        bytes[32..34].copy_from_slice(&2_u16.to_ne_bytes());
        bytes[34..36].copy_from_slice(&5000_u16.to_be_bytes());
        bytes[36..].copy_from_slice(&(Verdict::WrongSource as u32).to_ne_bytes());
        let sample = Sample::read(&bytes).unwrap();
        assert_eq!((sample.source.to_string(), sample.group.to_string()), ("10.0.0.9".into(), "232.1.1.1".into()));
        assert_eq!((sample.port, sample.verdict), (Some(5000), Verdict::WrongSource));
        for len in 0..40 {
            assert_eq!(Sample::read(&bytes[..len]), None);
        }
        bytes[36..].copy_from_slice(&99_u32.to_ne_bytes());
        assert_eq!(Sample::read(&bytes), None);
        bytes[32..34].copy_from_slice(&3_u16.to_ne_bytes());
        assert_eq!(Sample::read(&bytes), None);
    }
}
