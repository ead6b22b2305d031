//! What a receiver says in a feedback round, and what it does not say whatever is announced.

use super::*;
use crate::announcement::Announcement;
use crate::feedback::{Deficits, Feedback};
use crate::simulation::Receiver;
use crate::wire::{Extension, FecId, IdWidth, NoCodeOti, PacketHead, PayloadId};

const TSI: u32 = 9;
const MS: Duration = Duration::from_millis(1);

/// A round of one receiver, at a round trip of 10 ms, in the last pass.
fn round(manifest: &UnverifiedManifest, number: u32) -> Announcement {
    Announcement {
        counter: 1,
        manifest_digest: manifest.digest(),
        pass: 0,
        passes: Some(1),
        pass_ended: true,
        window_blocks: 3,
        repair_symbols: (0, 0),
        group_size: Some(1),
        rtt_ms: Some(10),
        backoff_ms: Some(60),
        feedback_port: Some(5001),
        repair_urls: Vec::new(),
        round: Some(number),
        covered: Deficits::default(),
    }
}

fn packet(announcement: &Announcement) -> Vec<u8> {
    let bytes = announcement.to_cbor().unwrap();
    let size = bytes.len() as u16;
    let oti = NoCodeOti { transfer_length: u64::from(size), symbol_size: size, max_block_len: 1 };
    let head = PacketHead {
        width: IdWidth::W32,
        tsi: TSI,
        toi: TOI_ANNOUNCEMENT,
        fec: FecId::NoCode,
        close_session: false,
        close_object: false,
        payload_id: PayloadId { sbn: 0, esi: 0 },
        extensions: &[Extension::FtiNoCode(oti)],
    };
    let mut packet = vec![0; head.len() + bytes.len()];
    let len = head.write(&mut packet).unwrap();
    packet[len..].copy_from_slice(&bytes);
    packet
}

/// A receiver that was sent one pass of source symbols without those of which `loses` says so.
fn receiver(image: &[u8], manifest: &UnverifiedManifest, loses: impl Fn(u32, u32) -> bool) -> Receiver {
    let mut receiver = Receiver::default().with_feedback(1);
    let config = SenderConfig { repair: RepairShare::NONE, ..config(TSI, 1) };
    for packet in packets(&config, manifest, image) {
        let parsed = Packet::parse(&packet).unwrap();
        let id = parsed.payload_id().unwrap();
        if parsed.header.toi != TOI_IMAGE || !loses(id.sbn, id.esi) {
            receiver.deliver(receiver.now() + TICK, &packet);
        }
    }
    receiver
}

/// What it says until `until`.
fn said(receiver: &mut Receiver, until: Duration) -> Vec<(Duration, Feedback)> {
    let mut said = Vec::new();
    while let Some(at) = receiver.session.next_feedback_at().filter(|at| *at <= until) {
        let at = at.max(receiver.now());
        receiver.pass_time(at);
        let request = receiver.session.poll_feedback(at);
        said.extend(request.map(|request| (at, Feedback::from_cbor(&request.datagram).unwrap())));
    }
    receiver.pass_time(until);
    said
}

#[test]
fn says_what_is_lacking_and_is_silent_once_it_is_covered() {
    let image = image(64 * 100, 1);
    let manifest = seal(&image, 64, 2, 1, &release_key());
    let mut receiver = receiver(&image, &manifest, |sbn, esi| (20..[23, 27][sbn as usize]).contains(&esi));
    let start = receiver.now();
    receiver.deliver(start, &packet(&round(&manifest, 1)));
    let first = said(&mut receiver, start + 65 * MS);
    let (at, report) = &first[0];
    assert!(*at <= start + 60 * MS);
    assert_eq!((report.tsi, report.round, &report.deficits), (TSI, 1, &Deficits::from_counts([3, 7])));
    assert_eq!(report.digest_prefix, manifest.digest()[..8]);
    assert!(report.loss_ppm.unwrap().abs_diff(100_000) < 1_000, "{report:?}");
    // One block is covered: the other is asked for alone. Both are: nothing is.
    let mut announcement = round(&manifest, 2);
    announcement.covered = Deficits::from_counts([3, 6]);
    let start = receiver.now();
    receiver.deliver(start, &packet(&announcement));
    let reports = said(&mut receiver, start + 200 * MS);
    assert!(reports.iter().all(|(_, report)| report.deficits == Deficits::from_counts([0, 7])));
    assert_eq!(reports.len(), 3, "once, and twice more as nobody confirms it");
    announcement.round = Some(3);
    announcement.covered = Deficits::from_counts([3, 7]);
    receiver.deliver(receiver.now(), &packet(&announcement));
    let until = receiver.now() + 500 * MS;
    assert_eq!(said(&mut receiver, until), []);
    // A round that was before says nothing new.
    receiver.deliver(receiver.now(), &packet(&round(&manifest, 2)));
    assert_eq!(said(&mut receiver, until + 500 * MS), []);
}

#[test]
fn a_late_joiner_waits_for_the_next_pass_where_there_is_one() {
    let image = image(64 * 100, 1);
    let manifest = seal(&image, 64, 2, 1, &release_key());
    // Of 50 symbols a block, 12 may be asked for, 13 are left to the next pass.
    let mut receiver = receiver(&image, &manifest, |sbn, esi| esi < [12, 13][sbn as usize]);
    let mut announcement = Announcement { passes: None, ..round(&manifest, 1) };
    receiver.deliver(receiver.now(), &packet(&announcement));
    let until = receiver.now() + 100 * MS;
    assert_eq!(said(&mut receiver, until)[0].1.deficits, Deficits::from_counts([12]));
    // Repair that others asked for makes the second block lack less, and still it waits.
    let release = Release { image: image.clone(), manifest: manifest.clone() };
    let repair = SenderConfig { repair: RepairShare::from_permyriad(1000), ..config(TSI, 1) };
    let repair = Transmission::new(&repair, &release, TICK).map(|(_, packet)| packet).filter(|packet| {
        let parsed = Packet::parse(packet).unwrap();
        let id = parsed.payload_id().unwrap();
        parsed.header.toi == TOI_IMAGE && id.sbn == 1 && id.esi >= 50
    });
    repair.take(3).for_each(|packet| receiver.deliver(receiver.now(), &packet));
    announcement.round = Some(2);
    receiver.deliver(receiver.now(), &packet(&announcement));
    let until = until + 100 * MS;
    assert_eq!(said(&mut receiver, until)[0].1.deficits, Deficits::from_counts([12]));
    (announcement.passes, announcement.round) = (Some(1), Some(3));
    receiver.deliver(receiver.now(), &packet(&announcement));
    assert_eq!(said(&mut receiver, until + 100 * MS)[0].1.deficits, Deficits::from_counts([12, 10]));
}

#[test]
fn forged_rounds_draw_few_reports() {
    let image = image(64 * 100, 1);
    let manifest = seal(&image, 64, 2, 1, &release_key());
    let mut receiver = receiver(&image, &manifest, |_, esi| esi < 5);
    let start = receiver.now();
    let mut reports = 0;
    for number in 1..=1000 {
        let forged = Announcement { rtt_ms: Some(1), backoff_ms: Some(0), ..round(&manifest, number) };
        receiver.deliver(receiver.now() + 8 * MS, &packet(&forged));
        let now = receiver.now();
        reports += said(&mut receiver, now).len();
    }
    let periods = (receiver.now() - start).as_secs() / 10 + 1;
    assert!(reports as u64 <= 32 * periods && reports > 0, "{reports} in {periods} periods of ten seconds");
}

/// A block with just K symbols is tried when a round opens, not after its 200 ms of quiet: if it lacks one more, it can still
/// say so in this round.
#[test]
fn a_round_settles_what_is_in_doubt() {
    let image = image(64 * 100, 1);
    let manifest = seal(&image, 64, 1, 1, &release_key());
    let mut receiver = receiver(&image, &manifest, |_, esi| esi < 4).with_check_time(100 * MS);
    let release = Release { image: image.clone(), manifest: manifest.clone() };
    let repair = SenderConfig { repair: RepairShare::from_permyriad(400), ..config(TSI, 1) };
    let is_repair = |packet: &Vec<u8>| {
        let parsed = Packet::parse(packet).unwrap();
        parsed.header.toi == TOI_IMAGE && parsed.payload_id().unwrap().esi >= 100
    };
    let symbols = Transmission::new(&repair, &release, TICK).map(|(_, packet)| packet).filter(is_repair);
    for packet in symbols.take(4) {
        receiver.deliver(receiver.now() + TICK, &packet);
    }
    let start = receiver.now();
    receiver.deliver(start, &packet(&round(&manifest, 1)));
    assert!(receiver.session.poll_timeout().is_none(), "it is being checked");
    // While it is, the receiver does not say that it lacks nothing.
    assert_eq!(said(&mut receiver, start + 99 * MS), []);
    assert!(receiver.session.next_feedback_at().is_some());
    receiver.pass_time(start + 101 * MS);
    assert!(receiver.session.is_complete());
}
