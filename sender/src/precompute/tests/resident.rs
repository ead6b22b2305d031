//! A resident carousel: what it sends is what a pass that is made anew would be.

use super::*;

/// The symbols of a packet of the image.
fn symbol_of(bytes: &[u8]) -> Option<(u32, u32)> {
    let packet = Packet::parse(bytes).unwrap();
    let id = packet.payload_id().ok()?;
    (packet.header.toi == TOI_IMAGE).then_some((id.sbn, id.esi))
}

#[test]
fn a_resident_pass_is_filled_once_and_sent_again_and_again() {
    const PASSES: u32 = 7;
    const SETS: u32 = 2;
    let fixture = fixture();
    let session = fixture.session_of(Some(PASSES)).with_repair_sets(SETS);
    let schedule = *session.schedule();
    let expected: Vec<_> =
        (0..PASSES).flat_map(|pass| schedule.pass(pass % SETS)).map(|id| (u32::from(id.sbn), id.esi)).collect();
    let cost = Cost::new(RateLayer::L1, "232.1.1.1".parse().unwrap());
    let shape = Shape { slot_packets: 5, repair_job_slots: 4, source_job_slots: 3 };
    let filler = Filler::new(fixture.image(), fixture.manifest.clone(), session.writer());
    let mut planner = Planner::new(session, cost, pace(), shape, Some(Resident::new(1000)));
    let (free, incoming) = crossbeam_channel::unbounded();
    free.send((0..400).map(|_| Slot::with_capacity(1500)).collect()).unwrap();
    let mut pool = SlotPool::new(incoming);
    let (mut seen, mut filled, mut bits) = (Vec::new(), Vec::new(), 0);
    while let Some(planned) = planner.next(&mut pool).unwrap() {
        let mut job = match planned {
            Planned::Fill(mut job) => {
                filler.fill(&mut job).unwrap();
                filled.push(seen.len());
                job
            }
            Planned::Ready(job) => job,
        };
        fixture.assert_right(&mut job);
        for slot in &mut job.slots {
            assert_eq!(slot.mark.bits, bits);
            bits += slot.bits;
            seen.extend(slot.packets_mut().filter_map(|packet| symbol_of(packet)));
        }
        job.slots.reverse();
        free.send(job.slots).unwrap();
    }
    assert_eq!(seen, expected);
    // Past the first two passes only control packets are filled, and at last the slot with flag B.
    let resident = 2 * schedule.len();
    let fresh = filled.iter().filter(|&&before| before as u64 > resident).count();
    assert!(fresh <= 60, "{fresh} jobs were filled after everything was there");
    assert!(filled.len() > fresh);
}

#[test]
fn a_resident_pass_that_has_too_few_places_is_sent_whole_nevertheless() {
    let fixture = fixture();
    let session = fixture.session_of(Some(4)).with_repair_sets(3);
    let schedule = *session.schedule();
    let expected: Vec<_> =
        (0..4).flat_map(|pass| schedule.pass(pass % 3)).map(|id| (u32::from(id.sbn), id.esi)).collect();
    let cost = Cost::new(RateLayer::L1, "232.1.1.1".parse().unwrap());
    let shape = Shape { slot_packets: 5, repair_job_slots: 4, source_job_slots: 3 };
    let filler = Filler::new(fixture.image(), fixture.manifest.clone(), session.writer());
    let planner = Planner::new(session, cost, pace(), shape, Some(Resident::new(20)));
    let slots = (0..36).map(|_| Slot::with_capacity(1500)).collect();
    let pipeline = start(planner, filler, slots, &Threads::new(2), 1).unwrap();
    let slots = drain(pipeline).unwrap();
    let seen: Vec<_> = slots.iter().flat_map(|(.., packets)| packets).filter_map(|packet| symbol_of(packet)).collect();
    assert_eq!(seen, expected);
}
