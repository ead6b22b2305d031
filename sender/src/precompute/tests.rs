//! The pipeline as a whole, without a network: what comes out is what the session planned, in order, whole, and dated.

#![allow(clippy::cast_possible_truncation)]

use super::*;
use crate::image::{Image, ImageError};
use crate::pace::{Burst, Mark, Pace, Progress, Timeline};
use crate::rate::{Cost, RateLayer};
use fleetcast_fec::{BlockShape, Codec, RepairRow};
use fleetcast_protocol::keys::signing_key_from_random;
use fleetcast_protocol::manifest::{ImageHashes, Manifest, SignedManifest, UnverifiedManifest};
use fleetcast_protocol::partition::Partition;
use fleetcast_protocol::session::sender::{LEAD_IN_ROUNDS, Outgoing, ROUND_GAP, SenderConfig, SenderSession};
use fleetcast_protocol::session::{Profile, RepairShare};
use fleetcast_protocol::wire::{Packet, TOI_ANNOUNCEMENT, TOI_IMAGE};
use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

mod resident;
mod schedule;

const RATE_BPS: u64 = 10_000_000;
const SYMBOL_SIZE: u16 = 64;

struct Fixture {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    manifest: UnverifiedManifest,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..30_001u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(folder.path().join("image"), &bytes).unwrap();
    let partition = Partition::new(bytes.len() as u64, SYMBOL_SIZE, 7).unwrap();
    let hashes = ImageHashes::compute(&partition, &bytes).unwrap();
    let manifest = Manifest {
        name: "image".into(),
        product: "p".into(),
        hardware: vec!["h".into()],
        version: "1".into(),
        sequence: 1,
        image_sha256: hashes.image_sha256,
        partition,
        block_sha256: hashes.block_sha256,
        not_before_unix_s: None,
        expires_unix_s: None,
    };
    let signed = SignedManifest::sign(&manifest, &signing_key_from_random(&[1; 32])).unwrap();
    let manifest = SignedManifest::parse_unverified(signed.bytes()).unwrap();
    Fixture { folder, bytes, manifest }
}

impl Fixture {
    fn session(&self) -> SenderSession {
        self.session_of(Some(2))
    }

    fn session_of(&self, passes: Option<u32>) -> SenderSession {
        let config = SenderConfig {
            profile: Profile::Fleetcast,
            tsi: 1,
            passes,
            window_blocks: 3,
            repair: RepairShare::from_permyriad(1000),
            rate_bps: RATE_BPS,
            start_unix_s: 0,
        };
        SenderSession::new(&config, &self.manifest).unwrap()
    }

    fn image(&self) -> Image {
        Image::open(&self.folder.path().join("image")).unwrap()
    }

    fn open(&self) -> fs::File {
        fs::OpenOptions::new().write(true).open(self.folder.path().join("image")).unwrap()
    }

    fn start(&self, image: Image, workers: usize) -> Pipeline {
        self.start_for(image, workers, 1)
    }

    fn start_for(&self, image: Image, workers: usize, senders: usize) -> Pipeline {
        let session = self.session();
        let cost = Cost::new(RateLayer::L1, "232.1.1.1".parse().unwrap());
        let shape = Shape { slot_packets: 5, repair_job_slots: 4, source_job_slots: 3 };
        let filler = Filler::new(image, self.manifest.clone(), session.writer());
        let planner = Planner::new(session, cost, pace(), shape, None);
        let slots = (0..16).map(|_| Slot::with_capacity(1500)).collect();
        start(planner, filler, slots, &Threads::new(workers), senders).unwrap()
    }

    /// The symbol that a packet of the image must carry.
    fn expected_symbol(&self, sbn: u8, esi: u32) -> Vec<u8> {
        let range = self.manifest.manifest().partition.block(sbn).unwrap();
        let mut block = self.bytes[range.offset as usize..][..range.len].to_vec();
        block.resize(range.shape.len(), 0);
        let symbol_size = usize::from(SYMBOL_SIZE);
        if esi < range.shape.k() {
            return block[esi as usize * symbol_size..][..symbol_size].to_vec();
        }
        let mut out = vec![0; symbol_size];
        let shape = BlockShape::new(range.shape.k(), SYMBOL_SIZE).unwrap();
        Codec::new().encode(shape, &block, &mut [RepairRow { esi, out: &mut out }]).unwrap();
        out
    }

    /// Compares every packet of the image with the sealed image.
    fn assert_right(&self, job: &mut Job) {
        for bytes in job.slots.iter_mut().flat_map(Slot::packets_mut) {
            let packet = Packet::parse(bytes).unwrap();
            if packet.header.toi == TOI_IMAGE {
                let id = packet.payload_id().unwrap();
                let expected = self.expected_symbol(u8::try_from(id.sbn).unwrap(), id.esi);
                assert!(packet.payload == expected, "a wrong symbol left: {id:?}");
            }
        }
    }
}

fn pace() -> Arc<Pace> {
    Arc::new(Pace {
        timeline: Timeline::new(RATE_BPS),
        burst: Burst::Packets(5),
        packet_bits: 1,
        kernel: None,
        progress: Progress::default(),
        stop: Arc::default(),
    })
}

/// The next job, waited for; `None` when there is no more.
fn next(filled: &mut Ordered) -> Result<Option<Job>, PrecomputeError> {
    loop {
        match filled.try_recv()? {
            Next::Job(job) => return Ok(Some(job)),
            Next::NotYet => filled.wait(Duration::from_secs(10)),
            Next::End => return Ok(None),
        }
    }
}

/// Place, bits, and packets of a slot.
type Dated = (Mark, u64, Vec<Vec<u8>>);

/// Everything that the pipeline makes.
fn drain(mut pipeline: Pipeline) -> Result<Vec<Dated>, PrecomputeError> {
    let mut slots = Vec::new();
    while let Some(job) = next(&mut pipeline.filled[0])? {
        for mut slot in job.slots {
            let packets = slot.packets_mut().map(|packet| packet.to_vec()).collect();
            slots.push((slot.mark, slot.bits, packets));
            let _ = pipeline.free.send(vec![slot]);
        }
    }
    Ok(slots)
}

#[test]
fn makes_the_planned_packets_in_order_with_any_number_of_workers() {
    let fixture = fixture();
    let schedule = *fixture.session().schedule();
    let expected: Vec<_> = schedule.pass(0).chain(schedule.pass(1)).collect();
    for workers in [1, 3] {
        let slots = drain(fixture.start(fixture.image(), workers)).unwrap();
        assert!(slots.iter().all(|(_, _, packets)| (1..=5).contains(&packets.len())));
        let symbols: Vec<_> = slots
            .iter()
            .flat_map(|(_, _, packets)| packets)
            .map(|bytes| Packet::parse(bytes).unwrap())
            .filter(|packet| packet.header.toi == TOI_IMAGE)
            .collect();
        assert_eq!(symbols.len(), expected.len());
        for (packet, id) in symbols.iter().zip(&expected) {
            let payload_id = packet.payload_id().unwrap();
            assert_eq!((payload_id.sbn, payload_id.esi), (u32::from(id.sbn), id.esi));
            assert!(packet.payload == fixture.expected_symbol(id.sbn, id.esi), "{id:?}");
        }
    }
}

#[test]
fn dates_are_exact_and_pauses_are_kept() {
    let fixture = fixture();
    let slots = drain(fixture.start(fixture.image(), 2)).unwrap();
    let cost = Cost::new(RateLayer::L1, "232.1.1.1".parse().unwrap());
    // Between the rounds of control packets there are pauses; from the first symbol to the last there is none.
    let is_symbol = |packet: &Vec<u8>| Packet::parse(packet).unwrap().header.toi == TOI_IMAGE;
    let first = slots.iter().position(|(_, _, packets)| is_symbol(&packets[0])).unwrap();
    let last = slots.iter().rposition(|(_, _, packets)| is_symbol(&packets[0])).unwrap();
    let round = slots[..first].iter().map(|(_, bits, _)| bits).sum::<u64>() / u64::from(LEAD_IN_ROUNDS);
    assert!(slots[first].0.pauses >= ROUND_GAP * LEAD_IN_ROUNDS - crate::rate::time_of(round * 9, RATE_BPS));
    assert!(slots[first..=last].iter().all(|(mark, ..)| mark.pauses == slots[first].0.pauses));
    assert!(slots.windows(2).all(|pair| pair[0].0.pauses <= pair[1].0.pauses));
    // Marks are the sum of the bits before, and a slot's bits those of its packets.
    let mut before = 0;
    for (mark, bits, packets) in &slots {
        assert_eq!(mark.bits, before);
        assert_eq!(*bits, packets.iter().map(|packet| cost.bits(packet.len())).sum::<u64>());
        before += bits;
    }
}

#[test]
fn an_image_that_is_not_the_manifest_s_stops_before_its_block_leaves() {
    let fixture = fixture();
    let mut other = fixture.bytes.clone();
    // Block 3 is the first of the second window.
    let offset = fixture.manifest.manifest().partition.block(3).unwrap().offset as usize;
    other[offset] ^= 1;
    fs::write(fixture.folder.path().join("image"), &other).unwrap();
    let mut pipeline = fixture.start(fixture.image(), 1);
    let mut sent = Vec::new();
    let error = loop {
        match next(&mut pipeline.filled[0]) {
            Ok(Some(mut job)) => {
                for slot in &mut job.slots {
                    sent.extend(slot.packets_mut().map(|packet| packet.to_vec()));
                }
                let _ = pipeline.free.send(job.slots);
            }
            Ok(None) => panic!("nothing was noticed"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("block 3"), "{error}");
    let blocks = sent.iter().filter_map(|bytes| {
        let packet = Packet::parse(bytes).unwrap();
        (packet.header.toi == TOI_IMAGE).then(|| packet.payload_id().unwrap().sbn)
    });
    assert_eq!(blocks.max(), Some(2));
}

#[test]
fn an_image_that_changes_while_it_is_sent_stops_the_send() {
    let fixture = fixture();
    let image = fixture.image();
    let path = fixture.folder.path().join("image");
    fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(40_000).unwrap();
    let error = drain(fixture.start(image, 2)).unwrap_err();
    assert!(matches!(error, PrecomputeError::Fill(FillError::Image(ImageError::Changed(_)))), "{error}");
}

#[test]
fn dropping_the_pipeline_ends_its_threads() {
    let fixture = fixture();
    let mut pipeline = fixture.start(fixture.image(), 2);
    assert!(next(&mut pipeline.filled[0]).unwrap().is_some());
    let free = pipeline.free.clone();
    drop(pipeline);
    // The planner holds the only receiver of free slots: when that is gone, so is the planner.
    for _ in 0..500 {
        if free.send(vec![Slot::with_capacity(1500)]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the planner is still there");
}

/// What a pipeline gives before it ends, compared with the sealed image.
fn drain_and_compare(
    fixture: &Fixture,
    mut pipeline: Pipeline,
    mut meanwhile: impl FnMut(usize),
) -> Option<PrecomputeError> {
    for count in 0.. {
        meanwhile(count);
        let mut job = match next(&mut pipeline.filled[0]) {
            Ok(Some(job)) => job,
            Ok(None) => return None,
            Err(error) => return Some(error),
        };
        fixture.assert_right(&mut job);
        let _ = pipeline.free.send(job.slots);
    }
    None
}

fn is_changed(error: Option<&PrecomputeError>) -> bool {
    matches!(error, Some(PrecomputeError::Fill(FillError::Image(ImageError::Changed(_)))))
}

/// No signal, no wrong packet, and an error: wherever the file is cut, and whenever.
#[test]
fn a_truncation_at_any_moment_stops_the_send_and_spoils_no_packet() {
    for (round, left) in [0, 1, 4096, 8192, 29_999].into_iter().cycle().take(60).enumerate() {
        let fixture = fixture();
        let pipeline = fixture.start(fixture.image(), 1 + round % 3);
        let error = drain_and_compare(&fixture, pipeline, |count| {
            if count == round {
                fixture.open().set_len(left).unwrap();
            }
        });
        assert!(is_changed(error.as_ref()), "round {round}: {error:?}");
    }
}

#[test]
fn a_truncation_while_workers_read_stops_the_send_and_spoils_no_packet() {
    for round in 0..40 {
        let fixture = fixture();
        let pipeline = fixture.start(fixture.image(), 2);
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_micros(round * 37));
                fixture.open().set_len(round * 700).unwrap();
            });
            drain_and_compare(&fixture, pipeline, |_| ())
        });
        // It may have been too late to matter.
        assert!(error.is_none() || is_changed(error.as_ref()), "round {round}: {error:?}");
    }
}

#[test]
fn a_change_with_its_time_set_back_stops_the_send_and_spoils_no_packet() {
    let fixture = fixture();
    let path = fixture.folder.path().join("image");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    thread::sleep(Duration::from_millis(20));
    let pipeline = fixture.start(fixture.image(), 2);
    let error = drain_and_compare(&fixture, pipeline, |count| {
        // In the second pass, when every block has been compared once.
        if count == 60 {
            let file = fixture.open();
            for block in fixture.manifest.manifest().partition.iter() {
                file.write_all_at(&[!fixture.bytes[block.offset as usize]], block.offset).unwrap();
            }
            file.set_modified(modified).unwrap();
        }
    });
    // A worker may also look before the time is set back.
    let error = error.expect("nothing was noticed");
    assert!(is_changed(Some(&error)) || error.to_string().contains("block"), "{error}");
}

/// At the worst moment: the file was looked at, and its bytes are about to be read.
#[test]
fn a_job_that_was_filled_from_a_changed_file_is_not_handed_on() {
    let truncate = |fixture: &Fixture| fixture.open().set_len(0).unwrap();
    let overwrite = |fixture: &Fixture| fixture.open().write_all_at(&vec![9; fixture.bytes.len()], 0).unwrap();
    let overwrite_and_set_back = |fixture: &Fixture| {
        let modified = fixture.open().metadata().unwrap().modified().unwrap();
        overwrite(fixture);
        fixture.open().set_modified(modified).unwrap();
    };
    for (change, what) in [
        (&truncate as &dyn Fn(&Fixture), "changed"),
        (&overwrite, "changed"),
        (&overwrite_and_set_back, "source block"),
    ] {
        let fixture = fixture();
        thread::sleep(Duration::from_millis(20));
        let cost = Cost::new(RateLayer::L1, "232.1.1.1".parse().unwrap());
        let shape = Shape { slot_packets: 5, repair_job_slots: 4, source_job_slots: 3 };
        let mut planner = Planner::new(fixture.session(), cost, pace(), shape, None);
        let filler = Filler::new(fixture.image(), fixture.manifest.clone(), fixture.session().writer());
        let mut next = || planner.next_job(|| Some(Slot::with_capacity(1500))).unwrap().unwrap();
        // Past the first of each block, whose hash is compared anyway.
        let has_symbols = |job: &Job| matches!(job.packets[0].packet, Outgoing::Symbol { .. });
        let mut job = (0..70).map(|_| next()).filter(has_symbols).last().unwrap();
        filler.fill_after(&mut job, || ()).unwrap();
        fixture.assert_right(&mut job);
        let error = filler.fill_after(&mut job, || change(&fixture)).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn replacing_the_file_s_name_or_mode_does_not_disturb_the_send() {
    let fixture = fixture();
    let [path, other] = ["image", "other"].map(|name| fixture.folder.path().join(name));
    fs::write(&other, [9; 100]).unwrap();
    thread::sleep(Duration::from_millis(20));
    let pipeline = fixture.start(fixture.image(), 2);
    let error = drain_and_compare(&fixture, pipeline, |count| match count {
        3 => fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap(),
        6 => fs::rename(&other, &path).unwrap(),
        _ => (),
    });
    assert!(error.is_none(), "{error:?}");
}
