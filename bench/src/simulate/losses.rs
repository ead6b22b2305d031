//! Which packets a receiver loses, drawn by the gaps between losses: so a packet that arrives costs nothing.

use fleetcast_protocol::simulation::Random;

/// How packets are lost.
#[derive(Debug, Clone, Copy)]
pub struct LossModel {
    /// Probability that a packet begins a loss.
    begin: f64,
    /// Probability that the packet after a lost one arrives.
    end: f64,
    is_bursty: bool,
}

impl LossModel {
    /// Each packet is lost with probability `loss`, whatever happened before.
    pub fn independent(loss: f64) -> Self {
        Self { begin: loss, end: 1.0, is_bursty: false }
    }

    /// A share `loss` of the packets is lost, in bursts of `burst` packets in the mean (Gilbert–Elliott, all lost in the bad
    /// state).
    pub fn bursts(loss: f64, burst: f64) -> Self {
        let end = 1.0 / burst.max(1.0);
        Self { begin: (end * loss / (1.0 - loss)).min(1.0), end, is_bursty: true }
    }

    /// Packets until the next loss begins; after a burst one has arrived for certain.
    fn gap(&self, random: &mut Random) -> u64 {
        geometric(self.begin, random).saturating_add(u64::from(self.is_bursty))
    }

    /// Packets lost in a row.
    fn lost(&self, random: &mut Random) -> u64 {
        if self.is_bursty { geometric(self.end, random).saturating_add(1) } else { 1 }
    }
}

/// Failures before the first success, each trial succeeding with probability `success`.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn geometric(success: f64, random: &mut Random) -> u64 {
    if success <= 0.0 {
        return u64::MAX;
    }
    let uniform = ((random.next_u64() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    (uniform.ln() / (-success).ln_1p()) as u64
}

/// Where a receiver stands in its sequence of losses.
#[derive(Debug, Clone, Copy)]
pub struct Losses {
    /// Packets until losing ends or begins.
    left: u64,
    is_losing: bool,
}

impl Losses {
    /// Before the first packet.
    pub fn new(model: &LossModel, random: &mut Random) -> Self {
        Self { left: model.gap(random), is_losing: false }
    }

    /// Adds to `lost` which of the next `packets` are, as indices from 0.
    pub fn draw(&mut self, model: &LossModel, random: &mut Random, packets: u32, lost: &mut Vec<u32>) {
        let mut next = 0;
        while next < packets {
            if self.left == 0 {
                self.turn(model, random);
                continue;
            }
            let step = u32::try_from(self.left).unwrap_or(u32::MAX).min(packets - next);
            if self.is_losing {
                lost.extend(next..next + step);
            }
            next += step;
            self.left -= u64::from(step);
        }
    }

    /// So much time passes as that many packets take. A burst is an outage of the path, which ends with time, whether
    /// packets are sent or not; where each packet is lost by itself, nothing changes.
    pub fn idle(&mut self, model: &LossModel, random: &mut Random, packets: u64) {
        let mut left = if model.is_bursty { packets } else { 0 };
        while left > 0 {
            if self.left == 0 {
                self.turn(model, random);
                continue;
            }
            let step = self.left.min(left);
            self.left -= step;
            left -= step;
        }
    }

    /// Losing ends or begins.
    fn turn(&mut self, model: &LossModel, random: &mut Random) {
        self.is_losing = !self.is_losing;
        self.left = if self.is_losing { model.lost(random) } else { model.gap(random) };
    }

    /// Whether the next packet is lost.
    pub fn loses(&mut self, model: &LossModel, random: &mut Random) -> bool {
        let mut lost = Vec::new();
        self.draw(model, random, 1, &mut lost);
        !lost.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share lost of many packets, and the mean length of what is lost in a row.
    fn measured(model: &LossModel) -> (f64, f64) {
        let mut random = Random::new(5);
        let mut losses = Losses::new(model, &mut random);
        let (mut lost, mut bursts, mut packets) = (0u32, 0u32, 0u32);
        let mut before = None;
        for len in (1..2000).cycle().take(2000) {
            let mut indices = Vec::new();
            losses.draw(model, &mut random, len, &mut indices);
            for index in indices {
                lost += 1;
                bursts += u32::from(before != Some(packets + index));
                before = Some(packets + index + 1);
            }
            packets += len;
        }
        (f64::from(lost) / f64::from(packets), f64::from(lost) / f64::from(bursts.max(1)))
    }

    #[test]
    fn as_much_is_lost_and_in_such_bursts_as_was_asked_for() {
        for loss in [0.0, 0.01, 0.3] {
            let (share, burst) = measured(&LossModel::independent(loss));
            assert!((share - loss).abs() < 0.02 * loss + 1e-9, "{loss}: {share}");
            assert!(loss == 0.0 || (burst - 1.0 / (1.0 - loss)).abs() < 0.02, "{loss}: bursts of {burst}");
            let (share, burst) = measured(&LossModel::bursts(loss, 8.0));
            assert!((share - loss).abs() < 0.1 * loss + 1e-9, "{loss}: {share}");
            assert!(loss == 0.0 || (burst - 8.0).abs() < 0.5, "{loss}: bursts of {burst}");
        }
    }

    #[test]
    fn a_burst_ends_with_time() {
        let (model, mut random) = (LossModel::bursts(0.5, 10.0), Random::new(3));
        let mut losses = Losses::new(&model, &mut random);
        let mut in_a_row = 0;
        let mut longest = 0;
        for _ in 0..1000 {
            in_a_row = if losses.loses(&model, &mut random) { in_a_row + 1 } else { 0 };
            longest = longest.max(in_a_row);
            losses.idle(&model, &mut random, 100);
        }
        assert!((5..20).contains(&longest), "as if each were lost by itself: {longest}");
    }

    #[test]
    fn everything_can_be_lost() {
        let mut random = Random::new(1);
        let model = LossModel::independent(1.0);
        let mut losses = Losses::new(&model, &mut random);
        assert!((0..100).all(|_| losses.loses(&model, &mut random)));
    }
}
