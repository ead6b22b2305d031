//! Both sessions against each other over a simulated network, with a model of staging and real decoding.

#![allow(clippy::cast_possible_truncation)]

use super::journal::Journal;
use super::*;
use crate::keys::{SigningKey, signing_key_from_random};
use crate::manifest::{ImageHashes, Manifest, UnverifiedManifest};
use crate::session::sender::{Outgoing, Poll, SenderConfig, SenderSession};
use crate::session::{Profile, RepairShare};
use fleetcast_fec::{Codec, DecodeArgumentError, RepairRow};
use proptest::prelude::*;

mod flood;
mod resume;

const TICK: Duration = Duration::from_micros(100);

/// Small deterministic random numbers (splitmix64), so that every run can be replayed from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn chance(&mut self, permille: u64) -> bool {
        self.next() % 1000 < permille
    }
}

fn release_key() -> SigningKey {
    signing_key_from_random(&[7; 32])
}

fn image(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..len).map(|_| random.next() as u8).collect()
}

fn seal(image: &[u8], symbol_size: u16, blocks: u16, sequence: u64, key: &SigningKey) -> UnverifiedManifest {
    let partition = Partition::new(image.len() as u64, symbol_size, blocks).unwrap();
    let hashes = ImageHashes::compute(&partition, image).unwrap();
    let manifest = Manifest {
        name: "image".into(),
        product: "router".into(),
        hardware: vec!["rev-a".into(), "rev-b".into()],
        version: format!("1.{sequence}"),
        sequence,
        image_sha256: hashes.image_sha256,
        partition,
        block_sha256: hashes.block_sha256,
        not_before_unix_s: None,
        expires_unix_s: None,
    };
    let signed = SignedManifest::sign(&manifest, key).unwrap();
    SignedManifest::parse_unverified(signed.bytes()).unwrap()
}

fn config(tsi: u32, passes: u32) -> SenderConfig {
    SenderConfig {
        profile: Profile::Fleetcast,
        tsi,
        passes: Some(passes),
        window_blocks: 3,
        repair: RepairShare::from_permyriad(2000),
        rate_bps: 100_000_000,
        start_unix_s: 1_800_000_000,
    }
}

/// All packets of a session, as bytes, made as the sender's workers make them.
fn packets(config: &SenderConfig, manifest: &UnverifiedManifest, image: &[u8]) -> Vec<Vec<u8>> {
    let mut session = SenderSession::new(config, manifest).unwrap();
    let (writer, partition, codec) = (session.writer(), manifest.manifest().partition, Codec::new());
    let mut now = Duration::ZERO;
    let mut sent = Vec::new();
    loop {
        let packet = match session.poll(now).unwrap() {
            Poll::Packet(Outgoing::Control(bytes)) => bytes,
            Poll::Packet(Outgoing::Symbol { id, close_object }) => {
                let range = partition.block(id.sbn).unwrap();
                let block = &image[range.offset as usize..][..range.len];
                let mut packet = vec![0; writer.packet_len(id)];
                if id.esi < range.shape.k() {
                    writer.write_source(id, close_object, block, &mut packet).unwrap();
                } else {
                    let out = writer.write_head(id, close_object, &mut packet).unwrap();
                    codec.encode(range.shape, block, &mut [RepairRow { esi: id.esi, out }]).unwrap();
                }
                packet
            }
            Poll::Wait(until) => {
                now = until;
                continue;
            }
            Poll::Done => return sent,
        };
        sent.push(packet);
        now += TICK;
    }
}

fn device(floor: Option<crate::policy::Floor>) -> Device {
    Device { product: "router".into(), hardware: "rev-b".into(), floor, trusted_time_unix_s: Some(1_800_000_000) }
}

/// One write of a receiver.
#[derive(Clone)]
enum Write {
    Staging { offset: u64, bytes: Vec<u8> },
    Journal(Vec<u8>),
}

/// What a receiver has on its medium.
#[derive(Clone, Default)]
struct Medium {
    staging: Vec<u8>,
    journal: Vec<u8>,
}

impl Medium {
    fn new(manifest: &SignedManifest) -> Self {
        let layout = StagingLayout::new(manifest.manifest().partition);
        Self { staging: vec![0; layout.len() as usize], journal: journal::header(&manifest.digest()).to_vec() }
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Staging { offset, bytes } => self.staging[*offset as usize..][..bytes.len()].copy_from_slice(bytes),
            Write::Journal(bytes) => self.journal.extend_from_slice(bytes),
        }
    }

    /// All rows of a block, its own and its spill rows.
    fn rows(&self, layout: &StagingLayout, range: &BlockRange) -> Vec<u8> {
        let spill = layout.spill_offset(range) as usize;
        let mut rows = self.staging[range.offset as usize..][..range.shape.len()].to_vec();
        rows.extend_from_slice(&self.staging[spill..][..SPILL_ROWS as usize * range.shape.symbol_size()]);
        rows
    }

    /// What a restarted receiver finds.
    fn restore(&self, manifest: &SignedManifest) -> Vec<(u8, Restored)> {
        let content = manifest.manifest();
        let layout = StagingLayout::new(content.partition);
        let journal = Journal::parse(&self.journal, &manifest.digest()).unwrap_or_default();
        let found = |range: BlockRange| {
            let rows = self.rows(&layout, &range);
            match content.block_matches(range.sbn, &rows[..range.len]) {
                true => (range.sbn, Restored::Whole),
                false => (range.sbn, Restored::Symbols(journal.held(&range, &rows))),
            }
        };
        content.partition.iter().map(found).collect()
    }
}

/// A receiver with staging in memory: what the receiver binary does, without threads or files.
struct Receiver {
    session: ReceiverSession,
    medium: Medium,
    /// Every write to the medium, in order.
    log: Vec<Write>,
    now: Duration,
    codec: Codec,
    complete: u32,
    begun: u32,
    refused: Vec<String>,
    installed: u32,
}

impl Receiver {
    fn new() -> Self {
        Self::with(device(None))
    }

    fn with(device: Device) -> Self {
        let trust = TrustStore::new([release_key().verifying_key()]);
        Self {
            session: ReceiverSession::new(trust, device, None),
            medium: Medium::default(),
            log: Vec::new(),
            now: Duration::ZERO,
            codec: Codec::new(),
            complete: 0,
            begun: 0,
            refused: Vec::new(),
            installed: 0,
        }
    }

    fn take(&mut self, packet: &[u8]) {
        self.now += TICK;
        if let Some(store) = self.session.on_packet(self.now, packet) {
            let symbol_size = usize::from(self.session.manifest().unwrap().manifest().partition.symbol_size());
            if store.starts_over {
                self.note(&journal::forgotten_record(store.id.sbn));
            }
            if let Some(Relocation { id, row, from, to }) = store.relocate {
                let tenant = self.medium.staging[from as usize..][..symbol_size].to_vec();
                self.note(&journal::symbol_record(id, row, &tenant, symbol_size));
                self.write(Write::Staging { offset: to, bytes: tenant });
            }
            let mut symbol = store.symbol.to_vec();
            symbol.resize(symbol_size, 0);
            self.write(Write::Staging { offset: store.offset, bytes: symbol });
            self.note(&journal::symbol_record(store.id, store.row, store.symbol, symbol_size));
        }
        self.act();
    }

    fn write(&mut self, write: Write) {
        self.medium.write(&write);
        self.log.push(write);
    }

    fn note(&mut self, record: &[u8]) {
        self.write(Write::Journal(record.to_vec()));
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.on_timeout(self.now);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Begin { manifest, .. } => {
                    self.begun += 1;
                    self.medium = Medium::new(&manifest);
                    self.log.clear();
                    self.session.begin(self.now, []);
                }
                Action::BeginUnsigned { .. } => unreachable!("the session wants signatures"),
                Action::AlreadyInstalled { .. } => self.installed += 1,
                Action::Refused { reason } => self.refused.push(reason.to_string()),
                Action::Check(check) => {
                    let outcome = self.check(&check);
                    self.session.on_block(self.now, check.generation, check.range.sbn, outcome);
                }
                Action::Bound { tsi } => self.note(&journal::session_record(tsi)),
                Action::Forgotten { sbn } => self.note(&journal::forgotten_record(sbn)),
                Action::Complete => self.complete += 1,
            }
        }
    }

    fn check(&mut self, check: &BlockCheck) -> BlockOutcome {
        let layout = StagingLayout::new(self.session.manifest().unwrap().manifest().partition);
        let range = check.range;
        let mut rows = Vec::new();
        let read = |rows: &mut Vec<u8>| -> Result<(), DecodeArgumentError> {
            *rows = self.medium.rows(&layout, &range);
            Ok(())
        };
        let settled = check.settle(&self.codec, &mut rows, read).unwrap();
        for row in settled.computed_rows {
            let bytes = rows.chunks_exact(range.shape.symbol_size()).nth(row as usize).unwrap().to_vec();
            self.write(Write::Staging { offset: layout.row_offset(&range, row), bytes });
        }
        settled.outcome
    }

    fn image(&self) -> &[u8] {
        let len = self.session.manifest().unwrap().manifest().partition.image_len();
        &self.medium.staging[..len as usize]
    }
}

#[test]
fn receives_an_image_without_loss_and_completes_once() {
    let image = image(30_000, 1);
    let manifest = seal(&image, 64, 7, 1, &release_key());
    let mut receiver = Receiver::new();
    for packet in packets(&config(9, 2), &manifest, &image) {
        receiver.take(&packet);
    }
    assert_eq!((receiver.complete, receiver.begun, receiver.image() == image), (1, 1, true));
    assert_eq!(receiver.session.stats().decoded_blocks, 0);
    assert_eq!(receiver.session.loss(), Some((0, 0.0)));
}

#[test]
fn a_restarted_sender_continues_the_same_upgrade() {
    let image = image(30_000, 2);
    let manifest = seal(&image, 64, 7, 1, &release_key());
    let mut receiver = Receiver::new();
    let (first, second) = (packets(&config(1, 1), &manifest, &image), packets(&config(2, 1), &manifest, &image));
    for packet in &first[..first.len() / 2] {
        receiver.take(packet);
    }
    let kept = receiver.session.stats().symbols;
    assert!(kept > 0 && receiver.complete == 0);
    for packet in &second {
        receiver.take(packet);
    }
    assert_eq!((receiver.complete, receiver.begun, receiver.image() == image), (1, 1, true));
}

#[test]
fn goes_on_to_a_higher_sequence_and_never_back() {
    let (old, new) = (image(20_000, 3), image(21_000, 4));
    let old_packets = packets(&config(1, 1), &seal(&old, 64, 5, 1, &release_key()), &old);
    let new_packets = packets(&config(2, 1), &seal(&new, 64, 5, 2, &release_key()), &new);
    let mut receiver = Receiver::new();
    for (old, new) in old_packets.iter().zip(&new_packets) {
        receiver.take(old);
        receiver.take(new);
    }
    for packet in new_packets.iter().skip(old_packets.len()).chain(&old_packets) {
        receiver.take(packet);
    }
    assert_eq!((receiver.complete, receiver.begun, receiver.image() == new), (1, 2, true));
}

#[test]
fn a_rival_with_an_equal_sequence_does_not_displace_the_upgrade_under_way() {
    let (first, rival) = (image(20_000, 3), image(20_000, 4));
    let first_packets = packets(&config(1, 1), &seal(&first, 64, 5, 1, &release_key()), &first);
    let rival_packets = packets(&config(2, 1), &seal(&rival, 64, 5, 1, &release_key()), &rival);
    let mut receiver = Receiver::new();
    for (first, rival) in first_packets.iter().zip(&rival_packets) {
        receiver.take(first);
        receiver.take(rival);
    }
    assert_eq!((receiver.complete, receiver.begun, receiver.image() == first), (1, 1, true));
}

#[test]
fn refuses_other_keys_products_and_rollbacks_once_each_and_stores_nothing() {
    let image = image(10_000, 5);
    let forged = seal(&image, 64, 3, 5, &signing_key_from_random(&[8; 32]));
    let mut receiver = Receiver::new();
    packets(&config(1, 1), &forged, &image).iter().for_each(|packet| receiver.take(packet));
    assert_eq!((receiver.refused.len(), receiver.begun), (1, 0), "{:?}", receiver.refused);
    assert!(receiver.session.stats().refused > 1, "every repetition counts");

    let genuine = seal(&image, 64, 3, 5, &release_key());
    let newer = Some(crate::policy::Floor { sequence: 6, digest: [0; 32] });
    for (device, word) in [(device(newer), "6"), (Device { product: "toaster".into(), ..device(None) }, "toaster")] {
        let mut receiver = Receiver::with(device);
        packets(&config(1, 1), &genuine, &image).iter().for_each(|packet| receiver.take(packet));
        assert_eq!((receiver.refused.len(), receiver.begun), (1, 0));
        assert!(receiver.refused[0].contains(word), "{:?}", receiver.refused);
    }
}

#[test]
fn says_that_a_release_is_installed_and_receives_nothing() {
    let image = image(10_000, 5);
    let manifest = seal(&image, 64, 3, 5, &release_key());
    let floor = crate::policy::Floor { sequence: 5, digest: manifest.digest() };
    let mut receiver = Receiver::with(device(Some(floor)));
    packets(&config(1, 1), &manifest, &image).iter().for_each(|packet| receiver.take(packet));
    assert_eq!((receiver.installed, receiver.begun, receiver.session.stats().symbols), (1, 0, 0));
}

/// Delivers a session in which the first `forged` symbols of the image, of all blocks or of one, have a byte changed.
fn receive_forged(config: &SenderConfig, image: &[u8], blocks: u16, forged: usize) -> Receiver {
    let manifest = seal(image, 64, blocks, 1, &release_key());
    let mut receiver = Receiver::new();
    let mut left = forged;
    for mut packet in packets(config, &manifest, image) {
        if left > 0 && Packet::parse(&packet).unwrap().header.toi == TOI_IMAGE && receiver.begun > 0 {
            // Different bytes: errors that cancel out tell nothing.
            let at = packet.len() - 1 - left;
            packet[at] ^= 1;
            left -= 1;
        }
        receiver.take(&packet);
    }
    receiver
}

#[test]
fn a_few_forged_symbols_are_found_by_those_beyond_k() {
    let image = image(64 * 60, 6);
    for forged in [1, 2, 3] {
        let receiver = receive_forged(&config(9, 1), &image, 1, forged);
        let stats = receiver.session.stats();
        assert_eq!((receiver.complete, receiver.image() == image), (1, true), "{stats:?}");
        assert_eq!((stats.corrupt_blocks, stats.forged_symbols), (1, forged as u64), "{stats:?}");
    }
}

#[test]
fn too_many_forged_symbols_cost_their_block_a_pass() {
    let image = image(64 * 60, 6);
    let one_pass = receive_forged(&config(9, 1), &image, 1, 8);
    assert_eq!((one_pass.complete, one_pass.session.stats().corrupt_blocks), (0, 1));
    let two_passes = receive_forged(&config(9, 2), &image, 1, 8);
    let stats = two_passes.session.stats();
    assert_eq!((two_passes.complete, two_passes.image() == image), (1, true), "{stats:?}");
    assert_eq!((stats.corrupt_blocks, stats.forged_symbols), (1, 0));
}

#[test]
fn without_repair_symbols_a_forged_symbol_costs_its_block_a_pass() {
    let image = image(30_000, 6);
    let no_code = SenderConfig { profile: Profile::NoCode, repair: RepairShare::NONE, ..config(9, 2) };
    let receiver = receive_forged(&no_code, &image, 7, 1);
    assert_eq!(
        (receiver.complete, receiver.image() == image),
        (1, true),
        "{:?} {}",
        receiver.session.stats(),
        receiver.session.lacking_symbols()
    );
    assert_eq!(receiver.session.stats().corrupt_blocks, 1);
}

#[test]
fn a_forged_announcement_stops_nothing() {
    let image = image(30_000, 7);
    let manifest = seal(&image, 64, 7, 1, &release_key());
    let other = seal(&image, 64, 7, 2, &signing_key_from_random(&[8; 32]));
    let sent = packets(&config(9, 1), &manifest, &image);
    let forged: Vec<_> = packets(&config(9, 1), &other, &image)
        .into_iter()
        .filter(|packet| Packet::parse(packet).unwrap().header.toi == TOI_ANNOUNCEMENT)
        .collect();
    let mut receiver = Receiver::new();
    for (index, packet) in sent.iter().enumerate() {
        receiver.take(packet);
        receiver.take(&forged[index % forged.len()]);
    }
    assert_eq!((receiver.complete, receiver.image() == image), (1, true));
}

#[test]
fn a_chosen_tsi_is_the_only_one_heard() {
    let image = image(5_000, 8);
    let manifest = seal(&image, 64, 1, 1, &release_key());
    let mut receiver = Receiver::new();
    receiver.session = ReceiverSession::new(TrustStore::new([release_key().verifying_key()]), device(None), Some(5));
    packets(&config(6, 1), &manifest, &image).iter().for_each(|packet| receiver.take(packet));
    assert_eq!(receiver.begun, 0);
    assert!(receiver.session.stats().foreign > 0);
    packets(&config(5, 1), &manifest, &image).iter().for_each(|packet| receiver.take(packet));
    assert_eq!((receiver.complete, receiver.image() == image), (1, true));
}

#[test]
fn exactly_k_symbols_are_tried_when_it_stays_quiet() {
    let image = image(64 * 50, 9);
    let manifest = seal(&image, 64, 1, 1, &release_key());
    let sent = packets(&config(1, 1), &manifest, &image);
    // Drop the first source symbols so that just K symbols come.
    let symbols: Vec<_> = sent.iter().filter(|p| Packet::parse(p).unwrap().header.toi == TOI_IMAGE).collect();
    let mut receiver = Receiver::new();
    for packet in sent.iter().filter(|p| Packet::parse(p).unwrap().header.toi != TOI_IMAGE) {
        receiver.take(packet);
    }
    for packet in &symbols[symbols.len() - 50..] {
        receiver.take(packet);
    }
    assert_eq!(receiver.complete, 0);
    assert_eq!(receiver.session.poll_timeout(), Some(receiver.now + QUIET));
    receiver.wait(QUIET);
    let stats = *receiver.session.stats();
    assert_eq!(receiver.complete + stats.singular_decodes, 1, "decoded, or singular as one set in 250 is");
    assert_eq!(receiver.session.poll_timeout(), None);
}

#[test]
fn a_no_code_stream_is_received_over_two_passes() {
    let image = image(30_000, 10);
    let manifest = seal(&image, 64, 7, 1, &release_key());
    let no_code = SenderConfig { profile: Profile::NoCode, repair: RepairShare::NONE, ..config(9, 3) };
    let mut random = Random(11);
    let mut receiver = Receiver::new();
    for packet in packets(&no_code, &manifest, &image) {
        if !random.chance(20) {
            receiver.take(&packet);
        }
    }
    assert_eq!((receiver.complete, receiver.image() == image), (1, true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the network loses, repeats or reorders within a window: two lossy passes deliver, and what is delivered
    /// is right. 20 % repair a pass covers the losses drawn here with a margin of many standard deviations.
    #[test]
    fn delivers_over_a_network_that_loses_repeats_and_reorders(
        seed in any::<u64>(), len in 1usize..40_000, blocks in 1u16..9, loss_permille in 0u64..80, window in 1u16..10,
    ) {
        let image = image(len, seed);
        let blocks = blocks.min(u16::try_from(len.div_ceil(64)).unwrap_or(u16::MAX));
        let manifest = seal(&image, 64, blocks, 1, &release_key());
        let config = SenderConfig { window_blocks: window, ..config(3, 2) };
        let mut random = Random(seed);
        let mut sent = packets(&config, &manifest, &image);
        for index in 0..sent.len() {
            let other = (index + (random.next() % 16) as usize).min(sent.len() - 1);
            sent.swap(index, other);
        }
        let mut receiver = Receiver::new();
        for packet in &sent {
            for _ in 0..1 + u32::from(random.chance(50)) {
                if !random.chance(loss_permille) {
                    receiver.take(packet);
                }
            }
        }
        receiver.wait(QUIET);
        prop_assert_eq!(receiver.complete, 1, "{:?}", receiver.session.stats());
        prop_assert!(receiver.image() == image);
        let stats = receiver.session.stats();
        prop_assert_eq!((stats.corrupt_blocks, stats.malformed, stats.foreign), (0, 0, 0));
    }

    /// Packets of a real session with bytes changed: never a panic, never a wrong image.
    #[test]
    fn survives_mutated_packets(seed in any::<u64>(), rate_permille in 1u64..300) {
        let image = image(10_000, 3);
        let manifest = seal(&image, 64, 3, 1, &release_key());
        let mut random = Random(seed);
        let mut receiver = Receiver::new();
        for packet in packets(&config(3, 1), &manifest, &image) {
            let mut packet = packet;
            if random.chance(rate_permille) {
                for _ in 0..1 + random.next() % 4 {
                    let at = (random.next() % packet.len() as u64) as usize;
                    packet[at] ^= random.next() as u8;
                }
                packet.truncate((random.next() % (2 * packet.len() as u64)) as usize);
            }
            receiver.take(&packet);
        }
        if receiver.complete > 0 {
            prop_assert!(receiver.image() == image);
        }
    }
}
