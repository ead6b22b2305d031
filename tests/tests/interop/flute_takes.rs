//! The crate `flute` receives what we send.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fleetcast_protocol::manifest::SignedManifest;
use fleetcast_protocol::session::Profile;
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::lab::{SENDER_V4, receiver_v4};
use fleetcast_tests::loss::{Loss, LossStream};
use fleetcast_tests::skip_without_lab;
use proptest::prelude::*;
use socket2::{Domain, Protocol, Socket, Type};

use crate::content::Content;
use crate::flute_receiver::{FluteReceiver, Outcome};
use crate::stream::{Shape, Stream};

const SOON: Duration = Duration::from_secs(30);
const SEED: u64 = 7;

/// Sends a whole session to a `flute` receiver that loses `loss_ppm` packets in a million.
fn deliver(shape: &Shape, loss_ppm: u32) -> (Stream, Outcome) {
    let content = Content::new(SEED);
    let mut stream = Stream::new(shape, content);
    let mut receiver = FluteReceiver::new(content, stream.manifest().bytes());
    let mut loss = LossStream::new(Loss::new(SEED, loss_ppm));
    while let Some(packet) = stream.next_packet() {
        if !loss.drops(&packet) {
            receiver.push(&packet);
        }
    }
    (stream, receiver.outcome())
}

#[test]
fn receives_16_bit_ids_with_5_percent_loss() {
    let (stream, outcome) = deliver(&Shape { repair_percent: 10, ..Shape::of(Profile::Flute) }, 50_000);
    outcome.assert_whole(&stream);
}

/// Our own profile, as long as the window fits its cache.
#[test]
fn receives_32_bit_ids_with_5_percent_loss() {
    let shape = Shape { repair_percent: 10, window_blocks: 3, ..Shape::of(Profile::Fleetcast) };
    let (stream, outcome) = deliver(&Shape { image_len: 12_000_000, ..shape }, 50_000);
    outcome.assert_whole(&stream);
}

/// 187 blocks, as `seal` cuts them, at `flute`'s default settings.
#[test]
fn receives_500_mb_with_5_percent_loss() {
    let shape = Shape { image_len: 500_000_000, repair_percent: 10, ..Shape::of(Profile::Flute) };
    let (stream, outcome) = deliver(&shape, 50_000);
    assert_eq!((stream.partition().blocks(), stream.partition().largest_k()), (187, 1990));
    outcome.assert_whole(&stream);
}

/// Why the profile bounds the window: eight blocks of 2.7 MB are more than its 10 MiB.
#[test]
fn cannot_hold_our_default_window() {
    let shape = Shape { image_len: 30_000_000, ..Shape::of(Profile::Fleetcast) };
    let (_, outcome) = deliver(&shape, 0);
    assert_eq!((outcome.image.completed, outcome.image.wrong), (0, 0), "{outcome:?}");
    assert!(outcome.image.failed > 0);
    let (stream, outcome) = deliver(&Shape { profile: Profile::Flute, ..shape }, 0);
    outcome.assert_whole(&stream);
}

/// Blocks grow with the image, and the profile's window shrinks.
#[test]
fn receives_blocks_of_which_its_cache_holds_one() {
    let shape = Shape { image_len: 26_000_000, block_symbols: 6_600, ..Shape::of(Profile::Flute) };
    let (stream, outcome) = deliver(&shape, 20_000);
    assert_eq!((stream.partition().blocks(), stream.partition().largest_k()), (3, 6449));
    outcome.assert_whole(&stream);
}

#[test]
fn completes_over_several_passes() {
    let shape = Shape { repair_percent: 2, passes: 4, ..Shape::of(Profile::Flute) };
    let (stream, outcome) = deliver(&shape, 50_000);
    outcome.assert_whole(&stream);
    let (_, outcome) = deliver(&Shape { passes: 1, ..shape }, 50_000);
    assert_eq!(outcome.image.completed, 0, "one pass of 2 % repair cannot make up for 5 % loss: {outcome:?}");
}

#[test]
fn receives_no_code_without_loss() {
    let (stream, outcome) = deliver(&Shape { image_len: 30_000_001, ..Shape::of(Profile::NoCode) }, 0);
    outcome.assert_whole(&stream);
}

#[test]
fn receives_no_code_with_loss_over_several_passes() {
    let shape = Shape { passes: 6, ..Shape::of(Profile::NoCode) };
    let (stream, outcome) = deliver(&shape, 20_000);
    outcome.assert_whole(&stream);
    let (_, outcome) = deliver(&Shape { passes: 1, ..shape }, 20_000);
    assert_eq!(outcome.image.completed, 0, "nothing makes up for a lost symbol within a pass: {outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Lengths around symbols and blocks, any TSI, each profile.
    #[test]
    fn receives_any_length(
        image_len in 1u64..200_000, block_symbols in 1u32..80, tsi: u32, window_blocks in 1u16..20,
        profile in prop::sample::select(vec![Profile::Fleetcast, Profile::Flute, Profile::NoCode]),
    ) {
        let shape = Shape { image_len, block_symbols, tsi, window_blocks, ..Shape::of(profile) };
        let (stream, outcome) = deliver(&shape, 0);
        outcome.assert_whole(&stream);
    }
}

/// A socket in a receiver's namespace that has joined the channel, read by a thread of its own: `flute` decodes within
/// `push`, and the kernel's buffer does not hold what comes meanwhile.
fn joined(fleet: &Fleet) -> mpsc::Receiver<Vec<u8>> {
    let (group, port) = (Ipv4Addr::new(232, 1, 1, 1), fleet.channel.port);
    let open = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(4 << 20)?;
        socket.bind(&SocketAddr::from((group, port)).into())?;
        socket.join_ssm_v4(&SENDER_V4, &group, &receiver_v4(0))?;
        Ok(socket.into())
    };
    let socket = fleet.lab.receivers()[0].enter(open).unwrap().unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let (sender, packets) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok(len) = socket.recv(&mut buffer) {
            if sender.send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    packets
}

/// The real sender over real multicast, 2 % lost on the way.
#[test]
fn receives_the_program_over_multicast() {
    skip_without_lab!();
    let mut fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, 1).unwrap();
    let release = fleet.release(8_000_000, SEED).unwrap();
    let manifest = std::fs::read(&release.manifest).unwrap();
    let len = SignedManifest::parse_unverified(&manifest).unwrap().manifest().partition.image_len();
    fleet.lab.set_losses(fleet.channel.port, &[Loss::new(SEED, 20_000)]).unwrap();
    let packets = joined(&fleet);
    fleet.lab.await_all_joined(fleet.channel.group).unwrap();
    let options = ["--profile", "flute", "--rate", "50M", "--repair", "10%"];
    let sender = fleet.sender(&release).args(options).spawn().unwrap();

    let mut receiver = FluteReceiver::new(Content::new(SEED), &manifest);
    let deadline = Instant::now() + SOON;
    let mut came = 0;
    while receiver.outcome().image.completed == 0 && Instant::now() < deadline {
        receiver.push(&packets.recv_timeout(SOON).unwrap());
        came += 1;
    }
    assert_eq!(sender.finish(SOON).unwrap().code(), Some(0));
    let outcome = receiver.outcome();
    assert_eq!((outcome.image.right, outcome.image.wrong, outcome.image.completed), (len, 0, 1), "{outcome:?}");
    assert!(came > 5_000, "{came} packets");
    assert!(fleet.lab.losses()[0].counters().unwrap().dropped > 50, "the lab lost nothing");
}
