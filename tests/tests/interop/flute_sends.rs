//! Our receiver takes what the crate `flute` sends: an FDT, no manifest, and only when it is told to trust nobody.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use fleetcast_protocol::session::Profile;
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::lab::{INTERFACE, SENDER_V4};
use fleetcast_tests::loss::{Loss, LossStream};
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::scratch::Scratch;
use fleetcast_tests::skip_without_lab;
use flute::core::Oti;
use flute::core::lct::Cenc;
use proptest::prelude::*;

use crate::content::Content;
use crate::flute_sender::{NAME, PACKET_GAP, SEED, Stranger};
use crate::stream::{Shape, Stream};
use crate::unsigned_receiver::Receiver;

const SOON: Duration = Duration::from_secs(30);
/// Sends all to a receiver that loses `loss_ppm` packets in a million.
fn deliver(stranger: &Stranger, loss_ppm: u32) -> Receiver {
    let mut receiver = Receiver::new();
    let mut loss = LossStream::new(Loss::new(SEED, loss_ppm));
    for packet in stranger.packets() {
        if !loss.drops(&packet) {
            receiver.push(&packet);
        }
    }
    receiver.rest();
    receiver
}

fn assert_received(receiver: &Receiver, stranger: &Stranger) {
    assert!(receiver.refused.is_empty(), "{:?}", receiver.refused);
    let stats = receiver.session.stats();
    assert!(receiver.file().is_some_and(|file| file == stranger.content()), "{stats:?}");
    assert_eq!(stats.malformed, 0, "{stats:?}");
    let file = receiver.file.as_ref().unwrap();
    assert_eq!(file.content_md5, Some(md5::compute(stranger.content()).0));
    assert_eq!(file.file_name().as_deref(), Some(NAME));
}

#[test]
fn its_coded_fdt_and_file_are_received_with_loss() {
    let stranger = Stranger::raptorq(3_000_001, 200, 40);
    let first = &stranger.packets()[0];
    assert_eq!((first[3], first[10], first[11]), (6, 0, 0), "the FDT comes first, coded with RaptorQ");
    let receiver = deliver(&stranger, 50_000);
    assert_received(&receiver, &stranger);
    assert!(receiver.session.stats().decoded_blocks > 5);
}

/// 61 symbols in blocks of at most 60: Z = 2, so that ceil(Kt / Z) is 31.
#[test]
fn its_maximum_block_length_need_not_be_ours() {
    let stranger = Stranger::raptorq(61 * 1400 - 7, 60, 10);
    let receiver = deliver(&stranger, 0);
    assert_received(&receiver, &stranger);
    let partition = receiver.file.as_ref().unwrap().partition;
    assert_eq!((partition.blocks(), partition.largest_k()), (2, 31));
}

/// Later passes bring the same repair symbols again.
#[test]
fn its_repeated_repair_symbols_complete_the_file() {
    let stranger = Stranger { passes: 6, ..Stranger::raptorq(1_000_000, 100, 5) };
    let receiver = deliver(&stranger, 200_000);
    assert_received(&receiver, &stranger);
    assert!(receiver.session.stats().surplus > 1_000);
    let once = deliver(&Stranger { passes: 1, ..stranger }, 200_000);
    assert_eq!(once.file(), None, "5 repair symbols in 105 cannot make up for 20 % loss");
}

/// It picks the width of TSI and TOI by their value.
#[test]
fn its_ids_may_have_any_width() {
    for (tsi, first_toi) in [(1, 1), (0xFFFF, 0xFFFF), (0x1_0000, 1), (1, 0x1_0000), (1 << 40, 1 << 40), (9, u64::MAX)]
    {
        let stranger = Stranger { tsi, first_toi: u128::from(first_toi), ..Stranger::raptorq(50_000, 60, 3) };
        let receiver = deliver(&stranger, 0);
        assert_received(&receiver, &stranger);
        let file = receiver.file.as_ref().unwrap();
        assert_eq!((file.tsi, file.toi), (tsi, first_toi));
    }
}

#[test]
fn its_plain_fdt_may_describe_a_coded_file() {
    let plain = Oti::new_no_code(1400, 64);
    let coded = Stranger::raptorq(500_000, 100, 20);
    let stranger = Stranger { file_oti: Some(coded.oti.clone()), oti: plain, ..coded };
    let receiver = deliver(&stranger, 50_000);
    assert_received(&receiver, &stranger);
}

#[test]
fn its_file_without_fec_is_received_over_several_passes() {
    let oti = Oti::new_no_code(1400, 64);
    let stranger = Stranger { oti, passes: 6, ..Stranger::raptorq(1_000_003, 1, 0) };
    let receiver = deliver(&stranger, 20_000);
    assert_received(&receiver, &stranger);
}

#[test]
fn what_we_cannot_decode_is_refused_and_named() {
    let base = || Stranger::raptorq(100_000, 60, 3);
    let sub_blocks = Oti::new_raptorq(1400, 60, 3, 2, 4).unwrap();
    let misaligned = Oti::new_raptorq(1404, 60, 3, 1, 4).unwrap();
    let reed_solomon = Oti::new_reed_solomon_rs28(1400, 60, 3).unwrap();
    let with_file = |file_oti| Stranger { file_oti: Some(file_oti), ..base() };
    for (stranger, reason) in [
        (with_file(sub_blocks), "TOI 1 has 2 sub-blocks in a block; only N = 1 can be decoded"),
        (with_file(misaligned), "TOI 1 cannot be decoded: symbol size 1404 is not a positive multiple of 8"),
        (with_file(reed_solomon), "TOI 1 is coded with FEC Encoding ID 5; only 6 (RaptorQ) and 0 (no-code)"),
        (Stranger { cenc: Cenc::Gzip, ..base() }, "TOI 1 is compressed (gzip)"),
    ] {
        let receiver = deliver(&stranger, 0);
        assert_eq!((receiver.refused.len(), receiver.file()), (1, None), "{reason}: {:?}", receiver.refused);
        assert!(receiver.refused[0].starts_with(reason), "{}", receiver.refused[0]);
    }
}

/// Our own streams have an FDT, too; the image is their longest file.
#[test]
fn our_own_stream_is_received_without_its_manifest() {
    for profile in [Profile::Fleetcast, Profile::Flute, Profile::NoCode] {
        let shape = Shape { image_len: 1_000_003, block_symbols: 200, ..Shape::of(profile) };
        let mut stream = Stream::new(&shape, Content::new(SEED));
        let mut receiver = Receiver::new();
        while let Some(packet) = stream.next_packet() {
            receiver.push(&packet);
        }
        assert!(receiver.file().is_some_and(|file| file == Content::new(SEED).read(0, 1_000_003)), "{profile}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn its_files_of_any_shape_are_received(
        len in 1usize..150_000, words in 1u16..180, max_block_len in 1u16..90, repair in 0u16..5, al in 1u8..3,
    ) {
        let symbol_size = words * 8;
        prop_assume!(len.div_ceil(usize::from(symbol_size)).div_ceil(usize::from(max_block_len)) <= 255);
        let oti = Oti::new_raptorq(symbol_size, max_block_len, repair, 1, al * 4).unwrap();
        // The FDT needs room of its own where symbols are tiny.
        let session = Oti::new_raptorq(1400, 60, 2, 1, 4).unwrap();
        let stranger = Stranger { oti: session, file_oti: Some(oti), ..Stranger::raptorq(len, 1, 0) };
        let receiver = deliver(&stranger, 0);
        assert_received(&receiver, &stranger);
    }
}

/// Sends over a real socket of the sender's namespace, as fast as 40 Mbit/s.
fn send_in_lab(fleet: &Fleet, stranger: &Stranger) {
    let bind = || UdpSocket::bind((SENDER_V4, 0));
    let socket = fleet.lab.sender().enter(bind).unwrap().unwrap();
    let target = SocketAddr::new(fleet.channel.group, fleet.channel.port);
    let mut sender = stranger.sender();
    while let Some(packet) = sender.read(SystemTime::now()) {
        socket.send_to(&packet, target).unwrap();
        thread::sleep(PACKET_GAP);
    }
}

/// Our receiver with `--trust none`, and neither product nor hardware.
fn trusting_nobody(fleet: &Fleet, timeout: &str) -> Process {
    let device = fleet.device(0);
    let mut command = fleet.lab.receivers()[0].command(&fleet.binaries.recv);
    command.arg("receive").arg("--state").arg(device.state).arg("--out").arg(device.out);
    command.args(fleet.channel.options()).args(["--interface", INTERFACE, "--trust", "none", "--json", "--once"]);
    command.args(["--timeout", timeout]);
    let mut receiver = Process::spawn("the receiver", command).unwrap();
    receiver.wait_event("unauthenticated", SOON).unwrap();
    fleet.lab.await_all_joined(fleet.channel.group).unwrap();
    receiver
}

/// What a signed upgrade leaves in a state folder.
fn leave_signed_upgrade(fleet: &Fleet) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let state = fleet.device(0).state;
    fs::create_dir_all(&state).unwrap();
    let installed = format!(
        r#"{{"name":"fw","version":"9","sequence":9,"manifest":"{}","applied_unix_s":1700000000}}"#,
        "ab".repeat(32)
    );
    let files = [("installed.json", installed.as_str()), ("manifest.fcm", "m"), ("staging", "s"), ("journal", "j")];
    let files = files.map(|(name, content)| (state.join(name), content.as_bytes().to_vec()));
    files.iter().for_each(|(path, content)| fs::write(path, content).unwrap());
    files.to_vec()
}

fn text<'f>(finished: &'f Finished, event: &str, field: &str) -> &'f str {
    finished.event(event).unwrap()[field].as_str().unwrap()
}

/// Over real multicast with loss: received, said to be unauthenticated, and nothing signed is touched.
#[test]
fn our_program_receives_it_over_multicast() {
    skip_without_lab!();
    let mut fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, 1).unwrap();
    fleet.lab.set_losses(fleet.channel.port, &[Loss::new(SEED, 20_000)]).unwrap();
    let signed = leave_signed_upgrade(&fleet);
    let stranger = Stranger { passes: 2, ..Stranger::raptorq(4_000_001, 500, 25) };
    let receiver = trusting_nobody(&fleet, "10s");
    send_in_lab(&fleet, &stranger);
    let finished = receiver.finish(SOON).unwrap();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert!(fs::read(fleet.device(0).out).unwrap() == stranger.content());
    assert!(text(&finished, "unauthenticated", "warning").contains("NOTHING that is received is authenticated"));
    assert_eq!(finished.event("received").unwrap()["authenticated"], false);
    assert_eq!(finished.event("received").unwrap()["md5_checked"], true);
    assert!(finished.event("received").unwrap()["decoded_blocks"].as_u64().unwrap() > 0, "the lab lost nothing");
    for (path, content) in signed {
        assert!(fs::read(&path).unwrap() == content, "{} was changed", path.display());
    }
}

#[test]
fn our_program_says_what_it_cannot_receive() {
    skip_without_lab!();
    let fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, 1).unwrap();
    let oti = Oti::new_raptorq(1400, 60, 3, 2, 4).unwrap();
    let stranger =
        Stranger { oti: Oti::new_no_code(1400, 64), file_oti: Some(oti), ..Stranger::raptorq(100_000, 1, 0) };
    let receiver = trusting_nobody(&fleet, "2s");
    send_in_lab(&fleet, &stranger);
    let finished = receiver.finish(SOON).unwrap();
    assert_eq!(finished.code(), Some(4), "{}", finished.stderr);
    assert!(text(&finished, "fdt", "reason").contains("2 sub-blocks"));
    assert!(text(&finished, "failed", "reason").starts_with("no acceptable FDT within 2 s"));
    assert!(!fleet.device(0).out.exists());
}

#[test]
fn trusting_nobody_excludes_keys_and_hooks() {
    let binaries = Binaries::beside_this_program().unwrap();
    let scratch = Scratch::new().unwrap();
    let run = |options: &[&str]| {
        let mut command = Command::new(&binaries.recv);
        command.args(["receive", "--group", "239.1.2.3", "--port", "5000", "--interface", "lo", "--state"]);
        let output = command.arg(scratch.join("state")).args(options).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (options, message) in [
        (&["--trust", "none", "--trust", "key.pub"][..], "--trust none cannot be combined with keys"),
        (&["--trust", "none", "--apply", "exec:true"], "--apply exec is refused with --trust none"),
        (&["--trust", "key.pub"], "--product and --hardware are required"),
        (&["--trust", "key.pub", "--product", "p"], "--product and --hardware are required"),
    ] {
        let (code, said) = run(options);
        assert_eq!(code, Some(2), "{options:?}: {said}");
        assert!(said.contains(message), "{options:?}: {said}");
    }
    assert!(!scratch.join("state").exists(), "a wrong command line changes nothing");
}
