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
