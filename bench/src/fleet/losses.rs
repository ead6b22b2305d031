//! Which routers lose a packet: for all of them at once, what the loss program at a real receiver's door would do.

use fleetcast_tests::loss::{Loss, mix};
use std::collections::HashMap;

/// Routers whose fate lies in one word.
const LANES: usize = u64::BITS as usize;

/// The losses of a fleet, and where each stands.
pub struct LossBank {
    losses: Vec<Loss>,
    /// By router, to whole words of them: its key, and how many of 2³² hashes are a loss to it now.
    keys: Vec<u64>,
    below: Vec<u64>,
    /// Who lost the packet before, a bit a router.
    losing: Vec<u64>,
    is_bursty: bool,
    copies: HashMap<u64, u64>,
    seen: u64,
    dropped: Vec<u64>,
}

impl LossBank {
    /// At the begin of a stream, for routers with these losses.
    pub fn new(losses: Vec<Loss>) -> Self {
        let words = losses.len().div_ceil(LANES);
        let padded = |value: fn(&Loss) -> u64| {
            let mut values: Vec<u64> = losses.iter().map(value).collect();
            values.resize(words * LANES, 0);
            values
        };
        Self {
            keys: padded(Loss::key),
            below: padded(Loss::drop_below),
            losing: vec![0; words],
            is_bursty: losses.iter().any(|loss| loss.drop_below() != loss.stay_below()),
            copies: HashMap::new(),
            seen: 0,
            dropped: vec![0; losses.len()],
            losses,
        }
    }

    /// Adds to `lost` the routers that lose the next datagram, which has this [identity](fleetcast_tests::loss::identity).
    pub fn draw(&mut self, identity: Option<u64>, lost: &mut Vec<u32>) {
        let ordinal = self.seen;
        self.seen += 1;
        let (identity, copy) = match identity {
            Some(identity) => {
                let copies = self.copies.entry(identity).or_default();
                *copies += 1;
                (identity, *copies - 1)
            }
            None => (u64::MAX, ordinal),
        };
        let mixed = mix(identity);
        let (keys, _) = self.keys.as_chunks::<LANES>();
        let (below, _) = self.below.as_chunks_mut::<LANES>();
        for (word, ((keys, below), losing)) in (0u32..).zip(keys.iter().zip(below).zip(&mut self.losing)) {
            let hit = hits(keys, below, mixed, copy);
            for lane in ones(hit) {
                let router = word * u64::BITS + lane;
                self.dropped[router as usize] += 1;
                lost.push(router);
            }
            if self.is_bursty {
                for lane in ones(hit ^ *losing) {
                    let loss = &self.losses[(word * u64::BITS + lane) as usize];
                    below[lane as usize] = if hit >> lane & 1 == 1 { loss.stay_below() } else { loss.drop_below() };
                }
                *losing = hit;
            }
        }
    }

    /// Datagrams so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Of these, those that a router lost.
    pub fn dropped(&self, router: usize) -> u64 {
        self.dropped.get(router).copied().unwrap_or_default()
    }
}

/// Which of these routers lose the packet. Without a branch, so that the compiler can take several at a time.
fn hits(keys: &[u64; LANES], below: &[u64; LANES], mixed: u64, copy: u64) -> u64 {
    let mut hit = 0;
    for (lane, (key, below)) in keys.iter().zip(below).enumerate() {
        let hash = mix(mix(key ^ mixed).wrapping_add(copy)) >> 32;
        hit |= u64::from(hash < *below) << lane;
    }
    hit
}

/// The bits that are set, the lowest first.
fn ones(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lane = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (lane < u64::BITS).then_some(lane)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_tests::loss::{LossStream, identity};

    /// Packets of an ALC stream as far as a loss looks at them; some come several times, some are no ALC.
    fn packets() -> impl Iterator<Item = Vec<u8>> {
        (0..4000u32).map(|n| match n % 7 {
            0 => vec![9, 9],
            1 => [&[0x10, 0xa0, 4, 6, 0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 1][..], &[0; 4]].concat(),
            _ => [&[0x10, 0xa0, 4, 6, 0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 2][..], &(n / 2).to_be_bytes()].concat(),
        })
    }

    #[test]
    fn every_router_loses_what_a_real_one_would() {
        let loss = |index: usize| {
            let ppm = [0, 5_000, 50_000, 400_000, 1_000_000][index % 5];
            let loss = Loss::of_receiver(3, index, ppm);
            if index.is_multiple_of(2) { loss } else { loss.in_bursts(10) }
        };
        let losses: Vec<Loss> = (0..130).map(loss).collect();
        let mut streams: Vec<LossStream> = losses.iter().map(|loss| LossStream::new(*loss)).collect();
        let mut bank = LossBank::new(losses);
        let mut lost = Vec::new();
        for packet in packets() {
            lost.clear();
            bank.draw(identity(&packet), &mut lost);
            let real = (0u32..).zip(&mut streams).filter_map(|(index, stream)| stream.drops(&packet).then_some(index));
            assert_eq!(lost, real.collect::<Vec<_>>());
        }
        assert_eq!((bank.seen(), bank.dropped(0), bank.dropped(4)), (4000, 0, 4000));
        assert!(bank.dropped(3) > 1000);
    }
}
