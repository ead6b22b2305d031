//! Over the loopback: the same packets as from `mmsg`, with and without GSO and zero copy.

use super::*;
use crate::transmit::Mmsg;
use std::collections::VecDeque;
use std::time::Duration;

const SHAPE: SlotShape = SlotShape { packets: 64, packet_len: 900, largest_packet: 900 };

/// A receiver on the loopback, and a socket connected to it.
fn sockets() -> (UdpSocket, UdpSocket) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(receiver.local_addr().unwrap()).unwrap();
    (receiver, socket)
}

fn fill(mut slot: Slot, packets: &[usize], first: u8) -> Slot {
    slot.clear();
    packets.iter().for_each(|&len| slot.push(len).unwrap());
    for (value, packet) in (first..).zip(slot.packets_mut()) {
        packet.fill(value);
    }
    slot
}

/// What `rounds` rounds of differently long slots look like at the receiver.
fn receive(backend: Box<dyn Backend>, receiver: &UdpSocket, rounds: usize) -> (Vec<Vec<u8>>, Option<String>) {
    let packets: [&[usize]; 5] = [&[900, 900, 40], &[7], &[900; 30], &[901 - 1], &[300, 300, 300, 1]];
    let mut started = backend.start(packets.len(), &SHAPE).unwrap();
    let (mut free, mut seen, mut buffer) = (started.slots, Vec::new(), [0; 2000]);
    for round in 0..rounds {
        while free.len() < packets.len() {
            std::thread::sleep(Duration::from_micros(50));
            started.senders[0].reclaim(&mut free).unwrap();
        }
        let first = u8::try_from(round % 200).unwrap();
        let mut slots: VecDeque<Slot> =
            packets.iter().map(|packets| fill(free.pop().unwrap(), packets, first)).collect();
        started.senders[0].post(&mut slots, &mut free).unwrap();
        assert!(slots.is_empty());
        for _ in 0..packets.iter().map(|packets| packets.len()).sum() {
            seen.push(receiver.recv(&mut buffer).map(|len| buffer[..len].to_vec()).unwrap());
        }
    }
    started.senders[0].finish(&mut free).unwrap();
    assert_eq!(free.len(), packets.len(), "every slot comes back");
    (seen, started.senders[0].findings())
}

fn of_mmsg(rounds: usize) -> Vec<Vec<u8>> {
    let (receiver, socket) = sockets();
    receive(Box::new(Mmsg::new(vec![socket], 60_000, false)), &receiver, rounds).0
}

#[test]
fn puts_the_packets_of_mmsg_on_the_wire_with_and_without_gso() {
    for gso in [true, false] {
        let (receiver, socket) = sockets();
        let backend = Uring { gso, ..Uring::new(vec![socket], 60_000, false, false).unwrap() };
        let (packets, findings) = receive(Box::new(backend), &receiver, 3);
        assert_eq!((packets, findings), (of_mmsg(3), None), "GSO: {gso}");
    }
}

#[test]
fn zero_copy_is_left_when_the_kernel_copies_and_nothing_else_changes() {
    let (receiver, socket) = sockets();
    // The loopback is no hardware: every send is copied when it is received.
    let backend = Uring::new(vec![socket], 60_000, false, true).unwrap();
    if backend.zero_copy != ZeroCopy::Try {
        eprintln!("SKIPPED: {}", backend.describe());
        return;
    }
    let (packets, findings) = receive(Box::new(backend), &receiver, 40);
    assert!(packets == of_mmsg(40));
    assert!(findings.as_ref().is_some_and(|text| text.contains("copied nevertheless")), "{findings:?}");
}

#[test]
fn many_slots_posted_at_once_arrive_in_order() {
    let (receiver, socket) = sockets();
    let mut started = Box::new(Uring::new(vec![socket], 60_000, false, false).unwrap()).start(40, &SHAPE).unwrap();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        (0..40 * 4).map(|_| receiver.recv(&mut buffer).map(|_| buffer[0]).unwrap()).collect::<Vec<u8>>()
    });
    let slots = std::mem::take(&mut started.slots);
    let mut slots: VecDeque<Slot> = (0u8..).zip(slots).map(|(index, slot)| fill(slot, &[100; 4], 4 * index)).collect();
    let mut free = Vec::new();
    started.senders[0].post(&mut slots, &mut free).unwrap();
    started.senders[0].finish(&mut free).unwrap();
    assert_eq!(free.len(), 40);
    assert_eq!(reader.join().unwrap(), (0..160).collect::<Vec<u8>>());
}

#[test]
fn reports_what_is_no_back_pressure() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut started = Box::new(Uring::new(vec![socket], 60_000, false, false).unwrap()).start(2, &SHAPE).unwrap();
    let mut slots = VecDeque::from([fill(started.slots.pop().unwrap(), &[100], 0)]);
    let mut free = Vec::new();
    // The socket is not connected, so there is no destination.
    assert!(started.senders[0].post(&mut slots, &mut free).is_err());
    started.senders[0].finish(&mut free).unwrap();
    assert_eq!(free.len(), 1);
}

/// RLIMIT_MEMLOCK is 8 MiB by default, and binds who has no CAP_IPC_LOCK.
#[test]
fn works_with_less_locked_memory_than_it_would_like() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let (receiver, socket) = sockets();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    if limit.is_none_or(|limit| limit > 16 << 20) {
        eprintln!("SKIPPED: RLIMIT_MEMLOCK is {limit:?} here, not 8 MiB");
        return;
    }
    // Capabilities are a thread's own.
    std::thread::spawn(move || {
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::IPC_LOCK);
        set_capabilities(None, sets).unwrap();
        let backend = Uring::new(vec![socket], 60_000, false, true).unwrap();
        let shape = SlotShape { packets: 60, ..SHAPE };
        let mut started = Box::new(backend).start((24 << 20) / 54_000, &shape).unwrap();
        let findings = started.senders[0].findings().expect("24 MiB were locked within a limit of 8");
        assert!(findings.contains("RLIMIT_MEMLOCK"), "{findings}");
        // One slot of the part that is registered, one of the rest.
        let (last, first) = (started.slots.pop().unwrap(), started.slots.remove(0));
        let mut slots = VecDeque::from([fill(first, &[900; 2], 1), fill(last, &[900; 2], 3)]);
        let mut free = Vec::new();
        started.senders[0].post(&mut slots, &mut free).unwrap();
        let mut buffer = [0; 1000];
        for expected in 1..=4 {
            assert_eq!((receiver.recv(&mut buffer).unwrap(), buffer[0]), (900, expected));
        }
        started.senders[0].finish(&mut free).unwrap();
        assert_eq!(free.len(), 2);
    })
    .join()
    .unwrap();
}

#[test]
fn says_what_is_missing() {
    let text = |errno| UringError::of(io::Error::from_raw_os_error(errno)).to_string();
    assert!(text(libc::ENOSYS).contains("this kernel has no io_uring"));
    assert!(text(libc::EPERM).contains("kernel.io_uring_disabled"));
    assert!(text(libc::ENOMEM).contains("ulimit -l"));
}
