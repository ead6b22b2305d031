//! Runs of symbols against the same symbols one by one: both ways lead to the same state.

use super::*;
use crate::session::sender::{Outgoing, Poll, SenderSession};

/// Two sessions that hear the same: one takes packets, the other takes runs.
struct Twins {
    by_packet: ReceiverSession,
    by_run: ReceiverSession,
    trust: Arc<TrustStore>,
    random: Random,
    /// Checks that both have asked for and that have not ended yet.
    checks: Vec<BlockCheck>,
    now: Duration,
}

impl Twins {
    fn new(seed: u64) -> Self {
        let trust = Arc::new(TrustStore::new([release_key().verifying_key()]));
        let session = || ReceiverSession::new(Arc::clone(&trust), device(None), None).with_feedback(seed);
        Self {
            by_packet: session(),
            by_run: session(),
            trust: Arc::clone(&trust),
            random: Random::new(seed),
            checks: Vec::new(),
            now: Duration::ZERO,
        }
    }

    fn control(&mut self, packet: &[u8]) {
        self.by_packet.on_packet(self.now, packet);
        self.by_run.on_shared_packet(self.now, &SharedPacket::new(packet.to_vec(), &self.trust));
        self.act();
        assert_equal(&self.by_packet, &self.by_run);
    }

    /// A run of which some is lost: nothing, a little, a burst, or nearly all.
    fn run(&mut self, sender: &SenderSession, symbols: Vec<SymbolId>) {
        let permille = [0, 20, 300, 990][self.random.index(4)];
        let burst = self.random.index(symbols.len())..self.random.index(symbols.len() + 1);
        let is_lost: Vec<bool> =
            (0..symbols.len()).map(|index| burst.contains(&index) || self.random.chance(permille)).collect();
        let lost: Vec<u32> = (0u32..).zip(&is_lost).filter(|(_, lost)| **lost).map(|(index, _)| index).collect();
        let writer = sender.writer();
        for (id, _) in symbols.iter().zip(&is_lost).filter(|(_, lost)| !**lost) {
            let mut packet = vec![0; writer.packet_len(*id)];
            writer.write_head(*id, false, &mut packet).unwrap();
            self.by_packet.on_packet(self.now, &packet);
        }
        let packet_len = writer.packet_len(symbols[0]);
        let run = SymbolRun::new(1, sender.schedule(), sender.pass(), packet_len, symbols).unwrap();
        self.by_run.on_range_received(self.now, &run, &lost);
        self.act();
        assert_equal(&self.by_packet, &self.by_run);
    }

    /// Does the same for both, and lets some checks end, as chance wills.
    fn act(&mut self) {
        loop {
            let actions = (self.by_packet.poll_action(), self.by_run.poll_action());
            assert_eq!(format!("{:?}", actions.0), format!("{:?}", actions.1));
            match actions.0 {
                Some(Action::Begin { .. }) => {
                    self.by_packet.begin(self.now, []);
                    self.by_run.begin(self.now, []);
                }
                Some(Action::Check(check)) => self.checks.push(check),
                Some(_) => {}
                None => break,
            }
        }
        let ended = if self.random.chance(300) { self.checks.len() } else { self.random.index(self.checks.len() + 1) };
        for check in self.checks.drain(..ended).collect::<Vec<_>>() {
            let outcome = match self.random.below(4) {
                0 => BlockOutcome::Singular,
                1 => BlockOutcome::Corrupt,
                _ => BlockOutcome::Verified { decoded: true, forged_symbols: 0 },
            };
            for session in [&mut self.by_packet, &mut self.by_run] {
                session.on_block(self.now, check.generation, check.range.sbn, outcome);
            }
        }
    }
}

fn assert_equal(one: &ReceiverSession, other: &ReceiverSession) {
    assert_eq!(one.stats, other.stats);
    assert_eq!(one.last_progress_at, other.last_progress_at);
    assert_eq!(one.poll_timeout(), other.poll_timeout());
    assert_eq!(one.next_feedback_at(), other.next_feedback_at());
    assert_eq!(format!("{:?}", one.reporting), format!("{:?}", other.reporting));
    let (Some(one), Some(other)) = (&one.upgrade, &other.upgrade) else {
        assert!(one.upgrade.is_none() && other.upgrade.is_none());
        return;
    };
    assert_eq!(one.blocks, other.blocks);
    assert_eq!(one.loss, other.loss);
}

/// Symbols as they are sent on request: of any blocks, from the upper half of the ESIs.
fn requested(random: &mut Random, blocks: u16) -> Vec<SymbolId> {
    let mut next = vec![1 << 23; usize::from(blocks)];
    (0..random.within(1..=60))
        .map(|_| {
            let sbn = random.index(next.len());
            next[sbn] += 1 + u32::from(random.chance(20));
            SymbolId { sbn: sbn as u8, esi: next[sbn] }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// What is proved here: a simulation that takes runs simulates the session that takes packets.
    #[test]
    fn runs_and_packets_lead_to_the_same_state(
        seed: u64, symbols in 1usize..400, blocks in 1u16..8, window in 1u16..9, repair in prop_oneof![Just(0), 1u32..4000],
    ) {
        let blocks = blocks.min(symbols as u16);
        let manifest = seal(&image(symbols * 8, seed), 8, blocks, 1, &release_key());
        let config = SenderConfig {
            window_blocks: window, repair: RepairShare::from_permyriad(repair), rate_bps: 50_000_000, ..sender_config(1, Some(3))
        };
        let mut sender = SenderSession::new(&config, &manifest).unwrap();
        let mut twins = Twins::new(seed);
        let mut random = Random::new(!seed);
        let mut symbols = Vec::new();
        loop {
            twins.now += TICK;
            let poll = sender.poll(twins.now).unwrap();
            let is_cut = !symbols.is_empty() && (random.chance(10) || !matches!(poll, Poll::Packet(Outgoing::Symbol { .. })));
            if is_cut {
                twins.run(&sender, std::mem::take(&mut symbols));
                if random.chance(200) {
                    twins.run(&sender, requested(&mut random, blocks));
                }
            }
            match poll {
                Poll::Packet(Outgoing::Symbol { id, .. }) => symbols.push(id),
                Poll::Packet(Outgoing::Control(packet)) => if !random.chance(200) { twins.control(&packet) },
                Poll::Wait(until) | Poll::Listen(until) => twins.now = until,
                Poll::Done => break,
            }
        }
    }
}
