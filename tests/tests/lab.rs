//! The lab itself: what it makes, what it removes, and whether its loss is what it says.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::panic::catch_unwind;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use fleetcast_tests::lab::{Lab, LabConfig, RECEIVERS_MAX};
use fleetcast_tests::lock::LabLock;
use fleetcast_tests::loss::{Loss, LossStream};
use fleetcast_tests::loss_program::LossProgram;
use fleetcast_tests::namespace::{FOLDER, Namespace, PREFIX};
use fleetcast_tests::scratch::Scratch;
use fleetcast_tests::{LabError, lab_or_skip, skip_without_lab, sweep};

const PORT: u16 = 5_000;
const GROUP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3));
const GROUP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 0x77));
/// Longer than a packet can be under way in the lab.
const SILENCE: Duration = Duration::from_millis(500);
const BUFFER_BYTES: usize = 8 << 20;

/// A socket of the sender for multicast.
fn sender_socket(lab: &Lab) -> UdpSocket {
    lab.sender().enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap()).unwrap()
}

/// The group as the sender's dual-stack socket names it.
fn destination(group: IpAddr) -> SocketAddr {
    match group {
        IpAddr::V4(group) => SocketAddr::from((group.to_ipv6_mapped(), PORT)),
        IpAddr::V6(group) => SocketAddr::from((group, PORT)),
    }
}

/// A socket of a receiver that has joined the group.
fn member_socket(namespace: &Namespace, group: IpAddr) -> UdpSocket {
    let joined = namespace.enter(|| {
        let socket = UdpSocket::bind((group, PORT))?;
        match group {
            IpAddr::V4(group) => socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?,
            IpAddr::V6(group) => socket.join_multicast_v6(&group, 0)?,
        }
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
        socket.set_read_timeout(Some(SILENCE))?;
        std::io::Result::Ok(socket)
    });
    joined.unwrap().unwrap()
}

/// Everything that arrives until nothing arrives any more.
fn receive_all(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut buffer = [0; 2_048];
    let mut packets = Vec::new();
    while let Ok(len) = socket.recv(&mut buffer) {
        packets.push(buffer[..len].to_vec());
    }
    packets
}

/// Sends so that no queue of the lab overflows: 20,000 packets a second.
fn send_paced(socket: &UdpSocket, to: SocketAddr, packets: &[Vec<u8>]) {
    for burst in packets.chunks(10) {
        for packet in burst {
            socket.send_to(packet, to).unwrap();
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// An ALC packet of ours (32-bit TSI and TOI) that carries a symbol, and its number as payload.
fn alc(toi: u32, payload_id: u32, number: usize) -> Vec<u8> {
    let mut packet = vec![0x10, 0xa0, 4, 6, 0, 0, 0, 0, 1, 2, 3, 4];
    packet.extend(toi.to_be_bytes());
    packet.extend(payload_id.to_be_bytes());
    packet.extend(number.to_be_bytes());
    packet
}

/// A session in small: image symbols, of which each is sent twice, between repeats of a control packet and strangers.
fn session(symbols: u32) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for symbol in (0..symbols).chain(0..symbols) {
        packets.push(alc(2, ((symbol / 1_000) << 24) | (symbol % 1_000), packets.len()));
        if symbol % 3 == 0 {
            packets.push(alc(3, 0, packets.len()));
        }
        if symbol % 7 == 0 {
            packets.push([b"no LCT packet at all".as_slice(), &packets.len().to_be_bytes()].concat());
        }
    }
    packets
}

fn own_namespaces() -> Vec<String> {
    let own = format!("{PREFIX}{}-", std::process::id());
    let names = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&own)).collect()
}

#[test]
fn nothing_remains_also_after_a_panic() {
    let lab = lab_or_skip!(&LabConfig { receivers: 2, ..LabConfig::default() });
    assert_eq!(own_namespaces().len(), 4);
    let mut command = lab.receivers()[0].command("sleep");
    let mut inside = command.arg("60").stdin(Stdio::null()).spawn().unwrap();
    let panicked = catch_unwind(move || {
        let _lab = lab;
        panic!("this panic is part of the test");
    });
    assert!(panicked.is_err());
    // The lock is free again, and nobody else makes namespaces while we hold it.
    let _lock = LabLock::acquire().unwrap();
    assert_eq!(own_namespaces(), Vec::<String>::new());
    assert!(!inside.wait().unwrap().success(), "what ran inside was killed");
}

#[test]
fn leftovers_of_a_killed_run_are_removed() {
    skip_without_lab!();
    let lock = LabLock::acquire().unwrap();
    // A process that has ended, as the killed run has: nobody has its id.
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let stale = format!("{PREFIX}{}-r0", ended.id());
    let own = Namespace::new(&lock, "own").unwrap();
    let scratch = Scratch::new().unwrap();
    let stale_scratch = std::env::temp_dir().join(format!("fleetcast-lab-{}-x", ended.id()));
    fs::create_dir_all(stale_scratch.join("inner")).unwrap();
    assert!(Command::new("ip").args(["netns", "add", &stale]).status().unwrap().success());
    let mut inside = Command::new("ip").args(["netns", "exec", &stale, "sleep", "60"]).spawn().unwrap();
    // Until it is inside it is not found there.
    thread::sleep(Duration::from_millis(200));
    sweep::leftovers(&lock);
    assert!(!std::path::Path::new(FOLDER).join(stale).exists());
    assert!(!stale_scratch.exists());
    assert!(!inside.wait().unwrap().success(), "what ran inside was killed");
    assert!(scratch.path().exists());
    assert_eq!(own_namespaces(), [own.name()]);
}

#[test]
fn too_many_receivers_are_refused() {
    let config = LabConfig { receivers: RECEIVERS_MAX + 1, ..LabConfig::default() };
    assert!(matches!(Lab::new(&config), Err(LabError::Unfit(_))));
}

/// Multicast reaches the receiver that joined, and not even the interface of the one that did not.
fn reaches_members_only(group: IpAddr) {
    let mut lab = lab_or_skip!(&LabConfig { receivers: 2, ..LabConfig::default() });
    lab.set_losses(PORT, &[Loss::new(0, 0); 2]).unwrap();
    let member = member_socket(&lab.receivers()[0], group);
    lab.bridge().settle().unwrap();
    lab.bridge().await_members(group, &["p0".to_owned()], Duration::from_secs(5)).unwrap();
    let missing = lab.bridge().await_members(group, &["p1".to_owned()], Duration::from_millis(100));
    assert!(matches!(missing, Err(LabError::Timeout { .. })));

    let sender = sender_socket(&lab);
    let packets: Vec<_> = (0..200).map(|n| alc(2, n, 0)).collect();
    send_paced(&sender, destination(group), &packets);
    assert_eq!(receive_all(&member), packets);
    let seen: Vec<_> = lab.losses().iter().map(|loss| loss.counters().unwrap().seen).collect();
    assert_eq!(seen, [200, 0]);
}

#[test]
fn ipv4_multicast_reaches_members_only() {
    reaches_members_only(GROUP_V4);
}

#[test]
fn ipv6_multicast_reaches_members_only() {
    reaches_members_only(GROUP_V6);
}

/// Real packets are lost exactly as foretold, at each receiver its own.
fn loses_what_was_foretold(group: IpAddr) {
    let mut lab = lab_or_skip!(&LabConfig { receivers: 2, ..LabConfig::default() });
    let losses = [Loss::of_receiver(7, 0, 20_000), Loss::of_receiver(7, 1, 50_000)];
    lab.set_losses(PORT, &losses).unwrap();
    let sockets: Vec<_> = lab.receivers().iter().map(|receiver| member_socket(receiver, group)).collect();
    lab.await_all_joined(group).unwrap();

    let packets = session(5_000);
    let sender = sender_socket(&lab);
    let received: Vec<Vec<Vec<u8>>> = thread::scope(|scope| {
        let readers: Vec<_> = sockets.iter().map(|socket| scope.spawn(|| receive_all(socket))).collect();
        send_paced(&sender, destination(group), &packets);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    for ((loss, received), program) in losses.into_iter().zip(&received).zip(lab.losses()) {
        let mut stream = LossStream::new(loss);
        let expected: Vec<_> = packets.iter().filter(|packet| !stream.drops(packet)).cloned().collect();
        assert!(expected.len() < packets.len());
        assert!(*received == expected, "received {} packets, foretold were {}", received.len(), expected.len());
        let counters = program.counters().unwrap();
        assert_eq!(counters.seen, packets.len() as u64);
        assert_eq!(counters.dropped, (packets.len() - expected.len()) as u64);
    }
}

#[test]
fn ipv4_loss_is_what_was_foretold() {
    loses_what_was_foretold(GROUP_V4);
}

#[test]
fn ipv6_loss_is_what_was_foretold() {
    loses_what_was_foretold(GROUP_V6);
}

/// An IPv4 frame with options and a UDP datagram for `port`.
fn ipv4_frame(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [[2; 12].as_slice(), &[8, 0]].concat();
    frame.extend([0x46, 0, 0, 0, 0, 0, 0, 0, 1, 17, 0, 0, 10, 77, 0, 1, 232, 1, 1, 1, 1, 1, 1, 1]);
    frame.extend([[0, 1], port.to_be_bytes(), [0; 2], [0; 2]].concat());
    frame.extend(payload);
    frame
}

#[test]
fn the_kernel_program_and_the_function_agree_on_any_packet() {
    skip_without_lab!();
    let loss = Loss::new(0x1234_5678_9abc_def0, 500_000);
    let program = LossProgram::load(&loss, PORT).unwrap();
    let mut stream = LossStream::new(loss);
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed.to_be_bytes()[1]
    };
    for round in 0_u32..20_000 {
        let len = usize::from(random() % 80);
        let mut payload: Vec<u8> = (0..len).map(|_| random()).collect();
        if let [first, _, words, ..] = payload.as_mut_slice()
            && round % 8 != 0
        {
            // Mostly nearly valid ones: any widths, lengths around the right one.
            *first = 0x10 | (*first & 0x0f);
            *words %= 16;
        }
        let expected = stream.drops(&payload);
        assert_eq!(program.test(&ipv4_frame(PORT, &payload)).unwrap(), expected, "round {round}: {payload:02x?}");
    }
    assert_eq!(program.counters().unwrap().seen, 20_000);
}

#[test]
fn bursts_of_the_program_are_those_foretold() {
    skip_without_lab!();
    let loss = Loss::new(77, 50_000).in_bursts(10);
    let program = LossProgram::load(&loss, PORT).unwrap();
    let mut stream = LossStream::new(loss);
    let mut in_a_row = 0;
    let mut longest = 0;
    for esi in 0..20_000_u32 {
        let payload = alc(2, esi % 7_000, 0);
        let expected = stream.drops(&payload);
        assert_eq!(program.test(&ipv4_frame(PORT, &payload)).unwrap(), expected, "packet {esi}");
        in_a_row = if expected { in_a_row + 1 } else { 0 };
        longest = longest.max(in_a_row);
    }
    assert!(longest > 10, "as if each were lost by itself: {longest} in a row");
}

#[test]
fn what_is_not_for_the_port_passes_uncounted() {
    skip_without_lab!();
    let program = LossProgram::load(&Loss::new(1, 1_000_000), PORT).unwrap();
    let ours = ipv4_frame(PORT, &alc(2, 0, 0));
    assert!(program.test(&ours).unwrap());
    let with = |at: usize, byte: u8| {
        let mut frame = ours.clone();
        frame[at] = byte;
        frame
    };
    let strangers = [
        ("another port", ipv4_frame(PORT + 1, &alc(2, 0, 0))),
        ("IGMP", with(14 + 9, 2)),
        ("a later fragment", with(14 + 7, 1)),
        ("ARP", with(13, 6)),
        ("cut inside UDP", ours[..14 + 24 + 7].to_vec()),
    ];
    for (what, frame) in strangers {
        assert!(!program.test(&frame).unwrap(), "{what}");
    }
    assert_eq!(program.counters().unwrap().seen, 1);
}

#[test]
fn the_wire_counts_every_packet_with_its_headers() {
    let lab = lab_or_skip!(&LabConfig::default());
    let sender = sender_socket(&lab);
    let before = lab.wire().counters().unwrap();
    let packets = vec![vec![7; 1_000]; 40];
    send_paced(&sender, destination(GROUP_V4), &packets);
    let after = lab.wire().counters().unwrap();
    // Membership reports of the kernel may come in between, so a little more is fine.
    let (packets, bytes) = (after.tx_packets - before.tx_packets, after.tx_bytes - before.tx_bytes);
    assert!((40..44).contains(&packets), "{packets} packets");
    assert!((40 * 1_042..40 * 1_042 + 400).contains(&bytes), "{bytes} bytes");
}
