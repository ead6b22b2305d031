//! A receiver that is killed and started again: its write log is replayed up to every prefix, and with holes.

use super::driver::{Medium, Write};
use super::*;
use crate::session::receiver::journal::{self, Journal};

const SYMBOL: u16 = 16;

/// A session of two passes over four blocks, and its packets without a few: every block has symbols parked, moved and decoded.
struct Stream {
    image: Vec<u8>,
    manifest: SignedManifest,
    packets: Vec<Vec<u8>>,
}

impl Stream {
    fn new(seed: u64) -> Self {
        let image = image(usize::from(SYMBOL) * 80 - 5, seed);
        let sealed = seal(&image, SYMBOL, 4, 1, &release_key());
        let mut random = Random::new(seed);
        let mut packets = packets(&SenderConfig { window_blocks: 4, ..config(9, 2) }, &sealed, &image);
        packets.retain(|packet| Packet::parse(packet).unwrap().header.toi != TOI_IMAGE || !random.chance(80));
        // Repair symbols that overtake source symbols get parked in their rows.
        for index in 0..packets.len() {
            let other = (index + (random.next_u64() % 24) as usize).min(packets.len() - 1);
            packets.swap(index, other);
        }
        let trust = TrustStore::new([release_key().verifying_key()]);
        Self { manifest: SignedManifest::verify(sealed.bytes(), &trust).unwrap(), image, packets }
    }

    /// A receiver that takes it all; and after each packet, how many writes it had made, and what it lacked.
    fn first_pass(&self) -> (Receiver, Vec<(usize, u64)>) {
        let mut receiver = Receiver::new();
        let mut after = Vec::new();
        for packet in &self.packets {
            receiver.take(packet);
            let all = self.manifest.manifest().partition.total_symbols();
            after.push((receiver.log.len(), if receiver.begun > 0 { receiver.session.lacking_symbols() } else { all }));
        }
        assert_eq!((receiver.complete, receiver.begun), (1, 1));
        (receiver, after)
    }

    /// A receiver that starts with `medium`, and what it says it has restored.
    fn restart(&self, medium: Medium) -> Receiver {
        let mut receiver = Receiver::new();
        let sessions = Journal::parse(&medium.journal, &self.manifest.digest()).unwrap_or_default();
        receiver.session.resume(receiver.now, self.manifest.bytes(), sessions.sessions()).unwrap();
        let Some(Action::Begin { .. }) = receiver.session.poll_action() else { panic!("nothing begins") };
        let found = medium.restore(&self.manifest);
        receiver.medium = medium;
        receiver.session.begin(receiver.now, found);
        receiver.act();
        receiver
    }

    /// The rest of the stream brings the image, whatever was restored, with no block that turns out wrong.
    #[track_caller]
    fn finishes(&self, receiver: &mut Receiver, from: usize) {
        let again = self.packets[from..].iter().chain(&self.packets);
        again.for_each(|packet| receiver.take(packet));
        receiver.wait(QUIET);
        assert_eq!((receiver.complete, receiver.begun), (1, 0), "{:?}", receiver.session.stats());
        assert!(receiver.image() == self.image);
        assert_eq!(receiver.session.stats().corrupt_blocks, 0);
    }
}

#[test]
fn every_prefix_of_the_write_log_resumes() {
    let stream = Stream::new(1);
    let (whole, after) = stream.first_pass();
    let moves = whole.log.windows(2).filter(|two| matches!(two, [Write::Journal(_), Write::Staging { .. }])).count();
    assert!(moves > 0 && whole.session.stats().decoded_blocks > 0, "the stream must be one that exercises everything");
    for cut in 0..=whole.log.len() {
        let mut medium = Medium::new(&stream.manifest);
        whole.log[..cut].iter().for_each(|write| medium.write(write));
        let packets_done = after.iter().filter(|(writes, _)| *writes <= cut).count();
        let mut receiver = stream.restart(medium);
        // Killed between two packets it has lost nothing.
        if let Some((_, lacked)) =
            packets_done.checked_sub(1).map(|last| after[last]).filter(|(writes, _)| *writes == cut)
        {
            assert!(receiver.session.lacking_symbols() <= lacked, "at {cut}");
        }
        stream.finishes(&mut receiver, packets_done);
    }
}

#[test]
fn a_restarted_receiver_takes_symbols_before_it_hears_the_manifest() {
    let stream = Stream::new(2);
    let (first, _) = stream.first_pass();
    let half = first.log.len() / 2;
    let mut medium = Medium::new(&stream.manifest);
    first.log[..half].iter().for_each(|write| medium.write(write));
    let mut receiver = stream.restart(medium);
    let before = receiver.session.stats().symbols;
    let symbols = stream.packets.iter().filter(|packet| Packet::parse(packet).unwrap().header.toi == TOI_IMAGE);
    symbols.for_each(|packet| receiver.take(packet));
    assert!(receiver.session.stats().symbols > before);
    assert_eq!((receiver.complete, receiver.session.stats().early, receiver.session.stats().foreign), (1, 0, 0));
    assert!(receiver.image() == stream.image);
}

#[test]
fn what_was_begun_is_given_up_for_another_release_only_until_it_is_heard() {
    let stream = Stream::new(3);
    let rival_image = image(3_000, 9);
    let rival = packets(&config(77, 1), &seal(&rival_image, SYMBOL, 2, 1, &release_key()), &rival_image);
    let mut receiver = stream.restart(Medium::new(&stream.manifest));
    rival.iter().for_each(|packet| receiver.take(packet));
    assert_eq!((receiver.begun, receiver.complete, receiver.image() == rival_image), (1, 1, true));

    let mut receiver = stream.restart(Medium::new(&stream.manifest));
    stream.packets.iter().take(40).chain(&rival).for_each(|packet| receiver.take(packet));
    assert_eq!((receiver.begun, receiver.complete), (0, 0));
}

#[test]
fn what_is_refused_today_is_not_resumed() {
    let stream = Stream::new(4);
    let newer = Some(crate::policy::Floor { sequence: 2, digest: [0; 32] });
    let mut receiver = Receiver::with(device(newer));
    let refused = receiver.session.resume(Duration::ZERO, stream.manifest.bytes(), &[9]).unwrap_err();
    assert!(refused.to_string().contains("rollback"), "{refused}");
    assert!(receiver.session.poll_action().is_none() && receiver.session.manifest().is_none());
    assert!(receiver.session.resume(Duration::ZERO, &stream.manifest.bytes()[1..], &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The power fails: of the writes any were lost, others torn, whatever their order; the journal ends anywhere, or is
    /// an older one, or has bytes changed. It costs bytes.
    #[test]
    fn lost_torn_and_forged_writes_cost_bytes_only(
        seed in any::<u64>(), cut in 0usize..1000, lost_permille in 0u64..1000, torn_permille in 0u64..200,
        journal_cut in 0usize..4000, changed in prop::collection::vec((0usize..4000, 1u8..), 0..4),
    ) {
        let stream = Stream::new(seed % 8);
        let (whole, after) = stream.first_pass();
        let cut = cut.min(whole.log.len());
        let mut random = Random::new(seed);
        let mut medium = Medium::new(&stream.manifest);
        for write in &whole.log[..cut] {
            match write {
                Write::Staging { .. } if random.chance(lost_permille) => {}
                Write::Staging { offset, bytes } if random.chance(torn_permille) => {
                    let torn = bytes[..(random.next_u64() % u64::from(SYMBOL)) as usize].to_vec();
                    medium.write(&Write::Staging { offset: *offset, bytes: torn });
                }
                write => medium.write(write),
            }
        }
        medium.journal.truncate(journal_cut.max(journal::HEADER_LEN));
        let len = medium.journal.len();
        for (at, mask) in changed {
            medium.journal[at % len] ^= mask;
        }
        let mut receiver = stream.restart(medium);
        stream.finishes(&mut receiver, after.iter().filter(|(writes, _)| *writes <= cut).count());
    }
}
