//! The program against a model, through BPF_PROG_TEST_RUN, loaded by aya and by libbpf. Needs root.

mod frame;
mod kernel;
mod model;

use fleetcast_ebpf::{Channel, Program, Verdict};
use fleetcast_tests::skip_without_lab;
use frame::{DESTINATION, FRAGMENT, Frame, HOP_BY_HOP, ICMPV6, ROUTING, alc};
use kernel::{Aya, Kernel, Libbpf};
use model::Guarded;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;

const SOURCE: &str = "10.0.0.1";
const GROUP: &str = "232.1.1.1";
const SOURCE_V6: &str = "fd77::1";
const GROUP_V6: &str = "ff3e::8000:1";
/// A group with three channels, of which two share a port.
const SHARED: &str = "232.1.1.2";
const EXCLUSIVE: &str = "232.1.1.3";

fn channel(source: &str, group: &str, port: u16) -> Channel {
    Channel::new(source.parse().unwrap(), group.parse().unwrap(), port).unwrap()
}

fn guarded() -> Guarded {
    Guarded {
        channels: vec![
            channel(SOURCE, GROUP, 5000),
            channel("10.0.0.3", SHARED, 5000),
            channel("10.0.0.1", SHARED, 5000),
            channel("10.0.0.2", SHARED, 5001),
            channel(SOURCE, EXCLUSIVE, 5000),
            channel(SOURCE_V6, GROUP_V6, 5000),
            channel("fd77::2", "ff3e::8000:2", 5000),
            channel("fd77::3", "ff3e::8000:2", 5000),
        ],
        exclusive: vec![EXCLUSIVE.parse().unwrap()],
    }
}

fn v4() -> Frame {
    Frame::new(SOURCE, GROUP, 5000)
}

fn v6() -> Frame {
    Frame::new(SOURCE_V6, GROUP_V6, 5000)
}

/// Every kind of packet, and what is to become of it.
fn table() -> Vec<(&'static str, Frame, Option<Verdict>)> {
    use Verdict::*;
    let lct = |at: usize, byte: u8| {
        let mut payload = alc(64);
        payload[at] = byte;
        payload
    };
    let extensions = |list: &[(u8, u8)]| Frame { extensions: list.to_vec(), ..v6() };
    vec![
        ("the channel's own", v4(), Some(Accepted)),
        ("the channel's own, IPv6", v6(), Some(Accepted)),
        ("IP options", Frame { option_words: 10, ..v4() }, Some(Accepted)),
        ("one tag", Frame { tags: vec![0x8100], ..v4() }, Some(Accepted)),
        ("two tags", Frame { tags: vec![0x88a8, 0x8100], ..v6() }, Some(Accepted)),
        ("three tags", Frame { tags: vec![0x88a8, 0x8100, 0x8100], ..v4() }, None),
        (
            "hop by hop, destination, routing",
            extensions(&[(HOP_BY_HOP, 0), (DESTINATION, 1), (ROUTING, 2)]),
            Some(Accepted),
        ),
        ("five extension headers", extensions(&[(HOP_BY_HOP, 0), (60, 0), (43, 0), (60, 0), (60, 3)]), Some(Accepted)),
        (
            "six extension headers",
            extensions(&[(HOP_BY_HOP, 0), (60, 0), (43, 0), (60, 0), (60, 0), (60, 0)]),
            Some(Malformed),
        ),
        ("a symbol of a jumbo frame", Frame { payload: alc(8_900), ..v4() }, Some(Accepted)),
        ("the same over IPv6", Frame { payload: alc(8_900), ..v6() }, Some(Accepted)),
        ("the least that is LCT", Frame { payload: vec![0x10, 0, 1, 6], ..v4() }, Some(Accepted)),
        ("another group", Frame::new(SOURCE, "232.9.9.9", 5000), Some(OtherGroup)),
        ("another group, IPv6", Frame::new(SOURCE_V6, "ff3e::9", 5000), Some(OtherGroup)),
        ("unicast", Frame::new(SOURCE, "10.0.0.9", 5000), None),
        ("unicast, IPv6", Frame::new(SOURCE_V6, "fd77::9", 5000), None),
        ("another port", Frame { port: 5001, ..v4() }, Some(OtherPort)),
        ("another port, wrong source", Frame::new("10.0.0.9", GROUP, 5001), Some(OtherPort)),
        ("another port, IPv6", Frame { port: 5001, ..v6() }, Some(OtherPort)),
        ("another port of an exclusive group", Frame::new(SOURCE, EXCLUSIVE, 5001), Some(ExclusivePort)),
        ("the port of an exclusive group", Frame::new(SOURCE, EXCLUSIVE, 5000), Some(Accepted)),
        ("IGMP to the group", Frame { protocol: 2, ..v4() }, Some(NotUdp)),
        ("IGMP to an exclusive group", Frame { protocol: 2, ..Frame::new("10.0.0.9", EXCLUSIVE, 1) }, Some(NotUdp)),
        ("MLD to the group", Frame { protocol: ICMPV6, extensions: vec![(HOP_BY_HOP, 0)], ..v6() }, Some(NotUdp)),
        ("UDP-Lite", Frame { protocol: 136, ..v4() }, Some(NotUdp)),
        ("the wrong source", Frame::new("10.0.0.9", GROUP, 5000), Some(WrongSource)),
        ("the wrong source, IPv6", Frame::new("fd77::9", GROUP_V6, 5000), Some(WrongSource)),
        ("the wrong source, low half only", Frame::new("fd78::1", GROUP_V6, 5000), Some(WrongSource)),
        ("the first of two sources", Frame::new("10.0.0.1", SHARED, 5000), Some(Accepted)),
        ("the second of two sources", Frame::new("10.0.0.3", SHARED, 5000), Some(Accepted)),
        ("the source of another port", Frame::new("10.0.0.2", SHARED, 5000), Some(WrongSource)),
        ("that port", Frame::new("10.0.0.2", SHARED, 5001), Some(Accepted)),
        ("no port of that group", Frame::new("10.0.0.2", SHARED, 5002), Some(OtherPort)),
        ("two sources, IPv6", Frame::new("fd77::3", "ff3e::8000:2", 5000), Some(Accepted)),
        ("neither of them", Frame::new("fd77::4", "ff3e::8000:2", 5000), Some(WrongSource)),
        ("a first fragment", Frame { fragment: 0x2000, ..v4() }, Some(Fragment)),
        ("a later fragment", Frame { fragment: 0x0001, ..v4() }, Some(Fragment)),
        (
            "a fragment from anywhere to any port",
            Frame { fragment: 0x2000, ..Frame::new("10.0.0.9", GROUP, 9) },
            Some(Fragment),
        ),
        ("a fragment of another protocol", Frame { fragment: 0x2000, protocol: 2, ..v4() }, Some(NotUdp)),
        ("a fragment, IPv6", extensions(&[(HOP_BY_HOP, 0), (FRAGMENT, 0)]), Some(Fragment)),
        ("a fragment of MLD", Frame { protocol: ICMPV6, ..extensions(&[(FRAGMENT, 0)]) }, Some(NotUdp)),
        ("IP says more than came", Frame { ip_len_error: 1, ..v4() }, Some(Malformed)),
        ("IP says more than came, IPv6", Frame { ip_len_error: 1, ..v6() }, Some(Malformed)),
        (
            "IP says more than came in a jumbo frame",
            Frame { ip_len_error: 1, payload: alc(8_900), ..v4() },
            Some(Malformed),
        ),
        ("IP says less than UDP", Frame { ip_len_error: -1, ..v4() }, Some(Malformed)),
        ("UDP says more than IP", Frame { udp_len_error: 1, ..v6() }, Some(Malformed)),
        ("UDP says less", Frame { udp_len_error: -1, ..v4() }, Some(Accepted)),
        ("UDP says nothing", Frame { udp_len_error: -1000, ..v4() }, Some(Malformed)),
        ("no payload", Frame { payload: Vec::new(), ..v4() }, Some(Malformed)),
        ("less than LCT", Frame { payload: vec![0x10, 0, 1], ..v6() }, Some(Malformed)),
        ("an LCT header longer than the datagram", Frame { payload: lct(2, 22), ..v4() }, Some(Malformed)),
        ("an LCT header as long as the datagram", Frame { payload: lct(2, 21), ..v4() }, Some(Accepted)),
        ("an LCT header of no length", Frame { payload: lct(2, 0), ..v4() }, Some(Malformed)),
        ("LCT version 0", Frame { payload: lct(0, 0), ..v4() }, Some(BadLctVersion)),
        ("LCT version 2", Frame { payload: lct(0, 0x20), ..v6() }, Some(BadLctVersion)),
        (
            "something else from the wrong source",
            Frame { payload: lct(0, 0), ..Frame::new("10.0.0.9", GROUP, 5000) },
            Some(WrongSource),
        ),
    ]
}

fn both(guarded: &Guarded) -> Vec<Box<dyn Kernel>> {
    vec![Box::new(Aya::load(guarded)), Box::new(Libbpf::load(guarded))]
}

#[test]
fn every_kind_of_packet_has_its_verdict_whoever_loads() {
    skip_without_lab!();
    let guarded = guarded();
    let mut seen: Vec<Verdict> = Vec::new();
    let mut kernels = both(&guarded);
    for (name, frame, verdict) in table() {
        let bytes = frame.bytes();
        assert_eq!(guarded.judge(&bytes), verdict, "the model: {name}");
        for kernel in &mut kernels {
            assert_eq!(kernel.judge(&bytes), verdict, "{name}");
        }
        seen.extend(verdict);
    }
    assert!(Verdict::ALL.iter().all(|verdict| seen.contains(verdict)), "a verdict without a packet: {seen:?}");
}

#[test]
fn every_truncation_has_the_models_verdict() {
    skip_without_lab!();
    let guarded = guarded();
    let mut kernels = both(&guarded);
    for (name, frame, _) in table() {
        let bytes = frame.bytes();
        // The kernel runs nothing shorter than an Ethernet header. Past what is looked at, every length is like the next.
        for len in (14..bytes.len().min(400)).chain((400..bytes.len()).step_by(401)) {
            let expected = guarded.judge(&bytes[..len]);
            for kernel in &mut kernels {
                assert_eq!(kernel.judge(&bytes[..len]), expected, "{name}, cut to {len} of {} bytes", bytes.len());
            }
        }
    }
}

#[test]
fn every_changed_byte_has_the_models_verdict() {
    skip_without_lab!();
    let guarded = guarded();
    let mut kernel = Aya::load(&guarded);
    for (name, frame, _) in table() {
        let bytes = frame.bytes();
        for at in 12..bytes.len().min(150) {
            for flip in [1, 0x80, 0xff, 0x10] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                assert_eq!(kernel.judge(&bytes), guarded.judge(&bytes), "{name}, byte {at} ^ {flip:#x}");
            }
        }
    }
}

#[test]
fn whatever_comes_has_the_models_verdict() {
    skip_without_lab!();
    let guarded = guarded();
    let kernels = RefCell::new(both(&guarded));
    let frames: Vec<Vec<u8>> = table().into_iter().map(|(_, frame, _)| frame.bytes()).collect();
    let changes = prop::collection::vec((12..150_usize, any::<u8>()), 0..4);
    let strategy = (0..frames.len(), changes, 14..400_usize);
    let mut runner = TestRunner::new(Config { cases: 20_000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&strategy, |(index, changes, len)| {
        let mut bytes = frames[index].clone();
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(len);
        for kernel in kernels.borrow_mut().iter_mut() {
            prop_assert_eq!(kernel.judge(&bytes), guarded.judge(&bytes));
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn channels_come_and_go_while_it_is_loaded() {
    skip_without_lab!();
    let (a, b, c) =
        (channel("10.0.0.1", SHARED, 5000), channel("10.0.0.2", SHARED, 5000), channel("10.0.0.3", SHARED, 5001));
    let mut kernel = Aya(Program::load().unwrap());
    let mut guarded = Guarded::default();
    let frames: Vec<Vec<u8>> = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        .into_iter()
        .flat_map(|source| [5000, 5001, 5002].map(|port| Frame::new(source, SHARED, port).bytes()))
        .collect();
    for (channel, comes) in [
        (a, true),
        (a, true),
        (b, true),
        (c, true),
        (a, false),
        (b, false),
        (b, false),
        (a, true),
        (c, false),
        (a, false),
    ] {
        guarded.channels.retain(|it| *it != channel);
        if comes {
            kernel.0.guard(channel, false).unwrap();
            guarded.channels.push(channel);
        } else {
            kernel.0.unguard(channel).unwrap();
        }
        for frame in &frames {
            assert_eq!(kernel.judge(frame), guarded.judge(frame), "{:?}", guarded.channels);
        }
    }
}

#[test]
fn says_when_there_is_no_room() {
    skip_without_lab!();
    let mut program = Program::load().unwrap();
    for index in 0..=255_u8 {
        program.guard(channel(SOURCE, &format!("232.2.2.{index}"), 5000), false).unwrap();
    }
    let error = program.guard(channel(SOURCE, GROUP, 5000), false).unwrap_err().to_string();
    assert!(error.contains("one more group: 256 fit"), "{error}");
    program.unguard(channel(SOURCE, "232.2.2.7", 5000)).unwrap();
    program.guard(channel(SOURCE, GROUP, 5000), false).unwrap();
}

#[test]
fn drops_are_sampled_for_the_log_and_the_first_of_each_reason_is() {
    skip_without_lab!();
    let guarded = guarded();
    let mut kernel = Aya::load(&guarded);
    let frame = Frame::new("10.0.0.9", GROUP, 5000).bytes();
    // Which CPU it runs on is up to the kernel, and each has its own count.
    for _ in 0..1_000 {
        assert_eq!(kernel.judge(&frame), Some(Verdict::WrongSource));
    }
    kernel.passes(&Frame { fragment: 0x2000, ..Frame::new("10.0.0.8", GROUP, 5000) }.bytes());
    kernel.passes(&Frame::new("fd77::9", GROUP_V6, 5000).bytes());
    let samples = kernel.0.samples(100);
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert!((2..=1 + 2 * cpus).contains(&samples.len()), "{samples:?}");
    let first = samples[0];
    assert_eq!((first.source.to_string().as_str(), first.group.to_string().as_str()), ("10.0.0.9", GROUP));
    assert_eq!((first.port, first.verdict), (Some(5000), Verdict::WrongSource));
    let fragment = samples.iter().find(|it| it.verdict == Verdict::Fragment).unwrap();
    assert_eq!((fragment.source.to_string().as_str(), fragment.port), ("10.0.0.8", None));
    assert!(kernel.0.samples(100).is_empty(), "each is given once");
}
