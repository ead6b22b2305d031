//! The receiver session as a whole: real packets, in any order, changed in any way, with staging and decoding.
//!
//! The bytes are a list of operations on packets of real sessions that were recorded once. Whatever happens: no panic,
//! nothing is written where it must not be, what is called complete is what was released, memory stays bounded, and when
//! the forger is gone the newest release completes.

use crate::input::Input;
use crate::memory::Meter;
use fleetcast_protocol::keys::signing_key_from_random;
use fleetcast_protocol::session::sender::SenderConfig;
use fleetcast_protocol::session::{Profile, RepairShare};
use fleetcast_protocol::simulation::{
    Random, Receiver, Release, Transmission, device, image, release_key, sender_config,
};
use std::sync::LazyLock;
use std::time::Duration;

/// Between two packets.
const TICK: Duration = Duration::from_micros(500);
/// Packets delivered for one input at most, so that the fuzzer keeps its pace.
const MAX_PACKETS: u32 = 3_000;
/// What a session may hold: its manifests in the making (1 MiB and one), the accepted one, bitmaps. Staging is extra.
const MAX_HELD: usize = 2 << 20;
/// Undisturbed passes after which the newest release must be complete, whatever was before.
const PASSES: u32 = 4;

/// Recorded sessions.
#[derive(Debug)]
struct World {
    /// The trusted releases, in order of their sequence.
    releases: Vec<Release>,
    sessions: Vec<Vec<Vec<u8>>>,
    /// The newest release once more, under a TSI of its own.
    last: Vec<Vec<u8>>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::record);

impl World {
    fn record() -> Self {
        let old = Release::seal(image(3_000, 1), 64, 3, 1, &release_key());
        let new = Release::seal(image(2_500, 2), 32, 2, 2, &release_key());
        let forged = Release::seal(image(3_000, 3), 64, 3, 9, &signing_key_from_random(&[8; 32]));
        let no_code = SenderConfig { profile: Profile::NoCode, repair: RepairShare::NONE, ..sender_config(4, Some(2)) };
        let sessions = vec![
            packets(&old, &sender_config(1, Some(2))),
            packets(&old, &sender_config(2, Some(1))),
            packets(&new, &sender_config(3, Some(1))),
            packets(&old, &no_code),
            packets(&forged, &sender_config(5, Some(1))),
            // A forger under the TSI of the first session.
            packets(&forged, &sender_config(1, Some(1))),
        ];
        let last = packets(&new, &sender_config(6, Some(PASSES)));
        Self { releases: vec![old, new], sessions, last }
    }
}

fn packets(release: &Release, config: &SenderConfig) -> Vec<Vec<u8>> {
    Transmission::new(config, release, TICK).map(|(_, packet)| packet).collect()
}

/// Runs the operations that the bytes stand for.
pub fn run(bytes: &[u8]) {
    let world = &*WORLD;
    let mut input = Input::new(bytes);
    let check_time = TICK * u32::from(input.u8() % 64);
    let meter = Meter::start();
    let mut run = Run {
        world,
        receiver: Receiver::new(device(None), None).with_check_time(check_time),
        next: vec![0; world.sessions.len()],
        delivered: 0,
        meter,
    };
    while !input.is_empty() && run.delivered < MAX_PACKETS {
        run.operate(&mut input);
    }
    run.finish();
}

struct Run<'w> {
    world: &'w World,
    receiver: Receiver,
    /// Of each session, the packet that comes next when it is delivered in order.
    next: Vec<usize>,
    delivered: u32,
    meter: Meter,
}

impl Run<'_> {
    fn operate(&mut self, input: &mut Input<'_>) {
        let operation = input.u8();
        let session = usize::from(operation >> 4) % self.next.len();
        match operation & 15 {
            0..=3 => self.deliver_next(session, usize::from(input.u8())),
            4 => self.next[session] += usize::from(input.u8()),
            5 => self.next[session] = input.below(self.world.sessions[session].len()),
            6 => self.deliver_changed(session, input),
            7 => {
                let packet = self.any_packet(session, input);
                let len = input.below(packet.len());
                self.deliver(&packet[..len]);
            }
            8 => {
                let len = usize::from(input.u8());
                self.deliver(input.bytes(len));
            }
            9 => self.deliver_with_other_tail(session, input),
            10 => self.deliver_with_field(session, input),
            11 | 12 => self.pass_time(TICK * 20 * u32::from(input.u8())),
            13 => self.restart(input),
            14 => self.damage_disk(input),
            _ => {
                let packet = self.any_packet(session, input);
                self.deliver(packet);
            }
        }
    }

    fn deliver_next(&mut self, session: usize, count: usize) {
        let packets = &self.world.sessions[session];
        for _ in 0..count {
            let Some(packet) = packets.get(self.next[session]) else {
                self.next[session] = 0;
                return;
            };
            self.next[session] += 1;
            self.deliver(packet);
        }
    }

    fn any_packet(&self, session: usize, input: &mut Input<'_>) -> &'static [u8] {
        let packets = &WORLD.sessions[session];
        &packets[input.below(packets.len())]
    }

    /// Up to four bytes are changed.
    fn deliver_changed(&mut self, session: usize, input: &mut Input<'_>) {
        let mut packet = self.any_packet(session, input).to_vec();
        for _ in 0..=input.u8() % 4 {
            let at = input.below(packet.len());
            packet[at] ^= input.u8();
        }
        self.deliver(&packet);
    }

    /// The head of one packet, and the tail of another or bytes of the fuzzer's.
    fn deliver_with_other_tail(&mut self, session: usize, input: &mut Input<'_>) {
        let packet = self.any_packet(session, input);
        let mut packet = packet[..input.below(packet.len())].to_vec();
        let other = usize::from(input.u8());
        if other < self.next.len() {
            let tail = self.any_packet(other, input);
            packet.extend_from_slice(&tail[input.below(tail.len())..]);
        } else {
            packet.extend_from_slice(input.bytes(other));
        }
        self.deliver(&packet);
    }

    /// Another value in one of the fields that decide where a packet goes; the layout is that of our own senders.
    fn deliver_with_field(&mut self, session: usize, input: &mut Input<'_>) {
        let mut packet = self.any_packet(session, input).to_vec();
        // Flags; codepoint; TSI; TOI; SBN and ESI of a symbol of the image.
        let (at, len) = [(1, 1), (3, 1), (8, 4), (12, 4), (16, 1), (17, 3)][usize::from(input.u8()) % 6];
        if let Some(field) = packet.get_mut(at..at + len) {
            let value = input.bytes(len);
            field[len - value.len()..].copy_from_slice(value);
        }
        self.deliver(&packet);
    }

    /// The receiver is killed, or its power fails.
    fn restart(&mut self, input: &mut Input<'_>) {
        match input.u8() {
            0 => self.receiver.restart(),
            seed => self.receiver.fail_power(&mut Random::new(u64::from(seed))),
        }
    }

    /// Bytes of staging and of the journal are changed while the receiver is not running, and the journal is cut.
    fn damage_disk(&mut self, input: &mut Input<'_>) {
        if let Some(disk) = &mut self.receiver.disk {
            let bytes = disk.staging.bytes_mut();
            let at = input.below(bytes.len());
            bytes[at] ^= input.u8();
            let at = input.below(disk.journal.len());
            if let Some(byte) = disk.journal.get_mut(at) {
                *byte ^= input.u8();
            }
            let len = disk.journal.len() - usize::from(input.u8()).min(disk.journal.len());
            disk.journal.truncate(len);
            disk.sync();
        }
        self.receiver.restart();
    }

    fn deliver(&mut self, packet: &[u8]) {
        self.delivered += 1;
        self.receiver.deliver(self.receiver.now() + TICK, packet);
        self.check();
    }

    fn pass_time(&mut self, time: Duration) {
        self.receiver.pass_time(self.receiver.now() + time);
        self.check();
    }

    fn check(&self) {
        assert!(self.meter.held() <= MAX_HELD, "{} bytes are held", self.meter.held());
        if self.receiver.session.is_complete() {
            let digest = self.receiver.session.manifest().expect("of what is complete").digest();
            let release = self.world.releases.iter().find(|release| release.manifest.digest() == digest);
            assert!(self.receiver.image() == release.expect("a trusted release").image, "the image is wrong");
        }
    }

    /// Nobody disturbs any more: the newest release completes.
    fn finish(mut self) {
        let newest = self.world.releases.last().expect("a release").manifest.digest();
        let is_done = |receiver: &Receiver| {
            receiver.session.is_complete() && receiver.session.manifest().is_some_and(|it| it.digest() == newest)
        };
        // Signatures are checked a hundred times a second at most beside an upgrade: what a flood has used up is there again.
        self.pass_time(Duration::from_secs(1));
        for packet in &self.world.last {
            if is_done(&self.receiver) {
                return;
            }
            self.deliver(packet);
        }
        self.pass_time(Duration::from_secs(10));
        assert!(is_done(&self.receiver), "the newest release does not complete: {:?}", self.receiver.session.stats());
    }
}
