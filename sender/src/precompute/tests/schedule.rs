//! Several sending threads, and rates that change.

use super::*;

#[test]
fn slots_are_dealt_to_the_sending_threads_in_turn_and_none_is_lost() {
    let fixture = fixture();
    let all = drain(fixture.start(fixture.image(), 2)).unwrap();
    for senders in [2, 3] {
        let pipeline = fixture.start_for(fixture.image(), 2, senders);
        let free = pipeline.free;
        let hands: Vec<Vec<Dated>> = thread::scope(|scope| {
            let threads: Vec<_> = pipeline
                .filled
                .into_iter()
                .map(|filled| {
                    let free = free.clone();
                    scope.spawn(move || drain(Pipeline { filled: vec![filled], free }).unwrap())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (index, expected) in all.iter().enumerate() {
            assert_eq!(hands[index % senders][index / senders].0, expected.0);
        }
        assert_eq!(hands.iter().map(Vec::len).sum::<usize>(), all.len());
    }
}

#[test]
fn control_packets_keep_their_share_when_the_rate_changes() {
    let fixture = fixture();
    let pace = pace();
    let cost = Cost::new(RateLayer::L1, "232.1.1.1".parse().unwrap());
    let shape = Shape { slot_packets: 5, repair_job_slots: 4, source_job_slots: 3 };
    let mut session = fixture.session_of(None);
    session.set_rate_bps(RATE_BPS);
    let mut planner = Planner::new(session, cost, Arc::clone(&pace), shape, None);
    // Passes over this image take a tenth of a second at first, and a second per round of control packets is kept; later
    // a round costs 1 % of the rate at most, however slow.
    for rate_bps in [RATE_BPS, 100_000, 50_000_000] {
        pace.timeline.set_rate_bps(rate_bps);
        let (mut control_bits, mut bits) = (0, 0);
        // Past what announces the passes, which come quickly here.
        while bits < 30 * 1_000_000 {
            let job = planner.next_job(|| Some(Slot::with_capacity(1500))).unwrap().unwrap();
            let packets = job.packets.iter().map(|packet| &packet.packet);
            control_bits += packets
                .filter_map(|packet| match packet {
                    Outgoing::Control(bytes) if Packet::parse(bytes).unwrap().header.toi != TOI_ANNOUNCEMENT => {
                        Some(cost.bits(bytes.len()))
                    }
                    _ => None,
                })
                .sum::<u64>();
            bits += job.slots.iter().map(|slot| slot.bits).sum::<u64>();
        }
        assert!(control_bits * 100 <= bits * 2, "{control_bits} of {bits} bits at {rate_bps}");
        assert!(control_bits > 0);
    }
}
