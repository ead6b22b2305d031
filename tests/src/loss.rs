//! Random loss as a pure function, the same one that `loss.bpf.c` computes at a receiver's veth.
//!
//! What is lost depends on a receiver's key, on which symbol a packet carries, and on how many copies of it came before;
//! see `loss.bpf.c` for the reasons. So a run repeats exactly, and a simulated receiver with the same key loses exactly
//! what a real one does.

use std::collections::HashMap;

const PPM: u64 = 1_000_000;
const LCT_VERSION: u8 = 1;
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// One receiver's loss: independent for every packet, or in bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    key: u64,
    drop_below: u64,
    /// The same for the packet after a lost one.
    stay_below: u64,
}

impl Loss {
    /// A loss of `loss_ppm` packets in a million (more means all of them), decided by `key`.
    pub fn new(key: u64, loss_ppm: u32) -> Self {
        let drop_below = (u64::from(loss_ppm).min(PPM) << 32) / PPM;
        Self { key, drop_below, stay_below: drop_below }
    }

    /// The loss of receiver `index` in a run with this seed: other receivers and other seeds lose other packets.
    pub fn of_receiver(seed: u64, index: usize, loss_ppm: u32) -> Self {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        Self::new(mix(mix(seed).wrapping_add(index.wrapping_mul(GOLDEN_GAMMA))), loss_ppm)
    }

    /// As many packets lost, in bursts of `packets` in the mean (Gilbert–Elliott, all lost in the bad state).
    #[must_use]
    pub fn in_bursts(self, packets: u32) -> Self {
        const ONE: u64 = 1 << 32;
        let packets = u64::from(packets.max(1));
        // A burst ends with probability 1 / packets, and begins with what keeps the share.
        let begin =
            u128::from(self.drop_below) * u128::from(ONE) / u128::from((packets * (ONE - self.drop_below)).max(1));
        let drop_below = u64::try_from(begin).unwrap_or(ONE).min(ONE);
        let stay_below = if self.drop_below == ONE { ONE } else { ONE - ONE / packets };
        Self { drop_below, stay_below, ..self }
    }

    /// The receiver's key.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Of 2³² possible hashes, how many are a loss.
    pub fn drop_below(&self) -> u64 {
        self.drop_below
    }

    /// The same for the packet after a lost one.
    pub fn stay_below(&self) -> u64 {
        self.stay_below
    }

    /// Is the packet lost that carries this [`identity`] after `copies_before` others of the same identity? Bursts depend on
    /// the packet before, too: see [`LossStream`].
    pub fn drops(&self, identity: u64, copies_before: u64) -> bool {
        self.hash(identity, copies_before) < self.drop_below
    }

    fn hash(&self, identity: u64, copies_before: u64) -> u64 {
        mix(mix(self.key ^ mix(identity)).wrapping_add(copies_before)) >> 32
    }
}

/// What a packet carries: the low 32 bits of its TOI, then its FEC Payload ID. `None` when it is not an LCT packet
/// (RFC 5651 §5.1) with a TOI.
pub fn identity(udp_payload: &[u8]) -> Option<u64> {
    let &[first, second, header_words, _, ..] = udp_payload else { return None };
    if first >> 4 != LCT_VERSION {
        return None;
    }
    let half = usize::from(second >> 4 & 1);
    let toi_len = usize::from(second >> 5 & 3) * 4 + half * 2;
    let toi_end = 4 + (usize::from(first >> 2 & 3) + 1) * 4 + usize::from(second >> 7) * 4 + half * 2 + toi_len;
    let header_len = usize::from(header_words) * 4;
    if toi_len == 0 || header_len < toi_end {
        return None;
    }
    let word = |at: usize| Some(u64::from(u32::from_be_bytes(udp_payload.get(at..at + 4)?.try_into().ok()?)));
    let payload_id = word(header_len)?;
    let toi = word(toi_end - 4)? & if toi_len == 2 { 0xffff } else { u64::MAX };
    Some(toi << 32 | payload_id)
}

/// Follows a stream of packets in the order in which a receiver gets them, as the kernel program does.
#[derive(Debug, Clone)]
pub struct LossStream {
    loss: Loss,
    copies: HashMap<u64, u64>,
    seen: u64,
    is_losing: bool,
}

impl LossStream {
    /// At the begin of a stream.
    pub fn new(loss: Loss) -> Self {
        Self { loss, copies: HashMap::new(), seen: 0, is_losing: false }
    }

    /// Is the next datagram lost, which carries these bytes?
    pub fn drops(&mut self, udp_payload: &[u8]) -> bool {
        let ordinal = self.seen;
        self.seen += 1;
        let (identity, copy) = match identity(udp_payload) {
            Some(identity) => {
                let copies = self.copies.entry(identity).or_default();
                *copies += 1;
                (identity, *copies - 1)
            }
            None => (u64::MAX, ordinal),
        };
        let below = if self.is_losing { self.loss.stay_below } else { self.loss.drop_below };
        self.is_losing = self.loss.hash(identity, copy) < below;
        self.is_losing
    }
}

/// The finalizer of SplitMix64: every input bit reaches every output bit.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: [u8; 20] = [0x10, 0xa0, 4, 6, 0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 2, 7, 0, 1, 5];

    #[test]
    fn identity_is_toi_and_payload_id_whatever_the_widths_and_extensions() {
        assert_eq!(identity(&WIDE), Some(2 << 32 | 0x0700_0105));
        let narrow = [0x10, 0x10, 3, 6, 0, 0, 0, 0, 9, 9, 0, 2, 7, 0, 1, 5];
        assert_eq!(identity(&narrow), identity(&WIDE));
        let mut extended = WIDE.to_vec();
        extended[2] = 5;
        extended.splice(16..16, [192, 0x20, 0, 1]);
        assert_eq!(identity(&extended), identity(&WIDE));
    }

    #[test]
    fn what_is_not_lct_has_no_identity() {
        for len in 0..WIDE.len() {
            assert_eq!(identity(&WIDE[..len]), None, "{len}");
        }
        let with = |at: usize, byte: u8| {
            let mut packet = WIDE;
            packet[at] = byte;
            identity(&packet)
        };
        assert_eq!(with(0, 0x50), None, "another version");
        assert_eq!(with(1, 0x80), None, "no TOI");
        assert_eq!(with(2, 3), None, "a header that ends inside the TOI");
        assert_eq!(with(2, 255), None, "a header longer than the packet");
    }

    /// Five standard deviations of n Bernoulli draws around p × n.
    fn within_chance(hits: usize, n: usize, p: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let (hits, n) = (hits as f64, n as f64);
        (hits - n * p).abs() < 5.0 * (n * p * (1.0 - p)).sqrt()
    }

    #[test]
    fn rates_are_met_and_the_ends_are_exact() {
        let hits = |loss: Loss| (0..100_000).filter(|&n| loss.drops(2 << 32 | n, 0)).count();
        assert!(within_chance(hits(Loss::new(1, 20_000)), 100_000, 0.02));
        assert_eq!(hits(Loss::new(1, 0)), 0);
        assert_eq!(hits(Loss::new(1, 1_000_000)), 100_000);
        assert_eq!(Loss::new(1, u32::MAX), Loss::new(1, 1_000_000));
    }

    #[test]
    fn bursts_keep_the_share_and_have_the_length() {
        let mut stream = LossStream::new(Loss::new(5, 20_000).in_bursts(10));
        let packet = |n: u32| [&WIDE[..16], &n.to_be_bytes()].concat();
        let lost: Vec<bool> = (0..400_000).map(|n| stream.drops(&packet(n))).collect();
        let (share, bursts) =
            (lost.iter().filter(|lost| **lost).count(), lost.windows(2).filter(|w| w[1] && !w[0]).count());
        assert!((7_000..9_000).contains(&share), "{share} lost");
        assert!((8 * bursts..12 * bursts).contains(&share), "{share} lost in {bursts} bursts");
        assert_eq!(Loss::new(5, 1_000_000).in_bursts(10).stay_below(), 1 << 32);
        assert_eq!(Loss::new(5, 0).in_bursts(10).drop_below(), 0);
    }

    #[test]
    fn receivers_and_copies_are_independent() {
        let p = 0.1;
        let [a, b] = [0, 1].map(|index| Loss::of_receiver(7, index, 100_000));
        assert_ne!(a, Loss::of_receiver(8, 0, 100_000));
        let both = (0..100_000).filter(|&n| a.drops(n, 0) && b.drops(n, 0)).count();
        assert!(within_chance(both, 100_000, p * p), "{both} lost by both");
        let again = (0..100_000).filter(|&n| a.drops(n, 0) && a.drops(n, 1)).count();
        assert!(within_chance(again, 100_000, p * p), "{again} lost twice");
        let repeats = (0..100_000).filter(|&copies| a.drops(3 << 32, copies)).count();
        assert!(within_chance(repeats, 100_000, p), "{repeats} of the same packet");
    }

    #[test]
    fn a_stream_counts_copies() {
        let loss = Loss::new(3, 500_000);
        let mut stream = LossStream::new(loss);
        for copy in 0..50 {
            assert_eq!(stream.drops(&WIDE), loss.drops(identity(&WIDE).unwrap(), copy));
            assert_eq!(stream.drops(b"other"), loss.drops(u64::MAX, 2 * copy + 1));
        }
    }
}
